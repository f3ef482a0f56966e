"""What only a Qdrant server can get wrong: other collections, other processes, quantisation, snapshots; and that it agrees with Edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.qdrant_server import QdrantServerIndex
from ragstone.adapters.qdrant_server_connection import QdrantServer
from ragstone.adapters.qdrant_server_schema import BM25, DENSE, TERMS
from ragstone.domain.errors import DataDirectoryError, InvalidInput, NotFound
from ragstone.domain.filters import Equals, Filter, Not, PathPrefix, Range
from ragstone.domain.retrieval import Candidate
from ragstone.ports.vector_index import VectorIndex
from tests.servers import qdrant
from tests.support.points import DIMENSION, point, space, unit

pytestmark = pytest.mark.servers
NAME = "kb-1-space"


@pytest.fixture
def server(qdrant_url: str) -> QdrantServer:
    return qdrant.server(qdrant_url)


@pytest.fixture
async def index(server: QdrantServer) -> AsyncIterator[QdrantServerIndex]:
    adapter = qdrant.index(server)
    await adapter.create(NAME, space())
    yield adapter
    await qdrant.dropped(adapter)


@pytest.fixture
async def client(server: QdrantServer) -> AsyncIterator[AsyncQdrantClient]:
    direct = AsyncQdrantClient(url=server.url, port=None, grpc_port=server.grpc_port, prefer_grpc=True, check_compatibility=False)
    yield direct
    await direct.close()


async def ask(index: VectorIndex, seq: int = 1, **wanted: Any) -> list[Candidate]:
    given: dict[str, Any] = {"vector": unit(1), "text": "quartz", "filter": Filter(), "limit": 10, "exact": True, **wanted}
    return await index.search(NAME, seq, (), **given)


async def test_it_agrees_with_edge(index: QdrantServerIndex, tmp_path: Path) -> None:
    edge = QdrantEdgeIndex(tmp_path / "index")
    await edge.create(NAME, space())
    rng, words = np.random.default_rng(3), ["quartz", "basalt", "granite", "gneiss", "marble", "slate", "chalk", "flint"]
    points = [
        point(
            f"{'ab'[i % 2]}/{i}.md",
            " ".join(rng.choice(words, int(rng.integers(3, 60)))),
            tuple(rng.normal(size=DIMENSION)),
            seq_from=1 + i % 3,
            metadata={"year": 2000 + i % 9, "tag": ("x", f"t{i % 5}")},
        )
        for i in range(400)
    ]
    for each in (edge, index):
        await each.insert(NAME, points)
        await each.close_points(NAME, [p.chunk.id for p in points[:90]], 3, ())
    filters = [Filter(), Filter((Range("year", gte=2004),)), Filter((Equals("tag", "t2"), Not(PathPrefix("a/"))))]
    for seq in (1, 2, 3):
        for filter_ in filters:
            for exact in (True, False):
                vector, text = rng.normal(size=DIMENSION).astype(np.float32), " ".join(rng.choice(words, 3))
                asked: dict[str, Any] = {
                    "vector": vector / np.linalg.norm(vector),
                    "text": text,
                    "filter": filter_,
                    "limit": 25,
                    "exact": exact,
                }
                theirs, ours = await ask(edge, seq, **asked), await ask(index, seq, **asked)
                assert [(c.id, c.dense_rank, c.bm25_rank) for c in ours] == [(c.id, c.dense_rank, c.bm25_rank) for c in theirs]
                assert [c.bm25 for c in ours] == [c.bm25 for c in theirs]
                assert [c.dense for c in ours] == pytest.approx([c.dense for c in theirs], abs=1e-5)
                chunks = await edge.chunks(NAME, [c.id for c in theirs])
                assert await index.chunks(NAME, [c.id for c in ours]) == chunks
    await edge.aclose()


async def _damaged(server: QdrantServer, index: QdrantServerIndex, client: AsyncQdrantClient, **changed: Any) -> str:
    """Puts a collection that differs in `changed` in the place of the index's, and tells how an adapter that opens it complains."""
    collection = f"{server.prefix}{NAME}.7"
    info = await client.get_collection(f"{server.prefix}{NAME}")
    known: dict[str, Any] = {
        "vectors_config": info.config.params.vectors,
        "sparse_vectors_config": info.config.params.sparse_vectors,
        "metadata": info.config.metadata,
    }
    await client.create_collection(collection, **{**known, **changed})
    alias = models.CreateAlias(collection_name=collection, alias_name=f"{server.prefix}{NAME}")
    await client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    fresh = qdrant.index(server)
    calls = [fresh.scan(NAME), ask(fresh), fresh.insert(NAME, [point()]), fresh.close_points(NAME, [point().chunk.id], 2, ())]
    complaints = set()
    for call in calls:
        with pytest.raises(DataDirectoryError) as raised:
            await call
        complaints.add(raised.value.message)
    assert (await client.count(collection)).count == 0
    await fresh.aclose()
    (complaint,) = complaints
    return complaint


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"vectors_config": {DENSE: models.VectorParams(size=DIMENSION + 3, distance=models.Distance.COSINE)}}, "7 numbers instead of 4"),
        ({"vectors_config": {DENSE: models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)}}, "Dot instead of Cosine"),
        ({"vectors_config": {"other": models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)}}, "dense vector"),
        ({"sparse_vectors_config": {BM25: models.SparseVectorParams(), TERMS: models.SparseVectorParams()}}, "modifier"),
        ({"sparse_vectors_config": {BM25: models.SparseVectorParams()}}, "sparse vector"),
        ({"metadata": {"format": 99}}, "release"),
        ({"metadata": {"format": 1, "dimension": "x", "bm25": 3}}, "description"),
        ({}, "payload index of content_hash, facets, groups, path, seq_from, seq_to"),
    ],
    ids=["dimension", "distance", "dense", "modifier", "sparse", "format", "metadata", "fields"],
)  # fmt: skip
async def test_a_collection_of_another_kind_is_refused_by_name(
    server: QdrantServer, index: QdrantServerIndex, client: AsyncQdrantClient, changed: dict[str, Any], named: str
) -> None:
    complaint = await _damaged(server, index, client, **changed)
    assert named in complaint
    assert NAME in complaint
    assert "doctor --repair" in complaint


@pytest.mark.parametrize(
    "kind", [None, models.PayloadSchemaType.KEYWORD, models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, range=False)]
)
async def test_a_payload_index_that_is_missing_or_of_another_kind_is_told_and_made(
    server: QdrantServer, index: QdrantServerIndex, client: AsyncQdrantClient, kind: models.PayloadSchemaType | None
) -> None:
    await index.insert(NAME, [point()])
    await client.delete_payload_index(f"{server.prefix}{NAME}", "seq_to")
    if kind is not None:
        await client.create_payload_index(f"{server.prefix}{NAME}", "seq_to", kind)
    fresh = qdrant.index(server)
    with pytest.raises(DataDirectoryError, match="payload index of seq_to"):
        await ask(fresh)
    await fresh.create(NAME, space())
    assert len(await ask(fresh)) == 1
    await fresh.aclose()


async def test_a_payload_index_that_goes_while_it_is_in_use_corrupts_nothing(
    server: QdrantServer, index: QdrantServerIndex, client: AsyncQdrantClient
) -> None:
    await index.insert(NAME, [point()])
    await client.delete_payload_index(f"{server.prefix}{NAME}", "seq_to")
    with pytest.raises(DataDirectoryError, match="payload index of seq_to"):
        await index.close_points(NAME, [point().chunk.id], 2, ())
    with pytest.raises(DataDirectoryError, match="payload index of seq_to"):
        await ask(index)
    await index.create(NAME, space())
    assert len(await ask(index)) == 1


async def test_what_others_keep_on_the_server_is_left_alone(
    server: QdrantServer, index: QdrantServerIndex, client: AsyncQdrantClient
) -> None:
    foreign = server.prefix.replace("test", "foreign") + NAME
    await client.create_collection(foreign, {})
    assert await index.names() == [NAME]
    await index.drop(NAME)
    assert await client.collection_exists(foreign)
    await client.delete_collection(foreign)


async def test_a_name_that_is_none_is_refused(index: QdrantServerIndex) -> None:
    for name in ("", "../x", "a b", "x" * 300, "ü"):
        with pytest.raises(InvalidInput):
            await index.create(name, space())
        with pytest.raises(NotFound):
            await index.count_visible(name, 1, ())
        await index.drop(name)
        assert not await index.exists(name)
    assert await index.names() == [NAME]


async def test_processes_that_create_it_at_once_make_one(server: QdrantServer) -> None:
    adapters = [qdrant.index(server) for _ in range(4)]
    await asyncio.gather(*(adapter.create(NAME, space()) for adapter in adapters))
    await asyncio.gather(*(adapter.insert(NAME, [point(f"{i}.md")]) for i, adapter in enumerate(adapters)))
    assert [await adapter.count_visible(NAME, 1, ()) for adapter in adapters] == [4] * 4
    for adapter in adapters[1:]:
        await adapter.aclose()
    await qdrant.dropped(adapters[0])


async def test_a_creation_that_was_cut_short_is_finished_and_what_a_drop_left_is_not_found_again(
    server: QdrantServer, index: QdrantServerIndex, client: AsyncQdrantClient
) -> None:
    await index.insert(NAME, [point()])
    alias = models.DeleteAlias(alias_name=f"{server.prefix}{NAME}")
    await client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=alias)])  # as if it ended before its alias was made
    assert not await index.exists(NAME)
    await index.create(NAME, space())
    assert await index.opened(NAME, 1) == 0
    assert len([each for each in (await client.get_collections()).collections if each.name.startswith(server.prefix)]) == 1


async def test_others_see_a_collection_that_took_its_place(server: QdrantServer, index: QdrantServerIndex) -> None:
    other = qdrant.index(server)
    await index.insert(NAME, [point("old.md", metadata={"year": 1})])
    ranged = Filter((Range("year", gte=0),))
    assert len(await ask(other, filter=ranged)) == 1
    await index.create("spare", space())
    await index.insert("spare", [point("new.md")])
    await index.replace(NAME, "spare")
    await other.insert(NAME, [point("newer.md", metadata={"year": 2})])
    assert len(await ask(other, filter=ranged)) == 1
    assert len(await ask(index, filter=ranged)) == 1
    assert len(await ask(index)) == 2
    await other.aclose()


async def test_a_repair_does_not_reopen_what_a_writer_closes_meanwhile(index: QdrantServerIndex) -> None:
    points = [point(f"{i}.md") for i in range(300)]
    await index.insert(NAME, points)
    ids = [p.chunk.id for p in points]
    closing = [index.close_points(NAME, ids[i : i + 30], 5, ()) for i in range(0, 300, 30)]
    await asyncio.gather(index.mend(NAME, points, [], head=3), *closing, index.mend(NAME, points, [], head=3))
    assert await index.closed(NAME, 5) == 300


async def test_cosines_are_exact_where_vectors_are_quantised(qdrant_url: str) -> None:
    server = qdrant.server(qdrant_url, quantisation="scalar", on_disk=True)
    adapter = qdrant.index(server)
    await adapter.create(NAME, space())
    direct = AsyncQdrantClient(url=server.url, port=None, grpc_port=server.grpc_port, prefer_grpc=True, check_compatibility=False)
    alias = f"{server.prefix}{NAME}"
    await direct.update_collection(f"{alias}.1", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1))  # KB
    rng = np.random.default_rng(4)
    points = {p.chunk.id: p for p in (point(f"{i}.md", f"quartz {i}", tuple(rng.normal(size=DIMENSION))) for i in range(2000))}
    await adapter.insert(NAME, list(points.values()))
    async with asyncio.timeout(60):
        while ((await direct.get_collection(alias)).indexed_vectors_count or 0) < 3 * len(points):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.1)
    for exact in (True, False):
        for candidate in await ask(adapter, exact=exact, limit=50):
            assert candidate.dense == pytest.approx(float(points[candidate.id].vector @ unit(1)), abs=1e-6)
    await direct.close()
    await qdrant.dropped(adapter)


async def test_a_snapshot_brings_the_index_back(server: QdrantServer, index: QdrantServerIndex) -> None:
    points = [point(f"{i}.md", f"quartz {i}", (1, i), metadata={"year": i}) for i in range(300)]
    await index.insert(NAME, points)
    before = await ask(index, filter=Filter((Range("year", gte=7),)))
    content = [part async for part in index.snapshot(NAME)]
    assert await index.snapshots.names(NAME) == []
    await index.insert(NAME, [point("later.md")])

    async def stream() -> AsyncIterator[bytes]:
        for part in content:
            yield part

    await index.restore_snapshot(NAME, stream())
    assert await index.opened(NAME, 1) == 300
    assert await ask(index, filter=Filter((Range("year", gte=7),))) == before
    await index.drop(NAME)
    await index.restore_snapshot(NAME, stream())
    assert await index.names() == [NAME]
    assert await ask(index, filter=Filter((Range("year", gte=7),))) == before


async def test_what_is_no_snapshot_is_refused_and_changes_nothing(
    index: QdrantServerIndex, server: QdrantServer, client: AsyncQdrantClient
) -> None:
    await index.insert(NAME, [point()])

    async def stream() -> AsyncIterator[bytes]:
        yield b"no snapshot " * 1000

    with pytest.raises(DataDirectoryError):
        await index.restore_snapshot(NAME, stream())
    assert await index.opened(NAME, 1) == 1
    assert len([each for each in (await client.get_collections()).collections if each.name.startswith(server.prefix)]) == 1
