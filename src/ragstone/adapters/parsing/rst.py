"""reStructuredText to text, by docutils with every way to read another file closed."""

from __future__ import annotations

import io

from docutils import nodes
from docutils.core import publish_doctree

from ragstone.adapters.parsing.extraction import ParseFailure, Source, TextBuilder, decode_utf8, one_line
from ragstone.adapters.parsing.list_text import ListText
from ragstone.adapters.parsing.rst_sphinx import forget_roles, prepare
from ragstone.domain.documents import ExtractedText

prepare()

_LONGEST_LINE = 1_000_000
_SETTINGS = {
    "_disable_config": True,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 6,
    "warning_stream": io.StringIO(),
    "input_encoding": "unicode",
    "doctitle_xform": False,
    "sectsubtitle_xform": False,
    "smart_quotes": False,
    "syntax_highlight": "none",
    "trim_footnote_reference_space": False,
    "line_length_limit": _LONGEST_LINE,
    "tab_width": 4,
}
_DROPPED = (
    nodes.system_message,
    nodes.comment,
    nodes.substitution_definition,
    nodes.target,
    nodes.raw,
    nodes.pending,
    nodes.image,
    nodes.docinfo,
    nodes.decoration,
    nodes.citation_reference,
    nodes.footnote_reference,
    nodes.label,
)


def parse_rst(source: Source) -> ExtractedText:
    """Raises `ParseFailure`. The title is the first heading of the outermost level."""
    text = decode_utf8(source.content)
    if max(map(len, text.split("\n"))) >= _LONGEST_LINE:
        raise ParseFailure(f"has a line of more than {_LONGEST_LINE:,} characters; break it.")
    forget_roles()
    document = publish_doctree(text, settings_overrides=_SETTINGS)
    visitor = _Visitor(document, TextBuilder(source))
    document.walkabout(visitor)
    return visitor.builder.build()


class _Visitor(nodes.GenericNodeVisitor):
    """Adds a block for every node that holds running text; what holds other blocks is gone through."""

    def __init__(self, document: nodes.document, builder: TextBuilder) -> None:
        super().__init__(document)
        self.builder = builder
        self._level = 0
        self._list = ListText(builder)

    def default_visit(self, node: nodes.Node) -> None:
        match node:
            case nodes.section():
                self._level += 1
            case nodes.bullet_list() | nodes.definition_list() | nodes.field_list() | nodes.option_list():
                self._list.open()
            case nodes.enumerated_list():
                self._list.open(int(node.get("start", 1)))
            case nodes.list_item() | nodes.term() | nodes.field() | nodes.option_list_item():
                self._list.item()
                self._add_text_of(node)
            case nodes.line_block():
                self._add("\n".join(_text(line) for line in node.findall(nodes.line)))
                raise nodes.SkipNode
            case nodes.table():
                self._add_table(node)
                raise nodes.SkipNode
            case nodes.literal_block() | nodes.doctest_block() | nodes.math_block():
                self._list.flush()
                self.builder.add("code", node.astext())
                raise nodes.SkipNode
            case _ if isinstance(node, _DROPPED):
                raise nodes.SkipNode
            case _:
                self._add_text_of(node)

    def default_departure(self, node: nodes.Node) -> None:
        match node:
            case nodes.section():
                self._level -= 1
            case nodes.bullet_list() | nodes.definition_list() | nodes.field_list() | nodes.option_list() | nodes.enumerated_list():
                self._list.close()

    def _add_text_of(self, node: nodes.Node) -> None:
        """Adds the text of an element of running text and goes past it; does nothing for any other."""
        if not isinstance(node, nodes.TextElement):
            return
        text = _text(node)
        if isinstance(node, nodes.title) and isinstance(node.parent, nodes.section):
            self._list.flush()
            self.builder.add("heading", text, level=self._level)
        else:
            self._add(text)
        raise nodes.SkipNode

    def _add(self, text: str) -> None:
        if self._list.inside:
            self._list.add(text)
        else:
            self.builder.add("paragraph", text)

    def _add_table(self, table: nodes.table) -> None:
        self._list.flush()
        for title in table.findall(nodes.title):
            self.builder.add("paragraph", _text(title))
        rows = [" | ".join(one_line(entry.astext()) for entry in row.findall(nodes.entry)) for row in table.findall(nodes.row)]
        self.builder.add("table", "\n".join(rows))


def _text(node: nodes.Element) -> str:
    """The node's text on one line. What could not be resolved is shown without its marks."""
    parts: list[str] = []
    for child in node.findall():
        if isinstance(child, nodes.problematic):
            parts.append(child.astext().strip("`*|_"))
        elif isinstance(child, nodes.Text) and not isinstance(child.parent, (nodes.problematic, *_DROPPED)):
            parts.append(child.astext())
    return one_line("".join(parts))
