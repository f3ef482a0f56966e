"""Which embedding model a platform works with: in this process, or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from ragstone.settings.stores import Section

CPU = "CPUExecutionProvider"
PROVIDER = r"^[A-Za-z0-9]+ExecutionProvider$"
_SHA256 = r"^[0-9a-f]{64}$"


class OnnxEmbedder(Section):
    """ONNX Runtime in this process; see `model` and `threads`."""

    kind: Literal["onnx"] = "onnx"
    provider: str = Field(default=CPU, pattern=PROVIDER, description="ONNX Runtime's execution provider, such as CUDAExecutionProvider")


class RemoteEmbedder(Section):
    """What every server needs. The key comes from the environment or from a file."""

    base_url: str = Field(description="up to the API's version, for example http://127.0.0.1:8080/v1")
    model: str = Field(min_length=1, max_length=500, description="its name at the server")
    tokenizer: str = Field(min_length=1, description="the model's: a preset (ragstone models list), or a directory with its tokenizer.json")
    api_key: SecretStr | None = Field(default=None, description="sent as the bearer; unset: a server that asks for none")
    api_key_file: Path | None = None
    digest: str | None = Field(default=None, pattern=_SHA256, description="SHA-256 of the model's weights, in hexadecimal")
    timeout: float = Field(default=30.0, gt=0, le=600, description="seconds for one request")
    concurrency: int = Field(default=16, ge=1, le=1_000, description="requests at once")
    in_flight: int = Field(default=4, ge=1, le=64, description="requests at once for the texts of one batch of work")
    batch_texts: int = Field(default=32, ge=2, le=2_048, description="texts of one request; servers have limits of their own")
    batch_tokens: int = Field(default=8_192, ge=64, le=1_000_000, description="tokens of one request")
    encoding: Literal["base64", "float"] = Field(default="base64", description="in which vectors are asked for; base64 is a third as long")


class RagstoneEmbedder(RemoteEmbedder):
    """A ragstone server, which says itself which model it serves; with `digest`, no other is taken."""

    kind: Literal["ragstone"]


class OpenAIEmbedder(RemoteEmbedder):
    """Any server of OpenAI's `/v1/embeddings`. It says nothing of its model: whoever starts it says it here."""

    kind: Literal["openai"]
    revision: str = Field(
        min_length=1, max_length=200, description="of the model: a commit, tag or date; another one is another embedding space"
    )
    probe: str | None = Field(
        default=None, pattern=_SHA256, description="the model's fingerprint (ragstone models probe); unset: as this machine saw it first"
    )
    window: int | None = Field(default=None, ge=8, description="tokens that it reads; unset: as the files beside its tokenizer say")
    pooling: Literal["mean", "cls", "last"] = Field(default="mean", description="how the server pools: part of the embedding space")
    query_prefix: str | None = Field(default=None, max_length=1_000, description="before questions; unset: as the files say")
    passage_prefix: str | None = Field(default=None, max_length=1_000, description="before passages; unset: as the files say")


Embedder = Annotated[OnnxEmbedder | RagstoneEmbedder | OpenAIEmbedder, Field(discriminator="kind")]
