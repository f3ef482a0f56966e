"""Cuts extracted text into chunks that follow headings and sentences within a token budget.

A section is the text under one heading. Chunks never cross a section's border and depend on nothing outside their section but the headings
above it, so an edit in one section leaves the other sections' chunks as they were. Within a section, blocks are packed in order; a block
that does not fit whole is packed sentence by sentence (code and tables: line by line); what is still too long is cut at words.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ragstone.domain.chunk_atoms import Atom, CountTokens, costs, cut, section_atoms
from ragstone.domain.documents import Block, Chunk, ExtractedText, content_hash, embedded_text
from ragstone.domain.spaces import ChunkerSettings

# How heading paths are kept short: (headings, characters each), tried in order until a path takes at most half of the budget.
_PATH_LIMITS = ((6, 200), (6, 80), (4, 50), (2, 40), (1, 40), (1, 10), (0, 0))


@dataclass(frozen=True, slots=True)
class _Section:
    path: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class _Span:
    path: tuple[str, ...]
    start: int
    end: int


def chunk_document(extracted: ExtractedText, title: str | None, count_tokens: CountTokens, settings: ChunkerSettings) -> tuple[Chunk, ...]:
    """The chunks of a document, in order, not overlapping; each is `extracted.text[start:end]` without white space at its ends.

    Every character outside headings that is not white space lies in exactly one chunk. `embedded_text` of each has at most
    `settings.max_tokens` tokens by `count_tokens`, which is called a few times with many texts. `title` goes before the headings unless
    it is the first of them. A document of nothing but headings gives chunks of these; blank text gives none.
    """
    text = extracted.text
    sections = list(_sections(text, extracted.blocks, title)) or _headings_only(extracted, title)
    paths = _fit_paths([section.path for section in sections], count_tokens, settings.max_tokens // 2)
    budgets = [settings.max_tokens - cost for _, cost in paths]
    atoms = section_atoms(text, [section.blocks for section in sections], budgets, count_tokens)
    spans = [
        _Span(path, *_trimmed(text, packed[0].start, packed[-1].end))
        for (path, _), of_section, budget in zip(paths, atoms, budgets, strict=True)
        for packed in _pack(of_section, budget, settings.min_tokens)
    ]
    return _chunks(extracted, _enforce(text, spans, count_tokens, settings.max_tokens))


def _sections(text: str, blocks: Iterable[Block], title: str | None) -> Iterator[_Section]:
    """Runs of blocks between headings, without those that hold nothing."""
    stack: list[tuple[int, str]] = []
    body: list[Block] = []
    for block in _without_gaps(text, blocks):
        if block.kind != "heading":
            body.append(block)
            continue
        if body:
            yield _Section(_path(title, stack), tuple(body))
            body = []
        while stack and stack[-1][0] >= block.level:
            stack.pop()
        stack.append((block.level, text[block.start : block.end]))
    if body:
        yield _Section(_path(title, stack), tuple(body))


def _without_gaps(text: str, blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks that hold something, with paragraphs made of text that lies between them."""
    position = 0
    for block in blocks:
        yield from _paragraph(text, position, block.start)
        if text[block.start : block.end].strip():
            yield block
        position = block.end
    yield from _paragraph(text, position, len(text))


def _paragraph(text: str, start: int, end: int) -> Iterator[Block]:
    if text[start:end].strip():
        yield Block("paragraph", start, end)


def _path(title: str | None, stack: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    headings = [" ".join(heading.split()) for _, heading in stack]
    name = " ".join((title or "").split())
    if name and (not headings or headings[0].casefold() != name.casefold()):
        headings.insert(0, name)
    return tuple(heading for heading in headings if heading)


def _headings_only(extracted: ExtractedText, title: str | None) -> list[_Section]:
    """The headings themselves as a body. The title is left out where it is one of them."""
    blocks = tuple(block for block in extracted.blocks if extracted.text[block.start : block.end].strip())
    if not blocks:
        return []
    first = " ".join(extracted.text[blocks[0].start : blocks[0].end].split())
    path = _path(title, [])
    return [_Section(() if path == (first,) else path, tuple(Block("paragraph", b.start, b.end, page=b.page) for b in blocks))]


def _fit_paths(paths: Sequence[tuple[str, ...]], count_tokens: CountTokens, budget: int) -> list[tuple[tuple[str, ...], int]]:
    """Each path, cut until its line takes at most `budget` tokens, with what it takes."""
    fitted: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}
    for headings, characters in _PATH_LIMITS:
        left = {path: _cut_path(path, headings, characters) for path in paths if path not in fitted}
        taken = costs([" > ".join(path) + "\n" if path else "" for path in left.values()], count_tokens)
        fitted |= {path: (short, cost) for (path, short), cost in zip(left.items(), taken, strict=True) if cost <= budget or not short}
    return [fitted[path] for path in paths]


def _cut_path(path: tuple[str, ...], headings: int, characters: int) -> tuple[str, ...]:
    """The outermost and the innermost headings, each cut."""
    kept = (
        path if len(path) <= headings else (*path[:1], *path[len(path) - headings + 1 :]) if headings > 1 else path[len(path) - headings :]
    )
    return tuple(heading[:characters].rstrip() for heading in kept)


def _pack(atoms: Sequence[Atom], budget: int, minimum: int) -> list[list[Atom]]:
    """Groups of atoms that fit the budget: whole blocks while they fit, the last two groups evened out."""
    groups: list[list[Atom]] = [[]]
    cost = 0
    for _, members in itertools.groupby(atoms, key=lambda atom: atom.block):
        block = list(members)
        total = sum(atom.cost for atom in block)
        if cost + total > budget and cost >= minimum:
            groups.append([])
            cost = 0
        for atom in block:
            if cost + atom.cost > budget and groups[-1]:
                groups.append([])
                cost = 0
            groups[-1].append(atom)
            cost += atom.cost
    return _even_out([group for group in groups if group], budget, minimum)


def _even_out(groups: list[list[Atom]], budget: int, minimum: int) -> list[list[Atom]]:
    """Moves the last border when it lies inside a block or leaves less than `minimum` behind it; between blocks where possible."""
    if len(groups) < 2:
        return groups
    *before, left, right = groups
    if left[-1].block != right[0].block and sum(atom.cost for atom in right) >= minimum:
        return groups
    both = left + right
    sums = [0, *itertools.accumulate(atom.cost for atom in both)]
    larger = {at: max(sums[at], sums[-1] - sums[at]) for at in range(1, len(both))}
    fitting = [at for at in larger if larger[at] <= budget] or [len(left)]
    clean = [at for at in fitting if both[at - 1].block != both[at].block and min(sums[at], sums[-1] - sums[at]) >= minimum]
    border = min(clean or fitting, key=lambda at: (larger[at], at))
    return [*before, both[:border], both[border:]]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip())
    return begin, max(begin, start + len(piece.rstrip()))


def _enforce(text: str, spans: list[_Span], count_tokens: CountTokens, maximum: int) -> list[_Span]:
    """Cuts the spans whose embedded text is too long after all: tokens of parts need not add up to those of the whole."""
    done: dict[_Span, bool] = {}
    while True:
        unknown = [span for span in spans if span not in done]
        if not unknown:
            return spans
        taken = costs([embedded_text(span.path, text[span.start : span.end]) for span in unknown], count_tokens)
        done |= {span: cost <= maximum or span.end - span.start < 2 for span, cost in zip(unknown, taken, strict=True)}
        spans = [piece for span in spans for piece in ([span] if done[span] else _halves(text, span))]


def _halves(text: str, span: _Span) -> Iterator[_Span]:
    for start, end in cut(text, span.start, span.end, 2):
        begin, finish = _trimmed(text, start, end)
        if begin < finish:
            yield _Span(span.path, begin, finish)


def _chunks(extracted: ExtractedText, spans: Iterable[_Span]) -> tuple[Chunk, ...]:
    starts = [block.start for block in extracted.blocks]
    seen: Counter[str] = Counter()
    chunks: list[Chunk] = []
    for span in spans:
        if span.start == span.end:
            continue
        piece = extracted.text[span.start : span.end]
        digest = content_hash(span.path, piece)
        at = bisect.bisect_right(starts, span.start) - 1
        page = extracted.blocks[at].page if at >= 0 else None
        chunks.append(Chunk(piece, span.path, span.start, span.end, digest, seen[digest], page))
        seen[digest] += 1
    return tuple(chunks)
