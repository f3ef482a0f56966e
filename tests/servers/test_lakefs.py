"""What the lakeFS version store promises beyond the port's contract: who may touch its repositories, what is left of a document, what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lakefs_sdk.api.experimental_api import ExperimentalApi

from ragstone.adapters import lakefs_client
from ragstone.adapters.lakefs import LakeFsVersionStore
from ragstone.adapters.lakefs_client import LakeFsClient
from ragstone.adapters.lakefs_errors import Refused
from ragstone.domain.commits import DocumentChange
from ragstone.domain.errors import Conflict, DataDirectoryError, NotFound, Unavailable
from tests.contracts.test_version_store import ABOUT, document
from tests.servers.lakefs import LakeFs, fresh_prefix

pytestmark = pytest.mark.servers
REPO = "c0ffee"


class Bench:
    """A version store with one repository, and a client that does what a person could."""

    def __init__(self, server: LakeFs, *, sweeps: bool = True) -> None:
        self.server = server
        self.prefix = fresh_prefix()
        self.store: LakeFsVersionStore = server.store(prefix=self.prefix, sweeps=sweeps)
        self.client: LakeFsClient = server.client()
        self.name = self.prefix + REPO

    async def commit(self, attempt: int, base: str | None, *paths: str, text: str = "Text.", removes: tuple[str, ...] = ()) -> str:
        """A staged commit that `main` has come to."""
        commit = await self.store.stage(REPO, attempt, base, [document(path, text) for path in paths], removes, **ABOUT)  # type: ignore[arg-type]
        assert commit is not None
        await self.store.advance(REPO, commit, attempt)
        return commit

    async def paths(self, commit: str) -> list[str]:
        return [info.path for info in await self.store.documents(REPO, commit)]


@pytest.fixture
async def bench(lakefs_server: LakeFs) -> AsyncIterator[Bench]:
    made = Bench(lakefs_server)
    await made.store.create(REPO)
    yield made
    await made.store.close()
    await made.client.close()


async def test_people_find_documents_under_their_own_paths(bench: Bench) -> None:
    commit = await bench.commit(1, None, "guide/intro.md", text="# Hello")
    assert await bench.client.content(bench.name, "main", "documents/guide/intro.md") == b"# Hello"
    record = await bench.client.record(bench.name, commit)
    assert {"Job", "Author", "Attempt"} <= record.metadata.keys()
    assert record.metadata["Attempt"] == "1"


async def test_a_commit_of_one_document_uploads_one_document(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    base = await bench.commit(1, None, *(f"{i}" for i in range(40)))
    uploads: list[str] = []
    upload = LakeFsClient.upload

    async def counting(self: LakeFsClient, repo: str, branch: str, key: str, *rest: object) -> None:
        uploads.append(key)
        await upload(self, repo, branch, key, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeFsClient, "upload", counting)
    changed = [document("7", "new"), *(document(f"{i}") for i in range(8, 40))]
    second = await bench.store.stage(REPO, 2, base, changed, [], **ABOUT)  # type: ignore[arg-type]
    assert sorted(uploads) == ["documents/7", "extracted/7"]
    uploads.clear()
    assert await bench.store.restore(REPO, 3, second, base, **ABOUT) is not None  # type: ignore[arg-type]
    assert uploads == []


async def test_listings_and_diffs_beyond_one_page_are_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lakefs_client, "PAGE", 7)
    names = [f"{i:03}" for i in range(30)]
    first = await bench.commit(1, None, *names)
    second = await bench.commit(2, first, *names[::2], text="changed", removes=(names[1],))
    assert await bench.store.attempts(REPO) == []
    assert len(await bench.store.diff(REPO, first, second)) == 16
    assert await bench.paths(first) == names
    assert await bench.store.verify(REPO, [first, second]) == []
    assert await bench.store.collectable(REPO, []) > 0


async def test_very_long_paths_keep_their_names_in_listings_and_diffs(bench: Bench) -> None:
    common = "ü" * 490
    long = [f"{common}/{letter * 40}" for letter in "ab"]
    first = await bench.commit(1, None, *long, "short")
    assert sorted(await bench.paths(first)) == sorted([*long, "short"])
    assert [info.path for info in await bench.store.documents(REPO, first, prefix=f"{common}/a")] == [long[0]]
    second = await bench.commit(2, first, long[0], text="new", removes=(long[1],))
    assert await bench.store.diff(REPO, first, second) == [DocumentChange(long[0], "changed"), DocumentChange(long[1], "removed")]
    assert await bench.store.forget(REPO, long[0], [first, second]) == 2
    assert await bench.store.diff(REPO, first, second) == [DocumentChange(long[1], "removed")]


async def test_no_byte_of_a_forgotten_document_is_left_after_a_collection(bench: Bench) -> None:
    if bench.server.objects is None:
        pytest.skip("the objects of this server can't be looked at")
    first = await bench.commit(1, None, "secret.md", text="canary-4711")
    second = await bench.commit(2, first, "other.md", removes=("secret.md",))
    directory = Path(bench.server.objects.removeprefix("file://"))
    assert _holding(directory, b"canary-4711")
    await bench.store.forget(REPO, "secret.md", [first])
    await bench.store.collect(REPO, [first, second])
    assert _holding(directory, b"canary-4711") == []
    assert await bench.paths(first) == []
    assert await bench.store.verify(REPO, [first, second]) == []


async def test_what_was_marked_without_an_object_store_is_deleted_by_the_next_collection_with_one(lakefs_server: LakeFs) -> None:
    without = Bench(lakefs_server, sweeps=False)
    await without.store.create(REPO)
    first = await without.commit(1, None, "a", text="old bytes")
    second = await without.commit(2, first, "a", text="new")
    assert await without.store.collect(REPO, []) > 0  # what lakeFS may delete
    assert await without.store.collect(REPO, []) == 0
    with pytest.raises(NotFound):
        await without.store.documents(REPO, first)
    assert await without.client.content(without.name, first, "documents/a") == b"old bytes"
    if lakefs_server.objects is not None:
        store = lakefs_server.store(prefix=without.prefix)
        assert await store.collect(REPO, []) > 0
        assert (await store.read(REPO, second, "a")).content == b"new"
        with pytest.raises(NotFound):
            await without.client.content(without.name, first, "documents/a")
        await store.close()
    await without.store.close()
    await without.client.close()


async def test_a_second_process_sees_at_once_what_the_first_forgot(bench: Bench) -> None:
    commit = await bench.commit(1, None, "a", "b")
    other = bench.server.store(prefix=bench.prefix)
    assert (await other.read(REPO, commit, "a")).content == b"Text."
    await bench.store.forget(REPO, "a", [commit])
    with pytest.raises(NotFound):
        await other.read(REPO, commit, "a")
    assert list(await other.infos(REPO, commit, ["a", "b"])) == ["b"]
    await other.close()


async def test_a_state_of_many_changes_is_melted_into_one_and_nothing_is_lost(bench: Bench) -> None:
    commit = await bench.commit(1, None, *(f"{i:02}" for i in range(24)))
    for i in range(20):
        assert await bench.store.forget(REPO, f"{i:02}", [commit]) == 1
    kept = [entry.key async for entry in bench.client.entries(bench.name, "ragstone", "state/")]
    assert len(kept) <= 17
    other = bench.server.store(prefix=bench.prefix)
    assert [info.path for info in await other.documents(REPO, commit)] == ["20", "21", "22", "23"]
    await other.close()


async def test_main_moved_by_hand_is_named_and_left_alone(bench: Bench) -> None:
    first = await bench.commit(1, None, "a")
    await bench.client.create_branch(bench.name, "mine", first)
    await bench.client.upload(bench.name, "mine", "documents/x", b"by hand", "text/plain")
    foreign = await bench.client.commit(bench.name, "mine", "by hand", {})
    await bench.client.merge(bench.name, "mine", "main", "by hand", {})
    moved = await bench.client.tip(bench.name, "main")
    assert moved is not None
    assert await bench.store.main(REPO) == moved  # no commit of ours: the doctor's `foreign-main`
    second = await bench.store.stage(REPO, 2, first, [document("b")], [], **ABOUT)  # type: ignore[arg-type]
    assert second is not None
    with pytest.raises(Conflict, match="did not make"):
        await bench.store.advance(REPO, second)
    assert await bench.client.tip(bench.name, "main") == moved
    assert await bench.paths(second) == ["a", "b"]  # reads are of commits, whatever main is
    with pytest.raises(DataDirectoryError, match="not made by ragstone"):
        await bench.store.count(REPO, foreign.id)
    assert await bench.store.verify(REPO, [first, second, foreign.id]) == [foreign.id]


async def test_main_moved_back_by_hand_is_brought_forward_again(lakefs_server: LakeFs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unprotected(*_: object) -> None:
        """Somebody took the protection of the branch away."""

    monkeypatch.setattr(LakeFsClient, "protect", unprotected)
    bench = Bench(lakefs_server)
    await bench.store.create(REPO)
    first = await bench.commit(1, None, "a")
    second = await bench.commit(2, first, "b")
    third = await bench.commit(3, second, "c")
    for target in (first, "main~1", "main~2"):
        await _reset(bench, "main", target)
        assert await bench.store.main(REPO) != third
        await bench.store.advance(REPO, third)
        assert await bench.store.main(REPO) == third
    assert [entry.key async for entry in bench.client.entries(bench.name, "main", "documents/")] == [
        "documents/a",
        "documents/b",
        "documents/c",
    ]
    await bench.store.close()
    await bench.client.close()


async def test_nobody_writes_to_main_by_accident(bench: Bench) -> None:
    await bench.commit(1, None, "a")
    with pytest.raises(Refused, match="protected"):
        await bench.client.upload(bench.name, "main", "documents/b", b"by hand", "text/plain")


async def test_a_repository_without_its_state_is_not_read(bench: Bench) -> None:
    commit = await bench.commit(1, None, "a", "secret")
    await bench.store.forget(REPO, "secret", [commit])
    await bench.client.delete_branch(bench.name, "ragstone")
    for call in (bench.store.documents(REPO, commit), bench.store.main(REPO), bench.store.verify(REPO, [commit])):
        with pytest.raises(DataDirectoryError, match="lost its branch 'ragstone'"):
            await call
    with pytest.raises(DataDirectoryError):
        await bench.store.create(REPO)  # it does not begin anew over what is there


async def test_a_repository_that_is_not_ours_is_neither_taken_nor_deleted(bench: Bench) -> None:
    await bench.client.create_repository(f"{bench.prefix}taken", f"{bench.server.namespace}/somebody-{bench.prefix}")
    with pytest.raises(Conflict, match="repository_prefix"):
        await bench.store.create("taken")
    with pytest.raises(Conflict, match="left alone"):
        await bench.store.delete("taken")
    assert await bench.store.repositories() == [REPO]
    assert await bench.client.namespace(f"{bench.prefix}taken") is not None


async def test_a_half_made_repository_is_finished(bench: Bench) -> None:
    name = f"{bench.prefix}half"
    await bench.client.create_repository(name, f"{bench.server.namespace}/{name}-0000")  # killed after this
    await bench.store.create("half")
    assert await bench.store.main("half") is None


async def test_a_server_that_is_too_old_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def old(_: LakeFsClient) -> str:
        return "1.79.9"

    monkeypatch.setattr(LakeFsClient, "version", old)
    with pytest.raises(DataDirectoryError, match=r"1\.79\.9 is too old"):
        await bench.server.store().create(REPO)


async def test_a_wrong_key_is_named(bench: Bench) -> None:
    wrong = LakeFs(bench.server.url, bench.server.key, "wrong", bench.server.namespace, None).store()
    with pytest.raises(Unavailable, match="access key"):
        await wrong.create(REPO)
    await wrong.close()


async def test_a_damaged_object_is_found(bench: Bench) -> None:
    if bench.server.objects is None:
        pytest.skip("the objects of this server can't be reached")
    first = await bench.commit(1, None, "a", text="whole")
    second = await bench.commit(2, first, "b", text="damaged")
    entry = await bench.client.entry(bench.name, second, "documents/b")
    assert entry is not None
    damaged = Path(entry.address.removeprefix("local://"))
    await asyncio.to_thread(damaged.write_bytes, b"DAMAGED")
    assert await bench.store.verify(REPO, [first, second]) == [second]
    with pytest.raises(DataDirectoryError, match="'b'"):
        await bench.store.read(REPO, second, "b")


async def _reset(bench: Bench, branch: str, target: str) -> None:
    """As `lakectl branch reset --commit` does, by somebody who may."""
    api = bench.client._repositories
    await bench.client._call(ExperimentalApi(api.api_client).hard_reset_branch, bench.name, branch, target)


def _holding(directory: Path, canary: bytes) -> list[Path]:
    return [file for file in directory.rglob("*") if file.is_file() and canary in file.read_bytes()]
