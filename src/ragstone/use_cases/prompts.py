"""Prompt templates: versioned files in `ragstone/prompts/<name>/<version>.toml`, and their rendering."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ragstone.domain.conversations import Turn
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.use_cases.context import ContextBlock, ContextPart

DEFAULT_PROMPT = "answer/1"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}/[0-9]{1,6}")
_FIELDS = {kind: frozenset(field.name for field in fields(kind)) for kind in (ContextBlock, ContextPart, Turn)}
_DELIMITER = re.compile(r"<(?=\s*/?\s*(?:passages?|documents?|question|system|user)\b)", re.IGNORECASE)
_CONVERSATION = re.compile(r"<(?=\s*/?\s*(?:conversation|turn)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """The two messages that go to a generator."""

    system: str
    user: str


class Prompt:
    """One template. `name` is `name/version`, as releases record it."""

    def __init__(self, name: str, description: str, system: Template, user: Template) -> None:
        self.name = name
        self.description = description
        self._system = system
        self._user = user

    def render(self, question: str, blocks: Sequence[ContextBlock], *, max_sentences: int, abstention: str) -> RenderedPrompt:
        """The prompt for a question and its passages. Both are untrusted: they cannot close the elements that hold them.

        Raises `InvalidInput` when the template uses something that it is not given, or what the sandbox forbids.
        """
        return self._rendered({"question": question, "blocks": blocks, "max_sentences": max_sentences, "abstention": abstention})

    def render_conversation(self, question: str, turns: Sequence[Turn]) -> RenderedPrompt:
        """The prompt for a question and what was said before it, all of it untrusted. Raises `InvalidInput` as `render`."""
        return self._rendered({"question": question, "turns": turns})

    def _rendered(self, values: Mapping[str, object]) -> RenderedPrompt:
        try:
            return RenderedPrompt(self._system.render(values).strip(), self._user.render(values).strip())
        except TemplateError as error:
            raise InvalidInput(f"prompt: {self.name} cannot be rendered: {error}.", field="prompt") from error


class Prompts:
    """The templates at hand. `folder` defaults to the packaged ones; they are read once."""

    def __init__(self, folder: Traversable | None = None) -> None:
        self._folder = folder or files("ragstone") / "prompts"
        self._environment = _Environment(autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True)
        self._environment.filters |= {"untrusted": _untrusted, "attribute": _attribute, "turn": _turn}
        self._prompts: dict[str, Prompt] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every `name/version` there is, in order."""
        found = [
            (folder.name, int(file.name.removesuffix(".toml")))
            for folder in self._folder.iterdir()
            if folder.is_dir()
            for file in folder.iterdir()
            if _NAME.fullmatch(f"{folder.name}/{file.name.removesuffix('.toml')}") and file.name.endswith(".toml")
        ]
        return tuple(f"{name}/{version}" for name, version in sorted(found))

    def get(self, name: str) -> Prompt:
        """The template `name/version`. Raises `NotFound`, listing what there is, or `InvalidInput` for a broken file."""
        if name not in self._prompts:
            if name not in self.names:
                raise NotFound(f"prompt: there is no {name[:80]!r}; there are {', '.join(self.names) or 'none'}.", field="prompt")
            self._prompts[name] = self._read(name)
        return self._prompts[name]

    def _read(self, name: str) -> Prompt:
        folder, version = name.split("/")
        try:
            fields = tomllib.loads((self._folder / folder / f"{version}.toml").read_text("utf-8"))
            system, user = (self._environment.from_string(fields[part]) for part in ("system", "user"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, TemplateError) as error:
            raise InvalidInput(f"prompt: the file of {name} cannot be used: {error}.", field="prompt") from error
        return Prompt(name, str(fields.get("description", "")), system, user)


class _Environment(SandboxedEnvironment):
    """Reads the fields of blocks and parts directly: the sandbox's checks of each of them took longer than all the rest of a prompt."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As the sandbox's."""
        if attribute in _FIELDS.get(type(obj), ()):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)


def _untrusted(text: str) -> str:
    """Text that cannot pass for one of the prompt's own elements: their `<` becomes `‹`."""
    return _DELIMITER.sub("‹", text)


def _turn(text: str) -> str:
    """Text that cannot pass for what divides a conversation."""
    return _CONVERSATION.sub("‹", text)


def _attribute(text: str) -> str:
    """Text for between double quotes, on one line."""
    return " ".join(_untrusted(text).replace('"', "'").replace(">", "›").split())
