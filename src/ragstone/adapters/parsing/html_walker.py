"""Goes over an HTML tree in document order, without recursion, and puts its text into blocks."""

from __future__ import annotations

import re
from typing import cast

from lxml import etree

from ragstone.adapters.parsing.extraction import TextBuilder, one_line
from ragstone.adapters.parsing.list_text import ListText

Element = etree._Element  # lxml has no public name for it

_DROPPED_NAMES = "script style template noscript svg iframe object canvas audio video button select textarea input nav head map dialog math"
_DROPPED = frozenset(_DROPPED_NAMES.split())
_FRAME = frozenset({"header", "footer", "aside"})  # dropped around the main part, not inside it
_DROPPED_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "toolbar", "dialog"})
_DROPPED_CLASSES = frozenset({"headerlink", "linenos", "linenodiv", "lineno", "breadcrumbs", "toc", "toctree-wrapper", "sr-only"})
_PERMALINKS = frozenset({"¶", "§", "#", "🔗", "\u200b", "\uf0c1"})
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset({"ul", "ol", "menu", "dir"})
_BREAK_NAMES = (
    "p div section article main body html header footer aside blockquote figure figcaption hr address details summary fieldset legend form "
    "center caption dl dt dd table thead tbody tfoot tr td th"
)
_BREAKS = frozenset(_BREAK_NAMES.split())
_LINE_BREAK = "\x0b"  # stands for <br>; the input has none left
_LEAST_MAIN = 0.25  # share of the page's characters below which what calls itself the main part is not believed


def main_part(tree: Element) -> Element:
    """`<main>`, or the only `<article>`, unless nearly all text is elsewhere; else the whole."""
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = tree.findall(path)
        if len(found) == 1 and _length(found[0]) >= _LEAST_MAIN * _length(tree):
            return found[0]
    return tree


def _length(element: Element) -> int:
    return sum(
        len(text.strip())
        for part in element.iter()
        if isinstance(part.tag, str) and part.tag not in _DROPPED
        for text in (part.text or "", part.tail or "")
    )


class Walker:
    """Adds the blocks of one tree to `builder`."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._inline: list[str] = []
        self._heading = 0  # level of the open heading
        self._code = 0  # open <pre>
        self._list = ListText(builder)
        self._tables: list[bool] = []  # open tables: whether they hold data, or lay out the page
        self._cells: list[str] = []
        self._rows: list[str] = []

    def walk(self, root: Element) -> None:
        """Adds everything below `root`."""
        inside_main = root.tag in ("main", "article") or root.get("role") == "main"
        layout = _layout_tables(root)
        events = etree.iterwalk(root, events=("start", "end"))
        dropped: Element | None = None
        for event, element in events:
            tag = cast("str", element.tag)
            if event == "start":
                if element is not root and _is_dropped(element, tag, inside_main=inside_main):
                    dropped = element
                    events.skip_subtree()
                else:
                    self._open(element, tag, data=element not in layout)
                    self._inline.append(element.text or "")
            elif element is not root:
                if element is not dropped:
                    self._close(tag)
                self._inline.append(element.tail or "")
        self._flush()
        self._list.flush()

    def _open(self, element: Element, tag: str, *, data: bool) -> None:
        if tag == "br":
            self._inline.append("\n" if self._code else _LINE_BREAK)
        elif tag == "pre":
            self._flush()
            self._code += 1
        elif tag in _HEADINGS:
            self._flush()
            self._list.flush()
            self._heading = _HEADINGS[tag]
        elif tag in _LISTS:
            self._flush()
            self._list.open(_number(element.get("start")) if tag == "ol" else None)
        elif tag == "li":
            self._flush()
            self._list.item()
        elif tag == "table":
            self._flush()
            self._tables.append(data)
        elif tag in _BREAKS:
            self._flush()

    def _close(self, tag: str) -> None:
        if tag == "pre":
            self._end_code()
        elif tag in _HEADINGS:
            self._flush(ending=True)
            self._heading = 0
        elif tag in _LISTS:
            self._flush()
            self._list.close()
        elif tag == "table":
            self._end_row()
            if self._tables.pop() and self._rows:
                self._list.flush()
                self._builder.add("table", "\n".join(self._rows))
                self._rows = []
        elif tag in ("td", "th") and self._in_data:
            self._cells.append(one_line("".join(self._inline).replace(_LINE_BREAK, " ")))
            self._inline = []
        elif tag in ("tr", "caption") and self._in_data:
            self._end_row()
        elif tag in _BREAKS or tag == "li":
            self._flush()

    @property
    def _in_data(self) -> bool:
        return bool(self._tables) and self._tables[-1]

    def _flush(self, *, ending: bool = False) -> None:
        """Ends a paragraph, unless what is open (code, a table's cell, a heading that does not end yet) takes it whole."""
        if self._code or self._in_data or (self._heading and not ending):
            self._inline.append("\n" if self._code and not "".join(self._inline[-1:]).endswith("\n") else " " if not self._code else "")
            return
        lines = filter(None, map(one_line, "".join(self._inline).split(_LINE_BREAK)))
        text = "\n".join(lines)
        self._inline = []
        if self._heading:
            self._builder.add("heading", text, level=self._heading)
        elif self._list.inside:
            self._list.add(text)
        else:
            self._builder.add("paragraph", text)

    def _end_code(self) -> None:
        self._code -= 1
        if self._code == 0:
            self._list.flush()
            self._builder.add("code", "".join(self._inline))
            self._inline = []

    def _end_row(self) -> None:
        """Ends a row of a data table; text outside cells (a caption) makes a row of its own."""
        if not self._in_data:
            self._flush()
            return
        stray = one_line("".join(self._inline))
        row = " | ".join(self._cells) if any(self._cells) else ""
        self._rows += [line for line in (stray, row) if line]
        self._inline, self._cells = [], []


def _layout_tables(root: Element) -> frozenset[Element]:
    """Tables that hold other tables, code or headings: they place things on the page and are no data."""
    layout: set[Element] = set()
    tables: list[Element] = []
    for event, element in etree.iterwalk(root, events=("start", "end"), tag=("table", "pre", *_HEADINGS)):
        if event == "start":
            layout.update(tables[-1:])
        if element.tag == "table":
            if event == "start":
                tables.append(element)
            else:
                tables.pop()
    return frozenset(layout)


def _is_dropped(element: Element, tag: str, *, inside_main: bool) -> bool:
    if tag in _DROPPED or element.get("hidden") is not None or element.get("role") in _DROPPED_ROLES:
        return True
    if tag in _FRAME and not inside_main:
        return element.find(".//h1") is None
    classes = element.get("class")
    if classes and not _DROPPED_CLASSES.isdisjoint(classes.split()):
        return True
    if tag == "a" and len(element) == 0 and (element.text or "").strip() in _PERMALINKS:
        return True
    style = element.get("style")
    return style is not None and _HIDDEN_STYLE.search(style) is not None


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else 1
