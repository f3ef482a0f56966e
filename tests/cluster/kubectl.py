"""kubectl and helm with a limit, as callables."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.shell import run

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl("get", "pods", "-n", "x")` gives text, `kubectl.json(...)` the parsed answer. Both raise `ClusterError`."""

    binary: str | Path
    kubeconfig: Path | None = None  # None: as the user has it
    context: str | None = None

    def __call__(self, *words: str | Path, limit: float = 30.0, stdin: str | None = None) -> str:
        return run([*self.command(), *words], limit=limit, stdin=stdin)

    def command(self) -> list[str]:
        """The command line that a kubectl command begins with."""
        return [str(self.binary), *_chosen("--context", self.context, self.kubeconfig)]

    def json(self, *words: str | Path, limit: float = 30.0) -> Json:
        answer: Json = json.loads(self(*words, "-o", "json", limit=limit))
        return answer


@dataclass(frozen=True, slots=True)
class Helm:
    """`helm("install", ...)` gives text. Raises `ClusterError`. `state`: where Helm keeps its own files."""

    binary: str | Path
    state: Path
    kubeconfig: Path | None = None
    context: str | None = None

    def __call__(self, *words: str | Path, limit: float = 120.0, stdin: str | None = None) -> str:
        own = {f"HELM_{name}_HOME": str(self.state / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        command = [self.binary, *_chosen("--kube-context", self.context, self.kubeconfig), *words]
        return run(command, limit=limit, stdin=stdin, environment={**os.environ, **own})


def _chosen(flag: str, context: str | None, kubeconfig: Path | None) -> list[str]:
    return [*([f"--kubeconfig={kubeconfig}"] if kubeconfig else []), *([f"{flag}={context}"] if context else [])]
