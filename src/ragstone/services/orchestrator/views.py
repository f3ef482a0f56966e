"""Domain objects as the API's JSON. Plain dicts; `schemas.responses` describes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from ragstone.domain.access import EVERYTHING, View
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit, CommitStats, Snapshot, Tag
from ragstone.domain.documents import DocumentInfo, StoredDocument
from ragstone.domain.generation import GeneratorIdentity
from ragstone.domain.jobs import Job, JobResult, Progress
from ragstone.domain.releases import Release
from ragstone.domain.reranking import RerankerIdentity
from ragstone.domain.retrieval import IndexedChunk, RetrievalSettings
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.domain.uploads import IngestPlan
from ragstone.services.orchestrator.problems import conflict_json
from ragstone.use_cases.history import Difference

Json = dict[str, Any]
_TELLING = ("documents", "chunks", "chunks_embedded", "chunks_reused")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC, rounded up to the microsecond: a commit's own time, as `as_of`, finds that commit."""
    whole = math.floor(seconds)
    told = _EPOCH + timedelta(seconds=whole, microseconds=math.ceil((seconds - whole) * 1e6))  # apart: the product of all would be rounded
    return told.isoformat(timespec="microseconds").replace("+00:00", "Z")


def snapshot_json(snapshot: Snapshot) -> Json:
    """What a read was answered from."""
    return {
        "collection": snapshot.collection,
        "commit_id": snapshot.commit_id,
        "seq": snapshot.seq,
        "position": snapshot.position,
        "was_head": snapshot.was_head,
    }


def stats_json(stats: CommitStats, view: View) -> Json:
    """Every count. Those of documents that may be kept from whoever asks are None: totals, and whether a text was known already."""
    return asdict(stats) | ({} if view.whole else dict.fromkeys(_TELLING))


def commit_json(commit: Commit, view: View = EVERYTHING) -> Json:
    """A commit for people and programs, as the view shows it."""
    return {
        "id": commit.id,
        "seq": commit.seq,
        "position": commit.position,
        "parent_id": commit.parent_id,
        "author": commit.author,
        "message": view.text(commit.message),
        "created_at": moment(commit.created_at),
        "pruned_at": moment(commit.pruned_at) if commit.pruned_at is not None else None,
        "job_id": commit.job_id,
        "space_id": commit.space_id,
        "stats": stats_json(commit.stats, view) if view.whole else None,
    }


def space_json(space: EmbeddingSpace) -> Json:
    """Everything that vectors of the space depend on."""
    return {"id": space.id, **asdict(space), "parsers": list(space.parsers)}


def collection_json(collection: Collection, head: Commit | None, view: View = EVERYTHING) -> Json:
    """A collection with its head's totals, where nothing of it is kept from whoever asks."""
    return {
        "name": collection.name,
        "uid": collection.uid,
        "language": collection.language,
        "description": collection.description,
        "created_at": moment(collection.created_at),
        "head": commit_json(head, view) if head else None,
        "spaces": [space_json(space) for space in collection.spaces],
        "documents": None if not view.whole else head.stats.documents if head else 0,
        "chunks": None if not view.whole else head.stats.chunks if head else 0,
    }


def metadata_json(metadata: Mapping[str, Any]) -> Json:
    """Tuples become lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in metadata.items()}


def info_json(info: DocumentInfo) -> Json:
    """A document without its bytes."""
    return {
        "path": info.path,
        "media_type": info.media_type,
        "size": info.size,
        "checksum": info.checksum,
        "title": info.title,
        "metadata": metadata_json(info.metadata),
    }


def document_json(document: StoredDocument) -> Json:
    """A document with its extracted text, which spans refer to."""
    return {**info_json(document.info), "text": document.extracted.text, "parser": document.extracted.parser}


def chunk_json(chunk: IndexedChunk) -> Json:
    """A chunk as it is indexed; `commit_id` and `checksum` tell what introduced it."""
    return {
        "chunk_id": chunk.id,
        "path": chunk.path,
        "heading_path": list(chunk.heading_path),
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "page": chunk.page,
        "content_hash": chunk.content_hash,
        "commit_id": chunk.commit_id,
        "checksum": chunk.checksum,
    }


def difference_json(difference: Difference) -> Json:
    """What changed between two commits."""
    return {
        "documents": [{"path": change.path, "kind": change.kind} for change in difference.documents],
        "chunks_added": [chunk_json(chunk) for chunk in difference.chunks_added],
        "chunks_removed": [chunk_json(chunk) for chunk in difference.chunks_removed],
        "chunks_kept": difference.chunks_kept,
    }


def tag_json(tag: Tag) -> Json:
    """A tag."""
    return {"name": tag.name, "commit_id": tag.commit_id, "seq": tag.seq, "created_at": moment(tag.created_at)}


def result_json(result: JobResult, view: View) -> Json:
    """What became of a job."""
    return {
        "outcome": result.outcome,
        "commit_id": result.commit_id,
        "seq": result.seq,
        "position": result.position,
        "stats": stats_json(result.stats, view),
        "failures": [asdict(failure) for failure in result.failures],
        "error_code": result.error_code,
        "error": result.error,
        "status": result.status,
        "conflict": conflict_json(result.conflict) if result.conflict else None,
    }


def job_json(job: Job, progress: Progress, view: View) -> Json:
    """A job and how far it is, as the view shows it."""
    return {
        "id": job.id,
        "collection": job.collection,
        "number": job.number,
        "state": job.state,
        "created_at": moment(job.created_at),
        "finished_at": None if job.finished_at is None else moment(job.finished_at),
        "progress": asdict(progress if view.whole else replace(progress, embedded=0, reused=0, rate=0.0, seconds_left=None, shards=())),
        "result": result_json(job.result, view) if job.result else None,
        "space_id": job.space_id,
    }


def plan_json(plan: IngestPlan) -> Json:
    """What an ingestion would do."""
    return {
        "commit_id": plan.commit_id,
        "added": list(plan.added),
        "changed": list(plan.changed),
        "removed": list(plan.removed),
        "chunks_added": plan.chunks_added,
        "chunks_removed": plan.chunks_removed,
        "chunks_kept": plan.chunks_kept,
        "chunks_to_embed": plan.chunks_to_embed,
        "failures": [asdict(failure) for failure in plan.failures],
    }


def release_json(release: Release) -> Json:
    """The bundle that shaped an answer."""
    return {
        "id": release.id,
        "collection": release.collection,
        "commit_id": release.commit_id,
        "space_id": release.space_id,
        "retrieval": _plain(release.retrieval),
        "prompt": release.prompt,
        "generator": _plain(release.generator),
        "abstain_below": release.abstain_below,
        "reranker": _plain(release.reranker) if release.reranker else None,
    }


@lru_cache(maxsize=256)  # every answer carries them, and most carry the same
def _plain(settings: RetrievalSettings | GeneratorIdentity | RerankerIdentity) -> Json:
    return asdict(settings)
