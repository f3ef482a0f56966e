"""Interactions as a stream of bytes: pages are read as they are sent, so that no export is held in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Literal, Protocol

from pydantic_core import to_json

from ragstone.domain.errors import InvalidInput
from ragstone.domain.interactions import Interaction
from ragstone.services.orchestrator.interaction_views import interaction_json

_PAGE = 200  # interactions; a row group of a Parquet file
Pages = Callable[[str | None, int], Awaitable[list[Interaction]]]
MEDIA_TYPES = {"jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


class _Writer(Protocol):
    def rows(self, interactions: Sequence[Interaction]) -> bytes: ...

    def end(self) -> bytes: ...


async def export(pages: Pages, form: Literal["jsonl", "parquet"], *, before: str | None, limit: int | None) -> AsyncGenerator[bytes, None]:
    """The file's bytes, newest interaction first; `pages(before, limit)` gives them. Raises `InvalidInput` when Parquet can't be written here, and what the log raises."""
    writer: _Writer = _JsonLines() if form == "jsonl" else _parquet()
    left = limit
    while left is None or left > 0:
        page = await pages(before, _PAGE if left is None else min(left, _PAGE))
        yield await asyncio.to_thread(writer.rows, page)
        if not page:
            break
        before = page[-1].id
        left = None if left is None else left - len(page)
    yield await asyncio.to_thread(writer.end)


class _JsonLines:
    def rows(self, interactions: Sequence[Interaction]) -> bytes:
        return b"".join(to_json(interaction_json(one), inf_nan_mode="null") + b"\n" for one in interactions)

    def end(self) -> bytes:
        return b""


def _parquet() -> _Writer:
    try:
        from ragstone.adapters.interactions_parquet import InteractionsParquet  # noqa: PLC0415 - pyarrow is an extra, and large
    except ModuleNotFoundError:
        raise InvalidInput(
            "format: Parquet needs pyarrow where the server runs; install ragstone[parquet], or take jsonl.", field="format"
        ) from None
    return InteractionsParquet()
