"""Lists as lines of text, the same from every format: "- item", "1. item", nested ones two blanks deeper."""

from __future__ import annotations

from ragstone.adapters.parsing.extraction import TextBuilder

_DEEPEST_INDENT = 8  # levels; so that text nested thousands deep does not grow without end


class ListText:
    """Collects the lines of a list and adds it to `builder` as one block when the outermost list closes."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._numbers: list[int | None] = []  # next number of each open list, None for bullets
        self._marker = ""  # of an item whose first line is still to come
        self._lines: list[str] = []

    @property
    def inside(self) -> bool:
        """Whether a list is open."""
        return bool(self._numbers)

    def open(self, number: int | None = None) -> None:
        """Begins a list, numbered from `number` if given."""
        self._numbers.append(number)

    def item(self) -> None:
        """Begins an item of the innermost list."""
        if not self._numbers:
            return
        number = self._numbers[-1]
        self._marker = "- " if number is None else f"{number}. "
        if number is not None:
            self._numbers[-1] = number + 1

    def add(self, text: str) -> None:
        """Adds the lines of `text` to the open item."""
        indent = "  " * min(len(self._numbers) - 1, _DEEPEST_INDENT)
        for line in filter(None, (line.strip() for line in text.split("\n"))):
            self._lines.append(indent + (self._marker or "  ") + line)
            self._marker = ""

    def close(self) -> None:
        """Ends the innermost list."""
        if self._numbers:
            self._numbers.pop()
        if not self._numbers:
            self.flush()

    def flush(self) -> None:
        """Adds what was collected as a block; the list goes on after it."""
        if self._lines:
            self._builder.add("list", "\n".join(self._lines))
            self._lines = []
