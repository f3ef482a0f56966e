"""The object store over a directory; over S3 it is the same library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.object_store import ObjectStore, rotating, translate
from ragstone.bootstrap.servers import object_store
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.settings.stores import ObjectStoreSettings


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return made(f"file://{tmp_path}/")


def made(url: str, **options: Any) -> ObjectStore:
    return ObjectStore(url, Dependency("objects", timeout=10.0, concurrency=4, translate=translate), **options)


async def pieces(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def keys(store: ObjectStore, prefix: str = "") -> dict[str, int]:
    return {key: size async for key, size in store.list(prefix)}


async def test_what_was_put_comes_back_and_is_listed_below_its_prefix(store: ObjectStore) -> None:
    await store.put("backups/one/catalog", pieces(b"ab", b"c"))
    await store.put("other", pieces(b""))
    assert b"".join([piece async for piece in store.stream("backups/one/catalog")]) == b"abc"
    assert await keys(store, "backups") == {"backups/one/catalog": 3}
    assert await keys(store) == {"backups/one/catalog": 3, "other": 0}


async def test_what_is_not_there_is_not_found_and_deleted_without_a_word(store: ObjectStore) -> None:
    await store.put("a", pieces(b"1"))
    await store.put("b", pieces(b"2"))
    await store.delete(["a", "absent"])
    assert await keys(store) == {"b": 1}
    with pytest.raises(NotFound, match="absent"):
        [piece async for piece in store.stream("absent")]


async def test_what_lies_below_an_address_is_deleted_and_nothing_beside_it(store: ObjectStore, tmp_path: Path) -> None:
    for key in ("repo/data/x", "repo/data/y", "repo2/z"):
        await store.put(key, pieces(b"1"))
    await store.delete_all(f"local://{tmp_path}/repo")
    assert await keys(store) == {"repo2/z": 1}
    with pytest.raises(InvalidInput, match="elsewhere"):
        await store.delete_all("s3://bucket/repo")


def test_an_address_is_a_key_only_below_the_url() -> None:
    store = made("s3://bucket/prefix", region="us-east-1")
    assert store.key("s3://bucket/prefix/repo/data") == "repo/data"
    assert store.key("s3://bucket/prefixed/repo") is None
    assert store.key("local://ragstone/repo") == "ragstone/repo"


@pytest.mark.parametrize("url", ["nonsense", "gopher://bucket/x"])
def test_an_address_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"s3://bucket/prefix"):
        made(url)


async def test_a_store_that_can_not_be_reached_is_unavailable() -> None:
    keys = {"access_key_id": "a", "secret_access_key": "b"}
    store = made("s3://bucket", endpoint="http://127.0.0.1:9", client_options={"allow_http": True}, retry_config={"max_retries": 0}, **keys)

    async def read() -> None:
        [piece async for piece in store.stream("key")]

    calls: list[Callable[[], Awaitable[None]]] = [lambda: store.put("key", pieces(b"1")), read]
    for call in calls:
        with pytest.raises(Unavailable, match="object store"):
            await call()


async def test_a_secret_that_changes_is_taken_up(tmp_path: Path) -> None:
    signatures: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        signatures.append(head.split("Signature=")[1].split()[0])
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    secrets = ["first", "second"]
    asked: list[str] = []

    def secret() -> str:
        asked.append(secrets[-1])
        return secrets[-1]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = made(
        "s3://bucket", endpoint=address, region="x", client_options={"allow_http": True}, credential_provider=rotating("key", secret)
    )
    for _ in range(2):
        with pytest.raises(NotFound):
            [piece async for piece in store.stream("key")]
        secrets.pop()
        await asyncio.sleep(0.15)
    assert asked[0] == "second"
    assert asked[-1] == "first"
    assert len(signatures) == 2
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("half", [{"access_key_id": "a"}, {"secret_access_key": "b"}])
def test_half_a_key_is_refused(half: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="or none of them"):
        ObjectStoreSettings.model_validate({"url": "s3://bucket", **half})


def test_an_s3_beside_the_platform_may_be_reached_without_tls() -> None:
    settings = ObjectStoreSettings(
        url="s3://bucket/prefix", endpoint="http://127.0.0.1:8333", region="us-east-1", access_key_id="a", secret_access_key=SecretStr("b")
    )
    assert object_store("backup", settings).key("s3://bucket/prefix/x") == "x"
