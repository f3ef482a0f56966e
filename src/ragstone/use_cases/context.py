"""Which passages a generator gets to read, within its token budget, and in what arrangement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ragstone.domain.retrieval import Passage

CountTokens = Callable[[str], int]
ELEMENT_TOKENS = 40  # what the prompt puts around a passage at most: its element and its document's, in the estimate of `openai_generator`


@dataclass(frozen=True, slots=True)
class ContextPart:
    """A passage's text as it is shown. `number` is its marker: its place (from 1) among the passages of the answer."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class ContextBlock:
    """Neighbouring passages of one document under one heading, in document order."""

    path: str
    heading: str
    parts: tuple[ContextPart, ...]


def fit(passages: Sequence[Passage], budget: int, count_tokens: CountTokens) -> tuple[Passage, ...]:
    """The best passages whose texts fit `budget` tokens: the longest run from the start, so that `[n]` always is the nth passage found.

    If not even the first fits, it is cut at a word (its span with it) rather than dropped. Empty only for no passages or no budget.
    """
    kept: list[Passage] = []
    left = budget
    for passage in passages:
        cost = count_tokens(_shown(passage)) + ELEMENT_TOKENS
        if cost > left:
            break
        kept.append(passage)
        left -= cost
    if not kept and passages and budget > ELEMENT_TOKENS:
        kept = _cut(passages[0], budget - ELEMENT_TOKENS, count_tokens)
    return tuple(kept)


def arrange(passages: Sequence[Passage]) -> tuple[ContextBlock, ...]:
    """Passages by document, the document of the best one first, each document's in the order of its text.

    Neighbours (nothing but white space between them, same heading) share a block. Each keeps its own number: a citation stays exact.
    """
    order: dict[str, list[tuple[int, Passage]]] = {}
    for number, passage in enumerate(passages, 1):
        order.setdefault(passage.chunk.path, []).append((number, passage))
    blocks: list[ContextBlock] = []
    for path, members in order.items():
        members.sort(key=lambda member: (member[1].chunk.start, member[0]))
        for run in _runs(members):
            heading = " > ".join(run[0][1].chunk.heading_path)
            blocks.append(ContextBlock(path, heading, tuple(ContextPart(number, passage.chunk.text) for number, passage in run)))
    return tuple(blocks)


def _runs(members: Iterable[tuple[int, Passage]]) -> list[list[tuple[int, Passage]]]:
    runs: list[list[tuple[int, Passage]]] = []
    for number, passage in members:
        before = runs[-1][-1][1].chunk if runs else None
        here = passage.chunk
        # Chunks are trimmed, so up to a blank line and a list's indent lie between neighbours.
        if before and before.heading_path == here.heading_path and here.start - before.end <= 8:
            runs[-1].append((number, passage))
        else:
            runs.append([(number, passage)])
    return runs


def _cut(passage: Passage, budget: int, count_tokens: CountTokens) -> list[Passage]:
    """The passage with as many of its first words as fit, by bisection; nothing if not one does."""
    chunk = passage.chunk
    ends = [at for at in range(1, len(chunk.text)) if chunk.text[at].isspace() and not chunk.text[at - 1].isspace()]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(_shown(_shortened(passage, ends[middle - 1]))) <= budget:
            low = middle
        else:
            high = middle - 1
    return [_shortened(passage, ends[low - 1])] if low else []


def _shortened(passage: Passage, length: int) -> Passage:
    chunk = passage.chunk
    return replace(passage, chunk=replace(chunk, text=chunk.text[:length], end=chunk.start + length))


def _shown(passage: Passage) -> str:
    return "\n".join((passage.chunk.path, " > ".join(passage.chunk.heading_path), passage.chunk.text))
