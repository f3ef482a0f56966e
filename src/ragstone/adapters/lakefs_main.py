"""Branch `main`: it follows the head by merges (ADR 0025), so that a late writer can't take it back.

A merge is a commit of lakeFS' own, with the tree of the staged commit and that commit as its second parent; `main` here always means that one.
"""

from __future__ import annotations

from ragstone.adapters import lakefs_layout as layout
from ragstone.adapters.lakefs_client import Record
from ragstone.adapters.lakefs_errors import Refused
from ragstone.adapters.lakefs_reading import Reader
from ragstone.domain.errors import Conflict, Unavailable

_TRIES = 5
_FOREIGN = "main has commits that ragstone did not make; move them to another branch and main back to the head."
_DIRTY = "main has changes in lakeFS that nobody committed; commit them on another branch and reset main."


async def main(reader: Reader) -> str | None:
    """The staged commit that `main` stands for; its own id when someone else made it; None at the very beginning."""
    state = await reader.state()
    tip = await reader.client.tip(reader.name, layout.MAIN)
    if tip is None or tip == state.root:
        return None
    return mirrored(await reader.record(tip)) or tip


def mirrored(record: Record) -> str | None:
    """The commit that a commit of `main` stands for; None when ragstone did not make it."""
    head = record.metadata.get(layout.HEAD)
    if head is not None and len(record.parents) == 2 and record.parents[1] == head:  # a cherry-pick copies metadata, not parents
        return head
    return record.id if layout.TOKEN in record.metadata and head is None else None


async def advance(reader: Reader, commit: str) -> None:
    """Merges `commit` into `main` unless it is there. Raises `Conflict` when `main` has gone elsewhere."""
    client, name = reader.client, reader.name
    await reader.record(commit)
    root = (await reader.state()).root
    for last in [False] * (_TRIES - 1) + [True]:
        tip = await client.tip(name, layout.MAIN) or root  # lakeFS does not let it be deleted
        here = root if tip == root else mirrored(await reader.record(tip))
        if here is None:
            raise Conflict(_FOREIGN)
        base = await client.merge_base(name, commit, tip)
        if base == commit:
            return
        if base != here:
            raise Conflict(_FOREIGN)
        try:
            await _merge(reader, commit)
        except (Refused, Unavailable):  # done after all, or somebody else was faster: look again
            if last:
                raise
    raise Unavailable("Branch main changes too fast; try again.", field="versions")


async def _merge(reader: Reader, commit: str) -> None:
    about = {layout.HEAD: commit}
    message = f"{layout.MAIN} at {commit[:12]}"
    try:
        await reader.client.merge(reader.name, commit, layout.MAIN, message, about)
    except Refused as refusal:
        if "dirty" in refusal.reason:
            raise Conflict(_DIRTY) from refusal
        if "no changes" not in refusal.reason:
            raise
        base = await reader.client.merge_base(reader.name, commit, layout.MAIN)
        if base != commit:  # another history with the same tree
            await reader.client.merge(reader.name, commit, layout.MAIN, message, about, allow_empty=True)
    except Conflict:
        raise Conflict(_FOREIGN) from None
