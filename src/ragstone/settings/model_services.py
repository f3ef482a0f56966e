"""Services that run models for others."""

from __future__ import annotations

from pydantic import Field

from ragstone.settings.stores import Section


class EmbeddingService(Section):
    """`ragstone serve-embedding`, which serves `model`, and `reranker` where it is one of the kind onnx."""

    port: int = Field(default=8644, ge=0, le=65535, description="of `ragstone serve-embedding`, on `host`; 0: any free one")
    batch_tokens: int = Field(default=256, ge=16, le=1_000_000, description="of one batch, padding included; a GPU wants 16,384 or more")
    batch_texts: int = Field(default=64, ge=1, le=10_000, description="of one batch")
    queue_texts: int = Field(default=8_192, ge=1, le=1_000_000, description="that may wait at once; more are refused with 429")
    concurrent_requests: int = Field(default=256, ge=1, le=100_000, description="at once; more are refused with 429")
