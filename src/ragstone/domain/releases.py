"""Releases: immutable bundles of everything that shapes an answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache

from ragstone.domain.generation import GeneratorIdentity
from ragstone.domain.retrieval import RetrievalSettings


@dataclass(frozen=True, slots=True)
class Release:
    """`commit_id` None means `follow: head`. `id` is derived from every other field."""

    collection: str
    commit_id: str | None
    space_id: str
    retrieval: RetrievalSettings
    prompt: str  # name/version
    generator: GeneratorIdentity
    abstain_below: float

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON of all fields."""
        return _release_id(self)


@lru_cache(maxsize=256)  # most questions of a time have the same one
def _release_id(release: Release) -> str:
    canonical = json.dumps(asdict(release), sort_keys=True, separators=(",", ":"))
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
