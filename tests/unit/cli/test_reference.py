"""docs/cli.md names every command and every option, and none that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ragstone.cli.command import COMMON
from ragstone.cli.main import build

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
EVERYWHERE = {f"--{parameter.name.replace('_', '-')}" for parameter in COMMON} | {"-q", "--help", "-h"}


def commands() -> Iterator[tuple[str, set[str]]]:
    """Every command's words with the options that only it takes."""

    def walk(command: Any, words: str) -> Iterator[tuple[str, set[str]]]:
        children = getattr(command, "commands", None)
        if children is None:
            found = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")}
            yield words, found - EVERYWHERE
            return
        for name, child in children.items():
            if not child.hidden:
                yield from walk(child, f"{words} {name}")

    return walk(typer.main.get_command(build()), "ragstone")


def section(words: str) -> str:
    """What the page says from the command's name to the next command's."""
    [start] = [match.start() for match in re.finditer(rf"^(?:### |- )`{words}\b(?![- ][a-z])", PAGE, re.MULTILINE)][:1] or [-1]
    assert start >= 0, f"docs/cli.md does not speak of {words}"
    rest = PAGE[start + 1 :]
    following = re.search(r"\n(?:###|- `ragstone) ", rest)
    return rest[: following.start()] if following else rest


@pytest.mark.parametrize(("words", "options"), list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_the_reference_names_every_option(words: str, options: set[str]) -> None:
    said = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", section(words)))
    missing = options - said - {"--collection"} if "-c" in said else options - said
    assert not missing, f"docs/cli.md lacks {sorted(missing)} of {words}"


def test_the_reference_names_no_option_that_is_not_there() -> None:
    known = EVERYWHERE.union(*(options for _, options in commands()))
    said = set(re.findall(r"`(--[a-z][a-z-]*)", PAGE))
    assert said <= known, sorted(said - known)
