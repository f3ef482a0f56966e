"""What every staging area promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.mongo_staging import GridFsStaging
from ragstone.domain.documents import checksum
from ragstone.domain.errors import NotFound
from ragstone.ports.staging import Staging
from tests.fakes.staging import InMemoryStaging
from tests.servers import mongo


@pytest.fixture(params=["files", "memory", pytest.param("mongo", marks=pytest.mark.packaged)])
async def staging(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Staging]:
    match request.param:
        case "files":
            yield FileStaging(tmp_path)
        case "memory":
            yield InMemoryStaging()
        case _:
            async with mongo.database(request.getfixturevalue("mongo_url")) as database:
                yield GridFsStaging(database, mongo.dependency())


async def test_bytes_come_back_by_their_digest(staging: Staging) -> None:
    for content in (b"", b"abc", bytes(range(256)) * 5000):
        digest = await staging.put("j1", content)
        assert digest == checksum(content)
        assert await staging.get("j1", digest) == content


async def test_the_same_bytes_again_are_harmless(staging: Staging) -> None:
    digests = await asyncio.gather(*(staging.put("j1", b"abc") for _ in range(20)))
    assert set(digests) == {checksum(b"abc")}
    assert await staging.get("j1", digests[0]) == b"abc"


async def test_jobs_are_apart(staging: Staging) -> None:
    digest = await staging.put("j1", b"abc")
    await staging.put("j2", b"abc")
    assert await staging.jobs() == ["j1", "j2"]
    await staging.discard("j1")
    assert await staging.jobs() == ["j2"]
    assert await staging.get("j2", digest) == b"abc"
    with pytest.raises(NotFound):
        await staging.get("j1", digest)


async def test_what_is_not_there_is_not_found(staging: Staging) -> None:
    await staging.discard("absent")
    assert await staging.jobs() == []
    with pytest.raises(NotFound):
        await staging.get("absent", "0" * 64)
    await staging.put("j1", b"abc")
    with pytest.raises(NotFound):
        await staging.get("j1", "0" * 64)


async def test_many_at_once(staging: Staging) -> None:
    contents = [f"{i}".encode() for i in range(200)]
    digests = await asyncio.gather(*(staging.put(f"j{i % 7}", content) for i, content in enumerate(contents)))
    read = await asyncio.gather(*(staging.get(f"j{i % 7}", digest) for i, digest in enumerate(digests)))
    assert read == contents
    await asyncio.gather(*(staging.discard(f"j{i}") for i in range(7)))
    assert await staging.jobs() == []
