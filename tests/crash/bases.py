"""The collections that are crashed, and what they show when nothing goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.crash import stores
from tests.crash.copying import copy
from tests.crash.oracle import COLLECTION, picture
from tests.crash.script import HISTORY, Client, Step
from tests.crash.world import opened


def make_bases(work: Path, wanted: Sequence[int]) -> None:
    """The collection after so many steps of the history, for each number wanted, in `work`."""

    async def run() -> None:
        directory = work / "making"
        async with opened(directory) as world:
            await world.platform.collections.create(COLLECTION)
        for number in range(max(wanted) + 1):
            if number in wanted:
                copy(directory, base(work, number))
            if number < len(HISTORY):
                async with opened(directory) as world:
                    await Client(HISTORY[number]).done(world)
        shutil.rmtree(directory)

    asyncio.run(run())


async def put(work: Path, number: int, directory: Path) -> None:
    """The collection after so many steps of the history, in `directory`: a copy, or where its stores are servers made anew there."""
    servers = stores.of(work)
    if servers is None:
        copy(base(work, number), directory)
        return
    servers.write(directory)
    async with opened(directory) as world:
        await world.platform.collections.create(COLLECTION)
        for step in HISTORY[:number]:
            await Client(step).done(world)


async def remove(directory: Path) -> None:
    """Takes a directory away, and what servers hold of it."""
    if stores.of(directory) is not None:
        async with opened(directory, start=False) as world:
            for collection in await world.platform.collections.all():
                await world.platform.collections.delete(collection.name)
        stores.forget(directory)
    shutil.rmtree(directory, ignore_errors=True)


async def reference(work: Path, steps_before: int, steps: Sequence[Step], beside: Path) -> list[dict[str, Any]]:
    """What is shown after these steps when nothing goes wrong. Worked out once, and remembered in `work`."""
    known = work / f"reference-{steps_before}-{'-'.join(_id(step) for step in steps)}.json"
    if not known.exists():
        directory = beside.with_name(f"{beside.name}-reference")
        await put(work, steps_before, directory)
        async with opened(directory) as world:
            for step in steps:
                await Client(step).done(world)
            shown = json.dumps(await picture(world))
        await remove(directory)
        new = directory.with_suffix(".json")
        new.write_text(shown)
        new.rename(known)
    shown_then: list[dict[str, Any]] = json.loads(known.read_text())
    return shown_then


def difference(shown: list[dict[str, Any]], expected: list[dict[str, Any]]) -> str:
    """The first one, in words."""
    if len(shown) != len(expected):
        return f"{len(shown)} commits instead of {len(expected)}"
    for one, other in zip(shown, expected, strict=True):
        for field_, value in json.loads(json.dumps(one)).items():
            if value != other[field_]:
                return f"at #{one['position']} {field_}: {value} instead of {other[field_]}"
    return "nothing else"


def base(work: Path, number: int) -> Path:
    """Where the collection is after so many steps."""
    return work / f"base-{number}"


def _id(step: Step) -> str:
    return hashlib.sha256(repr(step).encode()).hexdigest()[:12]
