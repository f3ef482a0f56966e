"""Where a command's words go: results on stdout, everything else on stderr; with --json exactly JSON on stdout."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDE = 10_000  # columns of an output that is no terminal: nothing is wrapped there
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: object) -> str:
    """`text` without what could steer a terminal: control characters other than newline and tab, surrogates, direction overrides."""
    return "".join(
        c for c in str(text) if c in "\n\t" or not (c in _BIDI or unicodedata.category(c) in ("Cc", "Cs") or c in "\u2028\u2029")
    )


def one_line(text: object) -> str:
    """`clean` text on one line."""
    return " ".join(clean(text).split())


class Output:
    """What one command prints. Text given to it may come from documents: it is never read as markup."""

    def __init__(self, *, json_mode: bool = False, quiet: bool = False) -> None:
        self.json_mode = json_mode
        self.quiet = quiet

    @cached_property
    def out(self) -> Console:
        """Stdout."""
        return _console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        """Stderr."""
        return _console(sys.stderr)

    def result(self, document: Mapping[str, Any], *shown: RenderableType) -> None:
        """The command's one result: `document` with --json, else `shown`."""
        if self.json_mode:
            self.raw(json.dumps(document, indent=2) + "\n")
        else:
            self.print(*shown)

    def print(self, *parts: RenderableType) -> None:
        """To stdout; without the blanks that fill up tables where there is no terminal."""
        for part in parts:
            if self.out.is_terminal:
                self.out.print(part)
                continue
            with self.out.capture() as captured:
                self.out.print(part)
            self.raw("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))

    def line(self, document: Mapping[str, Any]) -> None:
        """One of several results as they come (JSON Lines)."""
        self.raw(json.dumps(document) + "\n")

    def raw(self, text: str) -> None:
        """Text to stdout at once, as it is."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """How it goes; not with --quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """What must be seen."""
        self.err.print(clean(text), soft_wrap=not self.err.is_terminal)

    def problem(self, document: Mapping[str, Any]) -> None:
        """An error: one sentence on stderr, or the problem document on stdout with --json; documents that failed are listed."""
        if self.json_mode:
            self.raw(json.dumps(document, indent=2) + "\n")
            return
        self.warn(f"ragstone: {document.get('detail') or document.get('title') or 'it failed'}")
        for failure in document.get("failures") or ():
            self.warn(f"  {one_line(failure.get('message') or failure.get('path'))}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> RenderableType:
    """A plain table; cells are untrusted text, long ones are folded. Columns in `right` are aligned there."""
    from rich.table import Table  # rich is slow to import, and `ragstone --help` needs none of it
    from rich.text import Text

    grid = Table(show_header=any(columns), box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right)
    for row in rows:
        grid.add_row(*(Text("" if cell is None else one_line(cell)) for cell in row))
    return grid


def text(content: object = "", style: str = "") -> RenderableType:
    """Untrusted text, cleaned, as something to print."""
    from rich.text import Text

    return Text(clean(content), style)


def _console(file: TextIO) -> Console:
    from rich.console import Console

    console = Console(file=file, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=file, markup=False, highlight=False, emoji=False, width=_WIDE, color_system=None)
    return console
