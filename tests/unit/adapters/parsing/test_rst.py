"""reStructuredText to text."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.adapters.parsing.extraction import ParseFailure
from ragstone.adapters.parsing.rst import parse_rst
from tests.unit.adapters.parsing.samples import read, shown

PAGE = """
=====
Title
=====

Sub
===

Hello *world* with ``code`` and `a link <https://x.org>`_ and |sub| and
:class:`~foo.Bar`, :ref:`a label <target>`, :unheard:`of it`. [1]_

.. |sub| replace:: SUBSTITUTED
.. _target:
.. a comment

- one
- two

  3. three
  4. four

term
   definition

:field: value

Example::

   x = 1
     y = 2

>>> doctest
1

.. note:: A note
   that goes on.

.. list-table::

   * - A
     - B
   * - 1
     - 2

| line one
| line two

.. [1] The footnote.
"""

SPHINX = """
.. function:: foo(a, b)
   :module: x

   Does *foo*.

.. code-block:: python
   :linenos:

   x = 1

.. versionadded:: 3.2
   The stuff.

.. toctree::
   :maxdepth: 2

   other

.. never-heard-of:: argument

   Its content.
"""


def test_a_page() -> None:
    extracted = read(parse_rst, PAGE)
    assert shown(extracted) == [
        ("heading1", "Title"),
        ("heading2", "Sub"),
        ("paragraph", "Hello world with code and a link and SUBSTITUTED and foo.Bar, a label, of it."),
        ("list", "- one\n- two\n  3. three\n  4. four"),
        ("list", "- term\n  definition"),
        ("list", "- field\n  value"),
        ("paragraph", "Example:"),
        ("code", "x = 1\n  y = 2"),
        ("code", ">>> doctest\n1"),
        ("paragraph", "A note that goes on."),
        ("table", "A | B\n1 | 2"),
        ("paragraph", "line one\nline two"),
        ("paragraph", "The footnote."),
    ]
    assert extracted.title == "Title"


def test_what_sphinx_adds_is_read_as_text() -> None:
    assert shown(read(parse_rst, SPHINX)) == [
        ("paragraph", "foo(a, b)"),
        ("paragraph", "Does foo."),
        ("code", "x = 1"),
        ("paragraph", "3.2 The stuff."),
        ("paragraph", "argument"),
        ("paragraph", "Its content."),
    ]


@pytest.mark.parametrize(
    "directive",
    [
        ".. include:: {path}",
        ".. literalinclude:: {path}",
        ".. raw:: html\n   :file: {path}",
        ".. raw:: html\n   :url: file://{path}",
        ".. raw:: html\n\n   SECRET",
        ".. csv-table:: x\n   :file: {path}",
        ".. csv-table:: x\n   :url: file://{path}",
        ".. figure:: {path}\n   :figwidth: image",
        ".. image:: {path}\n   :loading: embed",
        ".. math::\n   :file: {path}",
    ],
)
def test_no_directive_reads_a_file(directive: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    assert "SECRET" not in read(parse_rst, f"Before.\n\n{directive.format(path=secret)}\n\nAfter.").text


def test_a_role_of_one_document_is_unknown_in_the_next() -> None:
    using = "See :mine:`x <y>`."
    before = read(parse_rst, using).text
    read(parse_rst, f".. role:: mine(literal)\n\n{using}")
    assert read(parse_rst, using).text == before


def test_no_text_depends_on_the_day() -> None:
    assert read(parse_rst, "On |today|.\n\n.. |today| date::\n").text == "On today."


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(ParseFailure, match="a line of more than"):
        read(parse_rst, "word " * 300_000, max_characters=10_000_000)
