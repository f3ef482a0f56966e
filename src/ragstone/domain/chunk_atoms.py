"""The pieces that chunks are packed from: sentences of prose, lines of code and tables, runs of words where these are too long."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ragstone.domain.documents import Block
from ragstone.domain.sentences import split_sentences

CountTokens = Callable[[Sequence[str]], list[int]]

# Text that a tokeniser has no words for (base64, runs of blanks) may be one token however long it is. A token counts for at least this
# many characters, about four times the average of English, so that a chunk's length is bounded in characters too.
CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Atom:
    """`text[start:end]` with the white space after it; `cost` in tokens; `block` counts the section's blocks from 0."""

    start: int
    end: int
    cost: int
    block: int


def costs(texts: Sequence[str], count_tokens: CountTokens) -> list[int]:
    """What each text takes of a budget: its tokens, or its characters / `CHARACTERS_PER_TOKEN` where that is more."""
    if not texts:
        return []
    return [max(tokens, -(-len(text) // CHARACTERS_PER_TOKEN)) for text, tokens in zip(texts, count_tokens(texts), strict=True)]


def cut(text: str, start: int, end: int, pieces: int) -> list[tuple[int, int]]:
    """Cuts `text[start:end]` into about `pieces` spans of like length: after white space where there is some, else anywhere."""
    size = -(-(end - start) // pieces)
    borders = [start]
    while borders[-1] < end:
        target = borders[-1] + max(1, size)
        if target < end:
            low = borders[-1] + size // 2
            target = next((at + 1 for at in range(target - 1, low, -1) if text[at].isspace()), target)
        borders.append(min(target, end))
    return list(itertools.pairwise(borders))


def section_atoms(text: str, sections: Sequence[Sequence[Block]], budgets: Sequence[int], count_tokens: CountTokens) -> list[list[Atom]]:
    """The atoms of each section's blocks, in order; none costs more than the section's budget (except a single character).

    A code block or table that fits the budget is one atom.
    """
    spans = [list(_spans(text, blocks)) for blocks in sections]
    counted = iter(costs([text[start:end] for section in spans for start, end, _ in section], count_tokens))
    atoms = [[Atom(start, end, next(counted), block) for start, end, block in section] for section in spans]
    merged = [_merge_whole(of, blocks, budget) for of, blocks, budget in zip(atoms, sections, budgets, strict=True)]
    return _cut_long(text, merged, budgets, count_tokens)


def _spans(text: str, blocks: Sequence[Block]) -> Iterator[tuple[int, int, int]]:
    """(start, end, block), each end the next start within a run of blocks, so that what stands between is counted too."""
    starts: list[tuple[int, int]] = []
    for index, block in enumerate(blocks):
        inner = text[block.start : block.end]
        pieces = _lines(inner) if block.kind in ("code", "table") else [start for start, _ in split_sentences(inner)]
        starts += [(block.start + piece, index) for piece in pieces]
    for (start, index), (following, next_index) in itertools.pairwise(starts):
        between = following if next_index == index or not text[blocks[index].end : following].strip() else blocks[index].end
        yield start, between, index
    if starts:
        start, index = starts[-1]
        yield start, blocks[index].end, index


def _lines(text: str) -> list[int]:
    """Where each line that is not blank begins."""
    starts: list[int] = []
    position = 0
    for line in text.split("\n"):
        if line.strip():
            starts.append(position)
        position += len(line) + 1
    return starts


def _merge_whole(atoms: Sequence[Atom], blocks: Sequence[Block], budget: int) -> list[Atom]:
    merged: list[Atom] = []
    for index, group in itertools.groupby(atoms, key=lambda atom: atom.block):
        members = list(group)
        cost = sum(atom.cost for atom in members)
        if blocks[index].kind in ("code", "table") and cost <= budget:
            members = [Atom(members[0].start, members[-1].end, cost, index)]
        merged += members
    return merged


def _cut_long(text: str, sections: list[list[Atom]], budgets: Sequence[int], count_tokens: CountTokens) -> list[list[Atom]]:
    """Cuts atoms beyond the budget again and again; each round is one call of `count_tokens`."""
    while True:
        long = [
            (atom, cut(text, atom.start, atom.end, -(-atom.cost // budget) + 1))
            for atoms, budget in zip(sections, budgets, strict=True)
            for atom in atoms
            if atom.cost > budget and atom.end - atom.start > 1
        ]
        if not long:
            return sections
        counted = iter(costs([text[start:end] for _, spans in long for start, end in spans], count_tokens))
        pieces = {atom.start: [Atom(start, end, next(counted), atom.block) for start, end in spans] for atom, spans in long}
        sections = [
            [piece for atom in atoms for piece in (pieces[atom.start] if atom.cost > budget and atom.start in pieces else [atom])]
            for atoms, budget in zip(sections, budgets, strict=True)
        ]
