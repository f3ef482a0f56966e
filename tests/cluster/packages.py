"""Installs the Debian packages that the test bed needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from tests.cluster.shell import ClusterError, run

_LIMIT = 600.0  # seconds for one run of apt-get


def ensure(packages: Sequence[str]) -> None:
    """Installs those of `packages` that are missing. Raises `ClusterError` when this is no Debian, we are not root, or apt-get fails."""
    missing = [name for name in packages if not _installed(name)]
    if not missing:
        return
    names = " ".join(missing)
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"Debian's packages {names} are missing, and there is no apt-get here: use Debian 12, or a cluster of your own (kubectl's context)."
        )
    if os.geteuid() != 0:
        raise ClusterError(f"Debian's packages {names} are missing: run `apt-get install {names}` as root, or all of this as root.")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for action in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        try:
            run(["apt-get", "--quiet", *action], environment=environment, limit=_LIMIT)
        except ClusterError as error:
            raise ClusterError(
                f"Debian's packages {names} could not be installed; is the mirror that apt uses reachable? {error}"
            ) from error


def _installed(name: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    asked = subprocess.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", name], capture_output=True, text=True, check=False)
    return asked.stdout == "installed"
