"""Bounds on what one request may bring. All sizes are in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults suit one machine; settings change them."""

    document_bytes: int = 50 * 2**20
    request_bytes: int = 256 * 2**20
    documents: int = 10_000
    question_characters: int = 8_000
    top_k: int = 100
    rerank: int = 100
    metadata_bytes: int = 16 * 2**10
    pending_jobs: int = 1_000
    concurrent_queries: int = 128
    request_seconds: float = 60.0
