"""Where the test bed keeps things: one cache directory that stays, and in it one run directory that `down` removes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.shell import ClusterError

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
MASKED = ("/run", "/var/run", "/var/lib", "/var/log", "/sys", "/proc")  # the node sees its own there, so the cache must lie elsewhere


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories and files of the test bed."""

    cache: Path

    @classmethod
    def default(cls) -> Layout:
        """$RAGSTONE_CLUSTER_CACHE, or ~/.cache/ragstone-cluster. Raises `ClusterError` for a place that the node can't see."""
        cache = Path(os.environ.get("RAGSTONE_CLUSTER_CACHE") or Path.home() / ".cache" / "ragstone-cluster").resolve()
        if any(cache.is_relative_to(place) for place in MASKED):
            raise ClusterError(
                f"The cache directory {cache} lies where the node keeps its own files: set RAGSTONE_CLUSTER_CACHE to another place."
            )
        cache.mkdir(parents=True, exist_ok=True)
        return cls(cache)

    @property
    def run(self) -> Path:
        return self.cache / "run"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"
