"""What a chat completion may ask for. Engines know far more: templates, files, addresses to fetch from. Only what is named here reaches them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Part):
    """Of a message in parts; text is all that is taken."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = Field(default=None, max_length=64)


class StreamOptions(_Part):
    """Of a streamed answer."""

    include_usage: bool = False


class JsonSchema(_Part):
    """That an answer has to fit."""

    name: str = Field(max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Part):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(_Part):
    """Fields of OpenAI's API, as they are there."""

    model: str = Field(min_length=1, max_length=2_000)
    messages: list[Message] = Field(min_length=1, max_length=1_000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: _Finite | None = Field(default=None, ge=0, le=2)
    top_p: _Finite | None = Field(default=None, gt=0, le=1)
    presence_penalty: _Finite | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: _Finite | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    stop: str | list[str] | None = Field(default=None, max_length=1_000)
    response_format: ResponseFormat | None = None
    n: Literal[1] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, max_length=1_000)

    def for_engine(self, most: int) -> bytes:
        """JSON for the engine: at most `most` tokens, and nothing that concerns the client alone.

        Always a stream: llama.cpp's server looks for a closed connection in the midst of a stream only.
        """
        form = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"user", "max_completion_tokens", "n"})
        form |= {"stream": True} if self.stream else {"stream": True, "stream_options": {"include_usage": True}}
        form["max_tokens"] = min(self.max_completion_tokens or self.max_tokens or most, most)
        return to_json(form)
