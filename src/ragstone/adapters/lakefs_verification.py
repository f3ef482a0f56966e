"""Whether commits can be read whole: every object that they need is there and has its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from ragstone.adapters import lakefs_layout as layout
from ragstone.adapters.lakefs_client import Entry
from ragstone.adapters.lakefs_reading import Reader
from ragstone.domain.documents import checksum
from ragstone.domain.errors import DataDirectoryError, InternalError, NotFound


async def unreadable(reader: Reader, commits: Collection[str]) -> list[str]:
    """Those of `commits` that lack something. Each object is read once, however many commits need it."""
    await reader.state()
    known: dict[tuple[str, str], bool] = {}
    return [commit for commit in commits if not await _readable(reader, commit, known)]


async def _readable(reader: Reader, commit: str, known: dict[tuple[str, str], bool]) -> bool:
    try:
        record, state = await reader.readable(commit)
        masked = {layout.key(path) for path in state.masked(commit)}
        documents = await _entries(reader, commit, layout.DOCUMENTS)
        sidecars = await _entries(reader, commit, layout.SIDECARS)
        if documents.keys() != sidecars.keys() or len(documents) != reader.held(record):
            return False
    except (NotFound, DataDirectoryError):
        return False

    async def whole(key: str) -> bool:
        pair = documents[key].address, sidecars[key].address
        if pair not in known:
            known[pair] = await _whole(reader, commit, key, documents[key])
        return known[pair]

    return all(await reader.gathered(whole, sorted(documents.keys() - masked)))


async def _entries(reader: Reader, commit: str, folder: str) -> dict[str, Entry]:
    return {entry.key.removeprefix(folder): entry async for entry in reader.client.entries(reader.name, commit, folder)}


async def _whole(reader: Reader, commit: str, key: str, entry: Entry) -> bool:
    try:
        sidecar = await reader.client.content(reader.name, commit, layout.SIDECARS + key)
        if hashlib.sha256(sidecar).hexdigest() != entry.metadata.get(layout.SIDECAR):
            return False
        info, _ = layout.parse(sidecar)
        return (
            layout.key(info.path) == key
            and checksum(await reader.client.content(reader.name, commit, layout.DOCUMENTS + key)) == info.checksum
        )
    except (NotFound, InternalError, ValueError, KeyError, TypeError):
        return False
