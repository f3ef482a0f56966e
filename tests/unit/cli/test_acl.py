"""`ragstone acl`, and groups given with `ragstone ingest`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ragstone.cli import acl
from ragstone.cli.ingest import ingest
from tests.unit.cli.conftest import Shell

Tree = Callable[..., Path]


async def test_groups_are_set_shown_and_taken_away(shell: Shell, tree: Tree) -> None:
    await shell(ingest, [tree("docs", {"a.md": "Alpha.", "hr/b.md": "Beta."})], "docs")
    assert "open to everyone" in (await shell(acl.list_, "docs")).out
    done = await shell(acl.set_, "hr/b.md", ["hr", "board"], "docs")
    assert (done.status, done.out) == (0, "hr/b.md: board, hr\n")
    assert (await shell(acl.get, "hr/b.md", "docs", as_json=True)).json == {"path": "hr/b.md", "groups": ["board", "hr"]}
    assert "board, hr" in (await shell(acl.list_, "docs", prefix="hr/")).out
    assert (await shell(acl.list_, "docs", after="hr/b.md", as_json=True)).json == {"acls": [], "next": None}
    assert (await shell(acl.remove, "hr/b.md", "docs")).status == 0
    gone = await shell(acl.get, "hr/b.md", "docs")
    assert (gone.status, gone.problem and gone.problem["status"]) == (1, 404)


async def test_documents_that_did_not_change_get_the_groups_of_an_ingest_too(shell: Shell, tree: Tree) -> None:
    root = tree("docs", {"a.md": "Alpha.", "b.md": "Beta."})
    await shell(ingest, [root], "docs")
    again = await shell(ingest, [root], "docs", group=["hr"], as_json=True)
    assert (again.json["outcome"], again.json["sent"]) == ("unchanged", 2)
    listed = (await shell(acl.list_, "docs", as_json=True)).json["acls"]
    assert listed == [{"path": path, "groups": ["hr"]} for path in ("a.md", "b.md")]
