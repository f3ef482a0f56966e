"""A Dockerfile's instructions and stages, read as the builder reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """`arguments` on one line, continuations joined."""

    name: str
    arguments: str


@dataclass(slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The arguments of each instruction of that name."""
        return [each.arguments for each in self.instructions if each.name == name]


def read(path: Path) -> tuple[list[Instruction], list[Stage]]:
    """What stands before the first FROM, and the stages."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    before: list[Instruction] = []
    stages: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name == "FROM":
            base, _, stage = arguments.partition(" AS ")
            stages.append(Stage(base.strip(), stage.strip()))
        else:
            (stages[-1].instructions if stages else before).append(Instruction(name, re.sub(r"\s+", " ", arguments.strip())))
    return before, stages
