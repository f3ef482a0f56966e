"""Lets docutils read what it doesn't know (Sphinx's directives and roles above all) as text, instead of dropping it with a complaint."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles

# `code` and `code-block` too: docutils drops the content of those that have an option of Sphinx's.
_CODE_NAMES = "code code-block sourcecode prompt testcode testoutput ipython jupyter-execute console graphviz mermaid plantuml"
_CODE = frozenset(_CODE_NAMES.split())
# What holds no text of its own, and `date`, which would make the text depend on the day.
_SILENT_NAMES = "toctree index highlight autosummary literalinclude default-domain currentmodule inheritance-diagram meta date"
_SILENT = frozenset(_SILENT_NAMES.split())
_LABELLED = re.compile(r"(.+?)\s*<[^<>]*>", re.DOTALL)
_Lookup = Callable[..., Any]


class _AnyOptions(dict[str, Any]):
    """An option spec that takes every option as a string."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return directives.unchanged


class _Unknown(Directive):
    """The argument as a paragraph, then the content."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = _AnyOptions()

    def run(self) -> Sequence[nodes.Node]:
        container = nodes.container()
        if self.arguments:
            container += nodes.paragraph("", self.arguments[0])
        self.state.nested_parse(self.content, self.content_offset, container)
        return [container]


class _Code(_Unknown):
    def run(self) -> Sequence[nodes.Node]:
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text)]


class _Silent(_Unknown):
    def run(self) -> Sequence[nodes.Node]:
        return []


def _unknown_role(name: str, rawtext: str, text: str, *_: object, **__: object) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """The label of "label <target>", or the target without the marks that shorten it."""
    plain = nodes.unescape(text)
    labelled = _LABELLED.fullmatch(plain)
    return [nodes.inline(rawtext, labelled[1] if labelled else plain.lstrip("~!"))], []


def prepare() -> None:
    """Imports every directive, and makes docutils' look-ups fall back on the above in this process: it has no setting for that."""
    for module in {module for module, _ in vars(directives)["_directive_registry"].values()}:
        importlib.import_module(f"{directives.__name__}.{module}")
    find_directive: _Lookup = directives.directive
    find_role: _Lookup = roles.role

    def directive(name: str, *rest: object) -> Any:
        own = _Silent if name.lower() in _SILENT else _Code if name.lower() in _CODE else None
        found, messages = (own, []) if own else find_directive(name, *rest)
        return (found, messages) if found is not None else (_Unknown, [])

    def role(name: str, *rest: object) -> Any:
        found, messages = find_role(name, *rest)
        return (found, messages) if found is not None else (_unknown_role, [])

    vars(directives)["directive"] = directive
    vars(roles)["role"] = role


def forget_roles() -> None:
    """Drops the roles that the last document defined: docutils keeps them for the whole process."""
    vars(roles)["_roles"].clear()
