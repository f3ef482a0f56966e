"""`ragstone ingest` against the API over the fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ragstone.cli.ingest import ingest
from ragstone.use_cases.limits import Limits
from tests.unit.cli.conftest import Shell

Tree = Callable[..., Path]
FILES: dict[str, str | bytes] = {"a.md": "# A\n\nAlpha is first.", "sub/b.md": "# B\n\nBeta is second.", "c.txt": "Gamma is third."}


async def head(shell: Shell) -> dict[str, str]:
    """Texts by path at the head."""
    platform = shell.world.platform
    _, infos = await platform.documents.page("docs")
    return {info.path: (await platform.documents.get("docs", info.path))[1].content.decode() for info in infos}


async def test_new_and_changed_documents_are_sent_and_nothing_else(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    first = (await shell(ingest, [root], "docs", as_json=True)).json
    assert (first["outcome"], first["position"], first["sent"], first["same"]) == ("published", 1, 3, 0)
    assert first["stats"]["chunks_embedded"] == 3

    tree("docs", {"c.txt": "Gamma is last.", "d.md": "Delta is new."})
    second = (await shell(ingest, [root], "docs", as_json=True)).json
    assert (second["position"], second["sent"], second["same"]) == (2, 2, 2)
    assert second["stats"]["documents_added"] == second["stats"]["documents_changed"] == 1
    assert second["stats"]["chunks_embedded"] == 2
    assert (await head(shell))["c.txt"] == "Gamma is last."


async def test_the_same_again_is_unchanged_without_a_request_to_change(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    await shell(ingest, [root], "docs")
    posted: list[str] = []

    async def watch(method: str, path: str) -> None:
        posted.extend([path] if method == "POST" else [])

    shell.hooks.append(watch)
    again = await shell(ingest, [root], "docs", as_json=True)
    assert again.status == 0
    assert again.json["outcome"] == "unchanged"
    assert again.json["position"] == 1
    assert posted == []


async def test_without_mirror_other_documents_stay_with_it_they_go(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    await shell(ingest, [root], "docs")
    (root / "c.txt").unlink()
    await shell(ingest, [root], "docs")
    assert set(await head(shell)) == set(FILES)
    mirrored = (await shell(ingest, [root], "docs", mirror=True, as_json=True)).json
    assert mirrored["deletes"] == ["c.txt"]
    assert set(await head(shell)) == {"a.md", "sub/b.md"}


async def test_a_mirror_with_prefix_leaves_the_rest_alone(shell: Shell, tree: Tree) -> None:
    await shell(ingest, [tree("docs", FILES)], "docs")
    await shell(ingest, [tree("guide", {"x.md": "Ex.", "y.md": "Why."})], "docs", prefix="guide/")
    await shell(ingest, [tree("new", {"x.md": "Ex."})], "docs", prefix="guide/", mirror=True)
    assert set(await head(shell)) == {*FILES, "guide/x.md"}


async def test_a_mirror_deletes_no_document_whose_file_is_there_but_left_out(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    await shell(ingest, [root], "docs")
    (root / "a.md").write_bytes(b"")
    ran = await shell(ingest, [root], "docs", mirror=True, as_json=True)
    assert ran.status == 2
    assert [failure["path"] for failure in ran.json["failures"]] == ["a.md"]
    assert set(await head(shell)) == set(FILES)


async def test_a_mirror_of_nothing_is_refused(shell: Shell, tree: Tree) -> None:
    await shell(ingest, [tree("docs", FILES)], "docs")
    ran = await shell(ingest, [tree("empty", {})], "docs", mirror=True)
    assert ran.status == 1
    assert ran.problem is not None
    assert "Nothing to ingest" in ran.problem["detail"]
    assert set(await head(shell)) == set(FILES)


async def test_a_mirror_compares_again_when_the_collection_moved(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    await shell(ingest, [root], "docs")
    (root / "c.txt").unlink()
    other = tree("other", {"new.md": "Somebody else's."})
    moved: list[str] = []

    async def move(method: str, path: str) -> None:
        if path == "/ingest" and not moved:
            moved.append(path)
            await shell.beside()(ingest, [other], "docs")

    shell.hooks.append(move)
    ran = await shell(ingest, [root], "docs", mirror=True, as_json=True)
    assert ran.status == 0
    assert ran.json["deletes"] == ["c.txt", "new.md"]
    assert set(await head(shell)) == {"a.md", "sub/b.md"}


async def test_a_mirror_gives_up_when_the_collection_keeps_moving(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    await shell(ingest, [root], "docs")
    (root / "c.txt").unlink()
    moves: list[int] = []

    async def move(method: str, path: str) -> None:
        if path == "/ingest":
            moves.append(len(moves))
            other = tree("other", {"new.md": f"Change {len(moves)}."})
            await shell.beside()(ingest, [other], "docs")

    shell.hooks.append(move)
    ran = await shell(ingest, [root], "docs", mirror=True)
    assert ran.problem is not None
    assert ran.problem["status"] == 412
    assert len(moves) == 3
    assert "c.txt" in await head(shell)


async def test_one_bad_file_is_reported_and_the_rest_published(shell: Shell, tree: Tree) -> None:
    root = tree("docs", {**FILES, "bad.md": b"caf\xe9", "image.png": b"\x89PNG\0"})
    ran = await shell(ingest, [root], "docs", as_json=True)
    assert ran.status == 2
    assert [failure["path"] for failure in ran.json["failures"]] == ["bad.md"]
    assert [one["path"] for one in ran.json["skipped"]] == ["image.png"]
    assert set(await head(shell)) == set(FILES)
    shown = await shell(ingest, [root], "docs")
    assert "1 left out:\n  bad.md is not UTF-8 text." in shown.err


async def test_files_that_are_no_documents_are_no_failure(shell: Shell, tree: Tree) -> None:
    ran = await shell(ingest, [tree("docs", {**FILES, "image.png": b"\x89PNG\0"})], "docs")
    assert ran.status == 0
    assert "1 skipped:\n  image.png: it is a binary file" in ran.err


@pytest.mark.parametrize("bad", [{"bad.md": b"caf\xe9"}, {"image.png": b"\0"}, {"empty.md": ""}])
async def test_strict_stops_everything(shell: Shell, tree: Tree, bad: dict[str, str | bytes]) -> None:
    await shell(ingest, [tree("docs", FILES)], "docs")
    tree("docs", bad | {"a.md": "changed"})
    ran = await shell(ingest, [tree("docs", {})], "docs", strict=True)
    assert ran.status == 1
    assert ran.problem is not None
    assert next(iter(bad)) in ran.problem["detail"]
    assert await head(shell) == FILES


async def test_strict_refuses_before_the_collection_is_made(shell: Shell, tree: Tree) -> None:
    await shell(ingest, [tree("docs", {"a.md": "a", "empty.md": ""})], "docs", strict=True)
    assert await shell.world.platform.collections.all() == []


async def test_a_load_beyond_the_limits_is_cut_into_several_commits(shell: Shell, tree: Tree) -> None:
    shell.limits = Limits(documents=2)
    root = tree("docs", {f"{name}.md": f"Text of {name}." for name in "abcde"})
    ran = await shell(ingest, [root], "docs", message="All", as_json=True)
    assert (ran.json["commits"], ran.json["position"], len(ran.json["jobs"])) == (3, 3, 3)
    assert ran.json["stats"]["documents_added"] == 5
    assert ran.json["stats"]["documents"] == 5
    log = await shell.world.platform.history.log("docs")
    assert [commit.message for commit in log] == ["All (3/3)", "All (2/3)", "All (1/3)"]
    (root / "a.md").unlink()
    for name in "bcd":
        (root / f"{name}.md").write_text("changed")
    mirrored = await shell(ingest, [root], "docs", mirror=True)
    assert "cut into 2 commits" in mirrored.out
    assert set(await head(shell)) == {f"{name}.md" for name in "bcde"}


async def test_bytes_cut_a_load_too(shell: Shell, tree: Tree) -> None:
    shell.limits = Limits(request_bytes=5000)
    root = tree("docs", {f"{name}.md": name * 1000 for name in "abc"})
    ran = await shell(ingest, [root], "docs", as_json=True)
    assert ran.json["commits"] == 2


async def test_atomic_refuses_to_be_cut(shell: Shell, tree: Tree) -> None:
    shell.limits = Limits(documents=2)
    ran = await shell(ingest, [tree("docs", FILES)], "docs", atomic=True)
    assert ran.problem is not None
    assert ran.problem["status"] == 413
    assert "leave --atomic out to make 2 commits" in ran.problem["detail"]
    assert await shell.world.platform.collections.all() == []


async def test_a_dry_run_tells_and_changes_nothing(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    before = await shell(ingest, [root], "docs", dry_run=True, as_json=True)
    assert before.json["plan"]["added"] == sorted(FILES)
    assert before.json["plan"]["chunks_to_embed"] is None
    assert await shell.world.platform.collections.all() == []

    await shell(ingest, [root], "docs")
    tree("docs", {"a.md": "# A\n\nAlpha is changed.", "n.md": "New."})
    (root / "c.txt").unlink()
    ran = await shell(ingest, [root], "docs", dry_run=True, mirror=True, as_json=True)
    plan = ran.json["plan"]
    assert (plan["added"], plan["changed"], plan["removed"], plan["chunks_to_embed"]) == (["n.md"], ["a.md"], ["c.txt"], 2)
    assert await head(shell) == FILES
    shown = await shell(ingest, [root], "docs", dry_run=True, mirror=True)
    assert "would change 3 documents (1 added, 1 changed, 1 removed); nothing was changed" in shown.out


async def test_metadata_is_compared_and_sent(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)
    await shell(ingest, [root], "docs", metadata=["team=ops", "year=2026", "tag=x", "tag=y"])
    _, document = await shell.world.platform.documents.get("docs", "a.md")
    assert document.info.metadata == {"team": "ops", "year": 2026, "tag": ("x", "y")}
    same = await shell(ingest, [root], "docs", metadata=["team=ops", "year=2026", "tag=x", "tag=y"], as_json=True)
    assert same.json["outcome"] == "unchanged"
    other = await shell(ingest, [root], "docs", metadata=["team=it"], as_json=True)
    assert (other.json["sent"], other.json["stats"]["chunks_embedded"]) == (3, 0)


async def test_records_of_json_lines_are_compared_one_by_one(shell: Shell, tree: Tree) -> None:
    root = tree("docs", {"corpus.jsonl": "".join(f'{{"_id": "{n}", "text": "Record {n}.", "n": {n}}}\n' for n in range(3))})
    await shell(ingest, [root], "docs")
    tree("docs", {"corpus.jsonl": '{"_id": "0", "text": "Record 0.", "n": 0}\n{"_id": "1", "text": "Changed.", "n": 1}\n'})
    ran = await shell(ingest, [root], "docs", mirror=True, as_json=True)
    assert (ran.json["sent"], ran.json["same"], ran.json["deletes"]) == (1, 1, ["corpus/2"])


async def test_names_with_quotes_and_letters_of_all_kinds_arrive_as_they_are(shell: Shell, tree: Tree) -> None:
    names = ['say "hi".md', "a;b=c, d.md", "100%25.md", "ümlaut/語.md", "it's.md"]
    ran = await shell(ingest, [tree("docs", dict.fromkeys(names, "Text."))], "docs", as_json=True)
    assert ran.json["failures"] == []
    assert set(await head(shell)) == set(names)


async def test_no_wait_returns_the_accepted_job(shell: Shell, tree: Tree) -> None:
    ran = await shell(ingest, [tree("docs", FILES)], "docs", no_wait=True, as_json=True)
    assert ran.json["outcome"] == "accepted"
    [job] = ran.json["jobs"]
    assert (await shell.world.platform.ingest.wait(job, 5)).state == "published"


async def test_a_file_that_vanishes_while_it_is_sent_is_one_clear_error(shell: Shell, tree: Tree) -> None:
    root = tree("docs", FILES)

    async def vanish(method: str, path: str) -> None:
        if path == "/ingest":
            (root / "a.md").unlink()

    shell.hooks.append(vanish)
    ran = await shell(ingest, [root], "docs")
    assert ran.problem is not None
    assert ran.problem["detail"] == "a.md: it can't be read any more (no such file or directory)."


@pytest.mark.parametrize("name", ["Docs", "a/b", "", "../x", "x" * 64])
async def test_a_bad_collection_name_is_refused_at_once(shell: Shell, tree: Tree, name: str) -> None:
    ran = await shell(ingest, [tree("docs", FILES)], name)
    assert ran.problem is not None
    assert (ran.problem["status"], ran.problem["field"]) == (422, "collection")


async def test_when_no_document_is_good_it_is_an_error(shell: Shell, tree: Tree) -> None:
    ran = await shell(ingest, [tree("docs", {"a.md": b"caf\xe9", "b.md": b"\xff"})], "docs")
    assert ran.status == 1
    assert ran.problem is not None
    assert len(ran.problem["failures"]) == 2
