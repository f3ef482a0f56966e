"""A whole chat completion, made of the events of a streamed one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import to_json

from ragstone.domain.errors import Unavailable


async def collected(pieces: AsyncIterator[bytes]) -> bytes:
    """As OpenAI's API answers without `stream`. Raises `Unavailable` when the stream is none, tells an error, or breaks off."""
    text, finish, usage = "", None, None
    about: dict[str, Any] = {}
    for line in b"".join([piece async for piece in pieces]).split(b"\n"):
        if not line.startswith(b"data:") or line.strip().endswith(b"[DONE]"):
            continue
        try:
            event = json.loads(line[5:])
            about = about or {name: event[name] for name in ("id", "created", "model") if name in event}
            usage = event.get("usage") or usage
            for choice in event.get("choices") or ():
                text += choice["delta"].get("content") or ""
                finish = choice.get("finish_reason") or finish
            failed = "error" in event
        except (ValueError, KeyError, TypeError, AttributeError):
            failed = True
        if failed:
            raise Unavailable("The engine broke off with an error.", field="engine", retry_after=1.0)
    if finish is None:
        raise Unavailable("The engine's answer broke off.", field="engine", retry_after=1.0)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return to_json({**about, "object": "chat.completion", "choices": [choice], **({"usage": usage} if usage else {})})
