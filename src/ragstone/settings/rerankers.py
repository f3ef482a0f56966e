"""What reorders the passages that a search found: nothing, a model in this process, or a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from ragstone.settings.embedders import CPU, PROVIDER
from ragstone.settings.stores import Section


class NoReranker(Section):
    """Passages stay in the order of their fused scores."""

    kind: Literal["none"] = "none"


class OnnxReranker(Section):
    """A cross-encoder in this process."""

    kind: Literal["onnx"]
    model: str = Field(
        min_length=1, description="a directory with model.onnx or model.safetensors, an .onnx file, or models:/<name>@<alias>"
    )
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 that its weights must have; unset: any")
    threads: int = Field(default=0, ge=0, description="of the reranker; 0: as many as cores, or as the container's CPU limit")
    provider: str = Field(default=CPU, pattern=PROVIDER, description="ONNX Runtime's execution provider")
    candidates: int = Field(default=20, ge=0, le=1_000, description="passages that it reorders, where the question does not say")


class HttpReranker(Section):
    """An endpoint that speaks a `/rerank` dialect. The key comes from the environment or from a file."""

    kind: Literal["http"]
    dialect: Literal["tei", "cohere", "jina"] = Field(description="Text Embeddings Inference, Cohere's v2, or Jina's (vLLM speaks it too)")
    base_url: str = Field(description="before /rerank: http://127.0.0.1:8080 (tei), https://api.cohere.com/v2, https://api.jina.ai/v1")
    model: str = Field(min_length=1, description="its name at the endpoint; tei serves one, whose name is only recorded")
    api_key: SecretStr | None = Field(default=None, description="sent as the bearer")
    api_key_file: Path | None = None
    batch: int | None = Field(default=None, ge=1, le=1_000, description="texts of one request; unset: 32 for tei, 1000 for the others")
    timeout: float = Field(
        default=10.0, gt=0, description="seconds for a request; never more than half of what limits.request_seconds leaves"
    )
    concurrency: int = Field(default=16, ge=1, le=1_000, description="requests at once")
    candidates: int = Field(default=50, ge=0, le=1_000, description="passages that it reorders, where the question does not say")


Reranker = Annotated[NoReranker | OnnxReranker | HttpReranker, Field(discriminator="kind")]
