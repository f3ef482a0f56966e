"""How many cores this process may keep busy: those it may run on, less what a container's CPU limit takes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """At least 1. A limit of 1.5 CPUs counts as 2: a core that is idle half of the time is better than one that is never there.

    Without this, a pod with a limit of one CPU on a node of 64 would start 64 threads and be throttled for most of each period. `root`: for tests.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The limits, in CPUs, of this process's control groups (Linux, versions 1 and 2) and of all above them."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            for folder in _upwards(root / "sys/fs/cgroup", path):
                limit, _, period = _read(folder / "cpu.max").strip().partition(" ")
                yield from _quota(limit, period)
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup" / controllers, path):
                yield from _quota(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it. In a container the mount may begin at the group itself: then only the mount's own folder is there."""
    folder = mount / path.strip("/")
    yield folder
    while folder != mount:
        folder = folder.parent
        yield folder


def _quota(limit: str, period: str) -> Iterator[float]:
    """`max` and -1 mean none, as does what can't be read."""
    if limit.isdecimal() and period.isdecimal() and int(period):
        yield int(limit) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
