"""Damage of an index on a Qdrant server, done behind ragstone's back: the doctor finds it and mends it, and every commit answers as before."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, models

from ragstone.domain.findings import FindingKind
from tests.servers import qdrant
from tests.support.checkup import fill, picture
from tests.support.damage import opened

pytestmark = pytest.mark.servers

Harm = Callable[[AsyncQdrantClient, str], Awaitable[Any]]
EVERYTHING = models.Filter(must_not=[models.FieldCondition(key="seq_from", range=models.Range(lt=0))])


@dataclass(frozen=True)
class Damage:
    """What is done to the collection that an alias names, and what is to be found then."""

    expected: FindingKind
    harm: Harm


async def _no_field_index(client: AsyncQdrantClient, alias: str) -> None:
    await client.delete_payload_index(alias, "facets")


async def _another_collection(client: AsyncQdrantClient, alias: str, **changed: Any) -> None:
    """In its place, with points that it must not be asked for."""
    config = (await client.get_collection(alias)).config
    known: dict[str, Any] = {
        "vectors_config": config.params.vectors,
        "sparse_vectors_config": config.params.sparse_vectors,
        "metadata": config.metadata,
    }
    await client.create_collection(f"{alias}.9", **{**known, **changed})
    named = models.CreateAlias(collection_name=f"{alias}.9", alias_name=alias)
    await client.update_collection_aliases([models.CreateAliasOperation(create_alias=named)])


async def _another_dimension(client: AsyncQdrantClient, alias: str) -> None:
    await _another_collection(client, alias, vectors_config={"dense": models.VectorParams(size=3, distance=models.Distance.COSINE)})


async def _no_modifier(client: AsyncQdrantClient, alias: str) -> None:
    await _another_collection(
        client, alias, sparse_vectors_config={"bm25": models.SparseVectorParams(), "terms": models.SparseVectorParams()}
    )


async def _no_alias(client: AsyncQdrantClient, alias: str) -> None:
    await client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))])


async def _some(client: AsyncQdrantClient, alias: str) -> models.Record:
    records, _ = await client.scroll(alias, limit=1, with_vectors=True)
    return records[0]


async def _deleted(client: AsyncQdrantClient, alias: str) -> None:
    await client.delete(alias, models.PointIdsList(points=[(await _some(client, alias)).id]))


async def _another_text(client: AsyncQdrantClient, alias: str) -> None:
    await client.set_payload(alias, {"text": "forged"}, models.PointIdsList(points=[(await _some(client, alias)).id]))


async def _another_vector(client: AsyncQdrantClient, alias: str) -> None:
    point = await _some(client, alias)
    sparse = models.SparseVector(indices=[1], values=[1.0])
    await client.update_vectors(alias, [models.PointVectors(id=point.id, vector={"bm25": sparse})])


async def _ghost(client: AsyncQdrantClient, alias: str) -> None:
    point = await _some(client, alias)
    vector: Any = point.vector
    await client.upsert(alias, [models.PointStruct(id=str(uuid.uuid4()), vector=vector, payload={**(point.payload or {}), "seq_from": 4})])


async def _no_end(client: AsyncQdrantClient, alias: str) -> None:
    await client.delete_payload(alias, ["seq_to"], EVERYTHING)


DAMAGES: dict[str, Damage] = {
    "a field index": Damage("broken-index", _no_field_index),
    "another dimension": Damage("broken-index", _another_dimension),
    "no modifier": Damage("broken-index", _no_modifier),
    "no alias": Damage("lost-index", _no_alias),
    "a point": Damage("missing-points", _deleted),
    "a text": Damage("malformed-points", _another_text),
    "a vector": Damage("malformed-points", _another_vector),
    "a ghost": Damage("ghost-points", _ghost),
    "ends": Damage("malformed-points", _no_end),
}


async def test_damage_is_found_and_mended(tmp_path: Path, qdrant_url: str) -> None:
    server = qdrant.server(qdrant_url)
    client = AsyncQdrantClient(url=server.url, port=None, grpc_port=server.grpc_port, prefer_grpc=True, check_compatibility=False)
    async with opened(tmp_path, index=qdrant.index(server)) as platform:
        await fill(platform)
        await platform.maintenance.idle()
        before = await picture(platform)
        assert (await platform.doctor.run(repair=True)).findings == ()
        (alias,) = [each.alias_name for each in (await client.get_aliases()).aliases if each.alias_name.startswith(server.prefix)]
    for name, damage in DAMAGES.items():
        await damage.harm(client, alias)
        async with opened(tmp_path, working=False, index=qdrant.index(server)) as platform:
            report = await platform.doctor.run()
            assert damage.expected in {one.kind for one in report.findings}, name
            mended = await platform.doctor.run(repair=True)
            assert mended.healthy, (name, mended.findings)
            assert (await platform.doctor.run()).findings == (), name
            assert await picture(platform) == before, name
    await client.close()
    await qdrant.dropped(qdrant.index(server))
