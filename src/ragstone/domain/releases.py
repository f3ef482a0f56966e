"""Releases: immutable bundles of everything that shapes an answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache

from ragstone.domain.generation import GeneratorIdentity
from ragstone.domain.reranking import RerankerIdentity
from ragstone.domain.retrieval import RetrievalSettings


@dataclass(frozen=True, slots=True)
class Release:
    """`commit_id` None means `follow: head`. `reranker` None: passages are not reranked. `id` is derived from every other field."""

    collection: str
    commit_id: str | None
    space_id: str
    retrieval: RetrievalSettings
    prompt: str  # name/version
    generator: GeneratorIdentity
    abstain_below: float
    reranker: RerankerIdentity | None = None

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON of all fields; of those of reranking only where there is any."""
        return _release_id(self)


@lru_cache(maxsize=256)  # most questions of a time have the same one
def _release_id(release: Release) -> str:
    form = asdict(release)
    if release.reranker is None:
        del form["reranker"]
    if release.retrieval.rerank == 0:  # as it was before there were rerankers: those releases keep their ids
        del form["retrieval"]["rerank"]
    canonical = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RegisteredRelease:
    """A release as the registry keeps it. `number` counts a collection's releases from 1. `created_at`: Unix seconds."""

    release: Release
    number: int
    principal: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for a release (`champion`, `staging`)."""

    collection: str
    name: str
    release_id: str
    number: int
