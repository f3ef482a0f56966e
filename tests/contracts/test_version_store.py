"""What every version store promises."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.adapters.git import GitVersionStore
from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import Block, DocumentInfo, ExtractedText, Metadata, StoredDocument, checksum
from ragstone.domain.errors import Conflict, NotFound
from ragstone.domain.names import check_document_path
from ragstone.ports.version_store import VersionStore
from tests.fakes.version_store import InMemoryVersionStore

ABOUT = {"author": "Ada <ada@example.org>", "message": "a message", "metadata": {"Job": "01J"}}
REPO = "c0ffee"


@pytest.fixture(params=["git", "memory", pytest.param("lakefs", marks=pytest.mark.servers)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VersionStore]:
    adapter: VersionStore
    if request.param == "lakefs":
        adapter = request.getfixturevalue("lakefs_server").store()
    else:
        adapter = GitVersionStore(tmp_path) if request.param == "git" else InMemoryVersionStore()
    await adapter.create(REPO)
    yield adapter
    await adapter.close()


def document(path: str, text: str = "Text.", *, metadata: Metadata | None = None, title: str | None = "Title") -> StoredDocument:
    content = text.encode("utf-8", "surrogatepass")
    info = DocumentInfo(path, "text/plain", len(content), checksum(content), metadata or {}, title)
    return StoredDocument(info, content, ExtractedText(text, (Block("paragraph", 0, len(text), page=3),), "text/1", title))


async def stage(store: VersionStore, attempt: int, base: str | None, *puts: StoredDocument, removes: tuple[str, ...] = ()) -> str:
    commit = await store.stage(REPO, attempt, base, puts, removes, **ABOUT)  # type: ignore[arg-type]
    assert commit is not None
    return commit


async def paths(store: VersionStore, commit: str) -> list[str]:
    return [info.path for info in await store.documents(REPO, commit)]


async def test_what_was_staged_is_read_back_whole(store: VersionStore) -> None:
    metadata: Metadata = {"tags": ("a", "b"), "none": (), "year": 2024, "score": 1.0, "draft": False, "name": "Käse\ttab\nline"}
    stored = document("guide/intro.md", "Zwei Sätze. 日本語 🎈 \ud83d lone.\r\n\tEnd", metadata=metadata, title=None)
    commit = await stage(store, 1, None, stored, document("other.md"))
    assert await store.read(REPO, commit, "guide/intro.md") == stored
    assert await store.extracted(REPO, commit, "guide/intro.md") == stored.extracted
    assert await store.infos(REPO, commit, ["guide/intro.md", "absent.md"]) == {"guide/intro.md": stored.info}
    info = (await store.infos(REPO, commit, ["guide/intro.md"]))["guide/intro.md"]
    assert [type(value) for value in info.metadata.values()] == [type(info.metadata[key]) for key in info.metadata]
    assert isinstance(info.metadata["score"], float)
    assert isinstance(info.metadata["draft"], bool)


async def test_empty_bytes_and_empty_text_are_kept(store: VersionStore) -> None:
    stored = document("empty.txt", "")
    commit = await stage(store, 1, None, stored)
    assert await store.read(REPO, commit, "empty.txt") == stored


async def test_a_commit_is_base_plus_puts_minus_removes(store: VersionStore) -> None:
    first = await stage(store, 1, None, document("a"), document("b"), document("c"))
    second = await stage(store, 2, first, document("b", "new"), document("d"), document("e"), removes=("a", "e", "never-there"))
    assert await paths(store, first) == ["a", "b", "c"]
    assert await paths(store, second) == ["b", "c", "d"]
    assert (await store.read(REPO, first, "b")).content == b"Text."
    assert (await store.read(REPO, second, "b")).content == b"new"


async def test_staging_leaves_main_alone_until_advanced(store: VersionStore) -> None:
    assert await store.main(REPO) is None
    commit = await stage(store, 7, None, document("a"))
    assert await store.main(REPO) is None
    assert await store.attempts(REPO) == [7]
    await store.advance(REPO, commit, 7)
    assert await store.main(REPO) == commit
    assert await store.attempts(REPO) == []


async def test_nothing_to_change_makes_no_commit(store: VersionStore) -> None:
    assert await store.stage(REPO, 1, None, [], ["absent"], author="a", message="m", metadata={}) is None
    commit = await stage(store, 1, None, document("a", metadata={"x": 1, "y": 2}))
    again = [document("a", metadata={"y": 2, "x": 1})]
    assert await store.stage(REPO, 2, commit, again, ["absent"], author="a", message="m", metadata={}) is None
    assert await store.restore(REPO, 3, commit, commit, author="a", message="m", metadata={}) is None
    assert await store.attempts(REPO) == [1]


async def test_changes_of_metadata_title_or_extracted_text_are_changes(store: VersionStore) -> None:
    base = await stage(store, 1, None, document("a"))
    other_text = StoredDocument(document("a").info, document("a").content, ExtractedText("Text.", (), "text/2", "Title"))
    for attempt, changed in enumerate([document("a", metadata={"x": 1}), document("a", title="Other"), other_text], start=2):
        commit = await stage(store, attempt, base, changed)
        assert await store.diff(REPO, base, commit) == [DocumentChange("a", "changed")]
        assert await store.read(REPO, commit, "a") == changed


async def test_staging_again_for_an_attempt_replaces_its_branch(store: VersionStore) -> None:
    first = await stage(store, 1, None, document("a"))
    second = await stage(store, 1, None, document("b"))
    assert await store.attempts(REPO) == [1]
    assert await paths(store, first) == ["a"]
    assert await paths(store, second) == ["b"]


async def test_restore_makes_a_new_commit_with_an_old_tree(store: VersionStore) -> None:
    first = await stage(store, 1, None, document("a"), document("b"))
    second = await stage(store, 2, first, document("c"), removes=("a",))
    third = await store.restore(REPO, 3, second, first, author="a", message="back", metadata={})
    assert third is not None
    assert third not in (first, second)
    assert await store.diff(REPO, first, third) == []
    assert await store.count(REPO, third) == 2
    assert await store.diff(REPO, second, third) == [DocumentChange("a", "added"), DocumentChange("c", "removed")]
    await store.advance(REPO, third, 3)
    assert await store.main(REPO) == third


async def test_main_only_moves_forward(store: VersionStore) -> None:
    first = await stage(store, 1, None, document("a"))
    second = await stage(store, 2, first, document("b"))
    third = await stage(store, 3, second, document("c"))
    aside = await stage(store, 4, first, document("d"))
    await store.advance(REPO, first)
    await store.advance(REPO, third)
    await store.advance(REPO, second)
    await store.advance(REPO, third)
    assert await store.main(REPO) == third
    with pytest.raises(Conflict):
        await store.advance(REPO, aside)
    assert await store.main(REPO) == third


async def test_branches_of_attempts_can_be_dropped(store: VersionStore) -> None:
    for attempt in (3, 10, 2):
        await stage(store, attempt, None, document(f"{attempt}"))
    assert await store.attempts(REPO) == [2, 3, 10]
    await store.drop_attempts(REPO, [3, 99, 2])
    assert await store.attempts(REPO) == [10]
    await store.drop_attempts(REPO, [10])
    await stage(store, 11, None, document("again"))
    assert await store.attempts(REPO) == [11]


async def test_diff_is_in_order_of_path_and_complete(store: VersionStore) -> None:
    before = await stage(store, 1, None, *(document(f"doc/{i:03}") for i in range(300)))
    after = await stage(
        store,
        2,
        before,
        *(document(f"doc/{i:03}", "changed") for i in range(0, 300, 50)),
        document("doc/new"),
        removes=("doc/007",),
    )
    expected = [DocumentChange(f"doc/{i:03}", "changed") for i in range(0, 300, 50)]
    expected += [DocumentChange("doc/007", "removed"), DocumentChange("doc/new", "added")]
    assert await store.diff(REPO, before, after) == sorted(expected, key=lambda change: change.path)
    assert [change.kind for change in await store.diff(REPO, None, before)] == ["added"] * 300
    assert await store.diff(REPO, after, after) == []


async def test_pages_follow_one_another(store: VersionStore) -> None:
    names = sorted(f"{folder}/{i}" for folder in ("a", "a-b", "ab", "ä") for i in range(25))
    commit = await stage(store, 1, None, *(document(name) for name in names))
    listed: list[str] = []
    while page := await store.documents(REPO, commit, after=listed[-1] if listed else "", limit=7):
        listed += [info.path for info in page]
    assert listed == names
    under = await store.documents(REPO, commit, prefix="a/", limit=1000)
    assert [info.path for info in under] == [name for name in names if name.startswith("a/")]
    rest = await store.documents(REPO, commit, prefix="a/", after="a/3", limit=3)
    assert [info.path for info in rest] == [name for name in names if name.startswith("a/") and name > "a/3"][:3]
    assert await store.documents(REPO, commit, prefix="zzz") == []
    assert await store.count(REPO, commit) == 100


@pytest.mark.parametrize(
    "path",
    [
        "a/b/c",
        "-",
        "x" * 1024,
        "日本語/ファイル🎈.md",
        unicodedata.normalize("NFC", "e\u0301"),
        " leading and trailing ",
        "a:b?*<>|\"'",
        ".git/config",
        "\u2028line separator",
        "…".join(["part"] * 140),
    ],
)
async def test_any_acceptable_path_can_be_stored(store: VersionStore, path: str) -> None:
    assert check_document_path(path) == path
    commit = await stage(store, 1, None, document(path), document("beside"))
    assert (await store.read(REPO, commit, path)).info.path == path
    assert sorted(await paths(store, commit)) == sorted([path, "beside"])


async def test_a_document_may_stand_beside_a_folder_of_its_name(store: VersionStore) -> None:
    commit = await stage(store, 1, None, document("a"), document("a/b"), document("a/b/c"))
    assert await paths(store, commit) == ["a", "a/b", "a/b/c"]


async def test_removing_everything_leaves_an_empty_commit(store: VersionStore) -> None:
    first = await stage(store, 1, None, document("a"), document("b"))
    second = await stage(store, 2, first, removes=("a", "b"))
    assert await paths(store, second) == []
    assert await store.count(REPO, second) == 0
    assert await store.stage(REPO, 3, second, [], ["a"], author="a", message="m", metadata={}) is None
    assert [change.kind for change in await store.diff(REPO, first, second)] == ["removed", "removed"]


async def test_what_is_unknown_is_not_found(store: VersionStore) -> None:
    commit = await stage(store, 1, None, document("a"))
    with pytest.raises(NotFound):
        await store.read(REPO, commit, "absent")
    with pytest.raises(NotFound):
        await store.extracted(REPO, commit, "absent")
    for unknown in ("0" * 40, "not-hexadecimal", "../main"):
        with pytest.raises(NotFound):
            await store.documents(REPO, unknown)
        with pytest.raises(NotFound):
            await store.infos(REPO, unknown, ["a"])
        with pytest.raises(NotFound):
            await store.diff(REPO, None, unknown)
        with pytest.raises(NotFound):
            await store.count(REPO, unknown)
        with pytest.raises(NotFound):
            await store.advance(REPO, unknown)
        with pytest.raises(NotFound):
            await store.stage(REPO, 2, unknown, [], [], author="a", message="m", metadata={})
    with pytest.raises(NotFound):
        await store.main("absent")
    with pytest.raises(NotFound):
        await store.read("../" + REPO, commit, "a")


async def test_repositories_are_apart_and_deletion_is_whole(store: VersionStore) -> None:
    commit = await stage(store, 1, None, document("a"))
    await store.create("other")
    await store.create(REPO)  # again: nothing happens
    assert await paths(store, commit) == ["a"]
    with pytest.raises(NotFound):
        await store.read("other", commit, "a")
    await store.delete(REPO)
    await store.delete(REPO)
    with pytest.raises(NotFound):
        await store.main(REPO)
    await store.create(REPO)
    assert await store.main(REPO) is None
    assert await store.attempts(REPO) == []
    with pytest.raises(NotFound):
        await store.read(REPO, commit, "a")


async def history(store: VersionStore) -> list[str]:
    """Five commits, each the parent of the next; `main` at the last. `gone.md` lives in the second to the fourth."""
    commits = [await stage(store, 1, None, document("a"), document("b"), document("stays", "as it is"))]
    commits.append(await stage(store, 2, commits[-1], document("gone.md", "first", metadata={"owner": "x"}), document("a", "a2")))
    commits.append(await stage(store, 3, commits[-1], document("gone.md", "second"), document("a", "a3")))
    commits.append(await stage(store, 4, commits[-1], document("a", "a4"), removes=("b",)))
    commits.append(await stage(store, 5, commits[-1], document("a", "a5"), removes=("gone.md",)))
    for attempt, commit in enumerate(commits, start=1):
        await store.advance(REPO, commit, attempt)
    return commits


async def contents(store: VersionStore, commit: str) -> dict[str, StoredDocument]:
    return {path: await store.read(REPO, commit, path) for path in await paths(store, commit)}


async def test_a_forgotten_document_is_in_none_of_its_commits_and_all_else_stays(store: VersionStore) -> None:
    commits = await history(store)
    before = [await contents(store, commit) for commit in commits]
    assert await store.forget(REPO, "gone.md", [*commits, "0" * 40, "not-hexadecimal"]) == 3
    for commit, held in zip(commits, before, strict=True):
        held.pop("gone.md", None)
        assert await contents(store, commit) == held
        assert await store.count(REPO, commit) == len(held)
        assert await store.infos(REPO, commit, ["gone.md", "a"]) == {"a": held["a"].info}
        for read in (store.read, store.extracted):
            with pytest.raises(NotFound):
                await read(REPO, commit, "gone.md")
    assert await store.diff(REPO, commits[1], commits[2]) == [DocumentChange("a", "changed")]
    assert await store.diff(REPO, commits[3], commits[4]) == [DocumentChange("a", "changed")]
    assert await store.forget(REPO, "gone.md", commits) == 0
    assert await store.main(REPO) == commits[-1]


async def test_several_documents_may_be_forgotten_one_after_another(store: VersionStore) -> None:
    commits = await history(store)
    assert await store.forget(REPO, "gone.md", commits[:3]) == 2
    assert await store.forget(REPO, "a", commits) == 5
    assert await store.forget(REPO, "never", commits) == 0
    assert [await paths(store, commit) for commit in commits] == [
        ["b", "stays"],
        ["b", "stays"],
        ["b", "stays"],
        ["gone.md", "stays"],
        ["stays"],
    ]
    assert await store.forget(REPO, "stays", commits[4:]) == 1
    assert await contents(store, commits[4]) == {}
    assert await store.count(REPO, commits[4]) == 0


async def test_nothing_brings_a_forgotten_document_back(store: VersionStore) -> None:
    commits = await history(store)
    await store.forget(REPO, "gone.md", commits)
    on_it = await stage(store, 6, commits[3], document("new"))
    assert await paths(store, on_it) == ["a", "new", "stays"]
    assert await store.count(REPO, on_it) == 3
    assert await store.diff(REPO, commits[3], on_it) == [DocumentChange("new", "added")]
    back = await store.restore(REPO, 7, commits[4], commits[2], author="a", message="back", metadata={})
    assert back is not None
    assert await paths(store, back) == ["a", "b", "stays"]
    assert await store.count(REPO, back) == 3
    await store.advance(REPO, back, 7)  # it descends from the commit that was main, whatever is read in it
    assert await store.main(REPO) == back
    again = await stage(store, 8, back, document("gone.md", "anew"))
    assert (await store.read(REPO, again, "gone.md")).content == b"anew"
    assert "gone.md" not in await paths(store, commits[2])


async def test_the_same_bytes_at_another_path_stay(store: VersionStore) -> None:
    commit = await stage(store, 1, None, document("one", "the same"), document("two", "the same"))
    await store.forget(REPO, "one", [commit])
    await store.collect(REPO, [commit])
    assert (await store.read(REPO, commit, "two")).content == b"the same"


async def test_collecting_keeps_what_is_kept_and_the_branches(store: VersionStore) -> None:
    commits = await history(store)
    waiting = await stage(store, 6, commits[-1], document("waiting"))
    before = {commit: await contents(store, commit) for commit in [*commits, waiting]}
    would = await store.collectable(REPO, [commits[1]])
    assert await store.collect(REPO, [commits[1], "0" * 40]) > 0
    assert would > 0
    for commit in (commits[1], commits[4], waiting):
        assert await contents(store, commit) == before[commit]
        assert await store.count(REPO, commit) == len(before[commit])
    assert await store.diff(REPO, commits[1], commits[4])
    for gone in (commits[0], commits[2], commits[3]):
        for call in (
            store.read(REPO, gone, "a"),
            store.extracted(REPO, gone, "a"),
            store.infos(REPO, gone, ["a"]),
            store.documents(REPO, gone),
            store.count(REPO, gone),
            store.diff(REPO, gone, commits[4]),
            store.diff(REPO, commits[1], gone),
            store.restore(REPO, 9, commits[4], gone, author="a", message="m", metadata={}),
        ):
            with pytest.raises(NotFound):
                await call
    assert await store.attempts(REPO) == [6]
    assert await store.collectable(REPO, [commits[1]]) == await store.collect(REPO, [commits[1]]) == 0
    assert await store.collect(REPO, []) > 0
    assert await contents(store, commits[4]) == before[commits[4]]


async def test_what_was_published_after_the_kept_commits_were_asked_for_is_not_collected(store: VersionStore) -> None:
    commits = await history(store)
    waiting = await stage(store, 6, await stage(store, 7, commits[-1], document("staged")), document("waiting"))
    before = {commit: await contents(store, commit) for commit in [*commits, waiting]}
    await store.collect(REPO, [commits[0], commits[2]], since=commits[2])
    for commit in (commits[0], *commits[2:], waiting):
        assert await contents(store, commit) == before[commit]
    with pytest.raises(NotFound):
        await store.documents(REPO, commits[1])
    await store.collect(REPO, [commits[2]], since="0" * 40)  # not in this history: no reason to keep anything
    with pytest.raises(NotFound):
        await store.documents(REPO, commits[3])


async def test_the_order_of_collected_commits_is_still_known(store: VersionStore) -> None:
    commits = await history(store)
    aside = await stage(store, 6, commits[1], document("aside"))
    await store.collect(REPO, [])
    await store.advance(REPO, commits[0])  # far behind main: nothing
    assert await store.main(REPO) == commits[4]
    with pytest.raises(Conflict):
        await store.advance(REPO, aside)
    later = await stage(store, 7, commits[4], document("later"))
    await store.advance(REPO, later, 7)
    assert await store.main(REPO) == later
    with pytest.raises(NotFound):
        await store.advance(REPO, "0" * 40)


async def test_collecting_an_empty_repository_is_fine(store: VersionStore) -> None:
    assert await store.collectable(REPO, []) == await store.collect(REPO, []) == 0
    assert await store.forget(REPO, "a", []) == 0
    with pytest.raises(NotFound):
        await store.collect("absent", [])
    commit = await stage(store, 1, None, document("a"))
    await store.drop_attempts(REPO, [1])
    assert await store.collect(REPO, []) > 0
    with pytest.raises(NotFound):
        await store.read(REPO, commit, "a")
    assert await paths(store, await stage(store, 2, None, document("a"))) == ["a"]


async def test_readers_and_writers_go_on_while_it_is_collected(store: VersionStore) -> None:
    commits = await history(store)
    before = await contents(store, commits[1])
    for round_ in range(3):
        results = await asyncio.gather(
            store.collect(REPO, [commits[1]]),
            *(stage(store, 10 * round_ + i, commits[4], document(f"new/{i}", f"{round_}")) for i in range(20, 26)),
            *(contents(store, commits[1]) for _ in range(10)),
            store.collect(REPO, [commits[1], commits[4]]),
        )
        assert list(results[7:17]) == [before] * 10
        for i, commit in enumerate(results[1:7], start=20):
            assert isinstance(commit, str)
            assert (await store.read(REPO, commit, f"new/{i}")).content == f"{round_}".encode()
    assert await contents(store, commits[1]) == before


async def test_hostile_author_message_and_metadata_are_stored_harmlessly(store: VersionStore) -> None:
    for attempt, author in enumerate(["", "<>", "a\nparent 0", "x\0y <b> <c>", "\ud83d", "ü" * 500], start=1):
        commit = await store.stage(
            REPO,
            attempt,
            None,
            [document("a")],
            [],
            author=author,
            message=f"{author}\r\nDocuments: 99\0",
            metadata={"Key: x\n": "v\nDocuments: 5"},
        )
        assert commit is not None
        assert await store.count(REPO, commit) == 1
        assert await paths(store, commit) == ["a"]


async def test_many_may_write_and_read_at_once(store: VersionStore) -> None:
    base = await stage(store, 1, None, *(document(f"base/{i}") for i in range(50)))

    async def write_and_read(attempt: int) -> None:
        commit = await stage(store, attempt, base, *(document(f"{attempt}/{i}", f"{attempt} {i}") for i in range(5)))
        assert await store.count(REPO, commit) == 55
        assert (await store.read(REPO, commit, f"{attempt}/3")).content == f"{attempt} 3".encode()
        assert len(await store.documents(REPO, base)) == 50

    await asyncio.gather(*(write_and_read(attempt) for attempt in range(2, 22)))
    assert await store.attempts(REPO) == list(range(1, 22))


async def test_commits_that_are_whole_pass_verification(store: VersionStore) -> None:
    first = await stage(store, 1, None, *(document(f"d/{i}", f"text {i}") for i in range(40)))
    second = await stage(store, 2, first, removes=tuple(f"d/{i}" for i in range(40)))
    unknown = "0" * 40
    assert await store.verify(REPO, [first, second]) == []
    assert await store.verify(REPO, [first, unknown, second]) == [unknown]
    with pytest.raises(NotFound):
        await store.verify("absent", [first])


async def test_repositories_are_listed_until_they_are_deleted(store: VersionStore) -> None:
    await store.create("another")
    assert await store.repositories() == ["another", REPO]
    await store.delete("another")
    assert await store.repositories() == [REPO]
