"""Takes out of Markdown source what is neither CommonMark nor text: front matter, admonition marks, includes, template directives.

These are the additions of MkDocs, Docusaurus, Python-Markdown and Jinja that are common in documentation. What they enclose stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from ragstone.adapters.parsing.extraction import one_line

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MAX_FRONT_MATTER = 65_536  # characters
_FENCE = re.compile(r"[ \t]*(?:>[ \t]*)*(`{3,}|~{3,})")
_INDENTED_MARK = re.compile(r"([ \t]*)(?:!!!|\?\?\?\+?|===[!+]?)[ \t]+(.*)")
_SLASHES = re.compile(r"[ \t]*(/{3,}|:{3,})[ \t]*([A-Za-z][\w-]*)?[ \t]*(.*)")
_MKDOCSTRINGS = re.compile(r":::[ \t]*([\w.]+\.[\w.]+)[ \t]*")
_INCLUDE = re.compile(r"[ \t]*(?:\{!.*!\}|--8<--.*|\{%-?[^\n]*-?%\}|\{\{[^\n]*\}\})[ \t]*")
_QUOTED = re.compile(r'"([^"\n]*)"')
_KINDS_WITHOUT_NAME = frozenset({"tab", "details", "html", "class"})


def split_front_matter(text: str) -> tuple[str | None, str]:
    """The front matter's title, and the text without front matter."""
    match = _FRONT_MATTER.match(text, 0, _MAX_FRONT_MATTER)
    if not match:
        return None, text
    try:
        front = yaml.safe_load(match[1] or "")
    except (yaml.YAMLError, ValueError):
        return None, text
    if front is not None and not isinstance(front, dict):
        return None, text  # a thematic break, a paragraph and another break
    title = (front or {}).get("title")
    return (one_line(title) or None) if isinstance(title, str) else None, text[match.end() :]


def plain_commonmark(text: str) -> str:
    """The source as CommonMark, to be read by a parser that knows nothing else."""
    return "\n".join(_lines(text.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    fence = ""
    indents: list[int] = []  # columns at which the bodies of open admonitions begin
    skipping = False  # the options below a mkdocstrings directive
    for index, raw in enumerate(lines):
        line = raw.expandtabs(4) if raw.startswith(("\t", " ")) else raw
        indent = len(line) - len(line.lstrip())
        blank = not line.strip()
        while indents and not blank and indent < indents[-1]:
            indents.pop()
        line = line[indents[-1] :] if indents else line
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1].startswith(fence) and not line[opened.end() :].strip():
                fence = ""
            if not _INCLUDE.fullmatch(line) or line.lstrip().startswith("{{"):
                yield line
            continue
        skipping = skipping and (blank or line.startswith("    "))
        if skipping:
            continue
        if opened:
            fence = opened[1]
            yield line
        elif mark := _INDENTED_MARK.fullmatch(line):
            yield from _titled(_mark_title(mark[2]))
            indents.append((indents[-1] if indents else 0) + len(mark[1]) + 4)
        elif directive := _MKDOCSTRINGS.fullmatch(line):
            skipping = True
            yield from _titled(directive[1])
        elif slashes := _SLASHES.fullmatch(line):
            yield from _titled(_block_title(slashes, lines, index))
        elif not _INCLUDE.fullmatch(line):
            yield line


def _titled(title: str) -> Iterator[str]:
    yield ""
    if title:
        yield title
        yield ""


def _mark_title(rest: str) -> str:
    quoted = _QUOTED.search(rest)
    return quoted[1].strip() if quoted else ""


def _block_title(match: re.Match[str], lines: list[str], index: int) -> str:
    """The title after "|". That of a block which holds an include alone is dropped with it."""
    title = match[3].partition("|")[2].strip().strip('"')
    if not title:
        return ""
    marks = match[1]
    for line in lines[index + 1 : index + 20]:
        stripped = line.strip()
        if stripped == marks:
            return ""
        if stripped and not stripped.startswith(("```", "~~~")) and not _INCLUDE.fullmatch(line):
            return title
    return title
