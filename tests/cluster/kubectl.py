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
    kubeconfig: Path
    context: str | None = None

    def __call__(self, *words: str | Path, limit: float = 30.0, stdin: str | None = None) -> str:
        return run([*self.command(), *words], limit=limit, stdin=stdin)

    def command(self) -> list[str]:
        """The command line that a kubectl command begins with."""
        chosen = [f"--context={self.context}"] if self.context else []
        return [str(self.binary), f"--kubeconfig={self.kubeconfig}", *chosen]

    def json(self, *words: str | Path, limit: float = 30.0) -> Json:
        answer: Json = json.loads(self(*words, "-o", "json", limit=limit))
        return answer


@dataclass(frozen=True, slots=True)
class Helm:
    """`helm("install", ...)` gives text. Raises `ClusterError`. `state`: where Helm keeps its own files."""

    binary: str | Path
    kubeconfig: Path
    state: Path
    context: str | None = None

    def __call__(self, *words: str | Path, limit: float = 120.0, stdin: str | None = None) -> str:
        chosen = [f"--kube-context={self.context}"] if self.context else []
        own = {f"HELM_{name}_HOME": str(self.state / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        command = [self.binary, f"--kubeconfig={self.kubeconfig}", *chosen, *words]
        return run(command, limit=limit, stdin=stdin, environment={**os.environ, **own})
