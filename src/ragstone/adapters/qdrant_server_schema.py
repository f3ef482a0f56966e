"""How an index lies on a Qdrant server: one collection, its vectors and field indexes, and whether one that is found there is as it must be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from qdrant_client import AsyncQdrantClient, models

from ragstone.adapters.qdrant_edge_payload import indexed_numbers
from ragstone.adapters.qdrant_server_connection import QdrantServer
from ragstone.domain.errors import DataDirectoryError
from ragstone.domain.spaces import Bm25Settings, EmbeddingSpace

DENSE, BM25, TERMS = "dense", "bm25", "terms"
FORMAT = 1
FLUSH_INTERVAL = 5  # seconds, as the server has it by default
MOST_NUMBERS = 256  # metadata keys with a range index; each costs memory in every segment
FieldIndex = models.IntegerIndexParams | models.KeywordIndexParams
_FIELD_INDEXES: dict[str, FieldIndex] = {
    "seq_from": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True),
    "seq_to": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True),
    "path": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True),
    "content_hash": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
    "facets": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
    "groups": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
}
_TERMS_INDEX = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False)


class Opened:
    """What an index's own collection says of it. `numbers`: the metadata fields that have a range index."""

    def __init__(self, index: str, info: models.CollectionInfo) -> None:
        """Raises `DataDirectoryError` unless the collection is one that `creation` made and nobody has changed since."""
        known = info.config.metadata or {}
        if known.get("format") != FORMAT:
            raise _unusable(index, "was not made by this release of ragstone")
        try:
            self.dimension = int(known["dimension"])
            self.bm25 = Bm25Settings(**known["bm25"])
            self.on_disk = bool(known["on_disk"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(index, "has a damaged description") from error
        _check_vectors(index, info.config.params, self.dimension)
        self.shards = info.config.params.shard_number or 1
        self.missing = missing_field_indexes(info.payload_schema, self.shards)
        self.numbers = indexed_numbers(info.payload_schema)

    @property
    def counts_terms(self) -> bool:
        """With several shards the server's IDF is that of one shard; then each point lists its terms, and they are counted."""
        return self.shards > 1


def check_field_indexes(index: str, opened: Opened) -> None:
    """Raises `DataDirectoryError` where strict mode would refuse a filter."""
    if opened.missing:
        raise _unusable(index, f"lacks the payload index of {', '.join(sorted(opened.missing))}")


async def create_collection(client: AsyncQdrantClient, name: str, server: QdrantServer, space: EmbeddingSpace, seconds: int) -> None:
    """The collection of an index. The dense vector is cosine; `bm25` holds BM25's document weights, `terms` 1.0 for each term with the IDF modifier."""
    on_disk = server.on_disk
    await client.create_collection(
        name,
        vectors_config={DENSE: models.VectorParams(size=space.model.dimension, distance=models.Distance.COSINE, on_disk=on_disk)},
        sparse_vectors_config={
            BM25: models.SparseVectorParams(index=models.SparseIndexParams(on_disk=on_disk)),
            TERMS: models.SparseVectorParams(
                index=models.SparseIndexParams(on_disk=on_disk, datatype=models.Datatype.FLOAT16), modifier=models.Modifier.IDF
            ),
        },
        shard_number=server.shard_number,
        replication_factor=server.replication_factor,
        write_consistency_factor=server.acknowledging,
        on_disk_payload=True,
        hnsw_config=models.HnswConfigDiff(on_disk=on_disk),
        quantization_config=_quantisation(server),
        strict_mode_config=models.StrictModeConfig(
            enabled=True,
            unindexed_filtering_retrieve=False,
            unindexed_filtering_update=False,
            max_payload_index_count=MOST_NUMBERS + len(_FIELD_INDEXES) + 1,
        ),
        optimizers_config=models.OptimizersConfigDiff(flush_interval_sec=FLUSH_INTERVAL),
        metadata={"format": FORMAT, "dimension": space.model.dimension, "bm25": asdict(space.bm25), "on_disk": on_disk},
        timeout=seconds,
    )


def field_indexes(shards: int) -> dict[str, FieldIndex]:
    """The field indexes that every index has, by field."""
    return _FIELD_INDEXES | ({TERMS: _TERMS_INDEX} if shards > 1 else {})


def missing_field_indexes(schema: dict[str, models.PayloadIndexInfo], shards: int) -> set[str]:
    """Fields whose index is not there, or is of another kind."""
    return {
        field
        for field, wanted in field_indexes(shards).items()
        if field not in schema or schema[field].data_type.value != wanted.type.value or not _serves(schema[field].params, wanted)
    }


def _serves(found: object, wanted: FieldIndex) -> bool:
    """Whether an index can do all that is asked of it."""
    asked: Collection[str] = [name for name in ("lookup", "range", "prefix") if getattr(wanted, name, None)]
    return all(getattr(found, name, None) for name in asked)


def _check_vectors(index: str, params: models.CollectionParams, dimension: int) -> None:
    dense = _dense(params, index)
    if dense.size != dimension:
        raise _unusable(index, f"holds vectors of {dense.size} numbers instead of {dimension}")
    if dense.distance != models.Distance.COSINE:
        raise _unusable(index, f"compares vectors by {dense.distance.value} instead of {models.Distance.COSINE.value}")
    sparse = params.sparse_vectors or {}
    if not {BM25, TERMS} <= sparse.keys():
        raise _unusable(index, "lacks a sparse vector")
    if sparse[TERMS].modifier != models.Modifier.IDF or sparse[BM25].modifier not in (None, models.Modifier.NONE):
        raise _unusable(index, "has another modifier of a sparse vector")


def _dense(params: models.CollectionParams, index: str = "") -> models.VectorParams:
    vectors = params.vectors
    if not isinstance(vectors, dict) or DENSE not in vectors:
        raise _unusable(index, "lacks the dense vector")
    return vectors[DENSE]


def _quantisation(server: QdrantServer) -> models.ScalarQuantization | None:
    if server.quantisation == "none":
        return None
    return models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True))


def _unusable(index: str, what: str) -> DataDirectoryError:
    return DataDirectoryError(f"The Qdrant collection of index {index!r} {what}; run `ragstone doctor --repair`.", field="index")
