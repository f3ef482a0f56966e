"""OpenAI's bodies, as far as they mean something here. Unknown request fields are accepted and ignored, as clients send many."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

MODEL = Field(
    description="`ragstone/<collection>`, or `ragstone/<collection>@<commit, tag or #position>`",
    examples=["ragstone/handbook"],
    max_length=2000,
)


class OpenAIBody(BaseModel):
    """Lenient about what it does not know, strict about what it does."""

    model_config = ConfigDict(extra="ignore", strict=True)


class ContentPart(OpenAIBody):
    """Text of a message; other kinds are refused."""

    type: Literal["text"]
    text: str


class ChatMessage(OpenAIBody):
    """A message. The last one of the user is the question."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None


class StreamOptions(OpenAIBody):
    """Options of a stream."""

    include_usage: bool | None = None


class ChatBody(OpenAIBody):
    """A chat completion: the last user message is the question."""

    model: str = MODEL
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000, examples=[[{"role": "user", "content": "How do I start?"}]])
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=100_000)
    n: Literal[1] | None = None


class EmbeddingsBody(OpenAIBody):
    """Texts to embed with the server's model. Token ids are not taken."""

    model: str = Field(description="the embedding model's name (GET /v1/models), or a ragstone/ model", max_length=2000)
    input: str | list[str] = Field(examples=["How do I start?"])
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, description="only the model's own")
    input_type: Literal["passage", "query"] | None = Field(
        default=None,
        description="not OpenAI's: what the texts are, passages (the default) or questions; the model's prefix for it goes before each",
    )
    space: str | None = Field(
        default=None,
        max_length=64,
        description="not OpenAI's: the embedding space that the vectors are for (`ragstone.space` of the model); refused with 409 where it is another",
    )

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(each, int | list) for each in value):
            raise PydanticCustomError("token_ids", "token ids are not taken; send the texts themselves")
        return value


class OpenAIErrorBody(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None
    request_id: str


class OpenAIError(BaseModel):
    """OpenAI's error shape."""

    error: OpenAIErrorBody


class ModelDescription(BaseModel):
    """An embedding model as embedding spaces know it; vectors of models that differ in one of these are never compared."""

    name: str
    revision: str
    digest: str = Field(description="SHA-256 of its weights, in hexadecimal")
    dimension: int
    pooling: Literal["mean", "cls", "last"]
    window: int = Field(description="tokens that it reads of a text, its prefix and special tokens included")
    query_prefix: str
    passage_prefix: str
    space: str | None = Field(
        default=None, description="a hash of all the above: the model's part of an embedding space; of /v1/models only"
    )


class OpenAIModel(BaseModel):
    """A collection that can be asked, or the embedding model, which is described under `ragstone`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    ragstone: ModelDescription | None = Field(default=None, description="not OpenAI's; of the embedding model only")


class OpenAIModels(BaseModel):
    """Every model."""

    object: Literal["list"]
    data: list[OpenAIModel]


class ChatCompletion(BaseModel):
    """A chat completion; `ragstone` holds citations, commit and interaction id."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, int]
    ragstone: dict[str, Any]


class EmbeddingsExtras(BaseModel):
    """What OpenAI's form has no place for."""

    model: ModelDescription
    input_type: Literal["passage", "query"]
    truncated: list[int] = Field(
        description="indices of the texts that are longer than the window: only their beginning is in their vector"
    )


class Embeddings(BaseModel):
    """Vectors, L2-normalised, in order of the input."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    model: str
    usage: dict[str, int] = Field(description="tokens of the texts, uncut, without prefixes and special tokens")
    ragstone: EmbeddingsExtras
