"""What of the machine this process may use: its own limits, and those of its container's control groups (Linux, versions 1 and 2)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Cores to keep busy, at least 1. A limit of 1.5 CPUs counts as 2: a core that is idle half of the time is better than one that is never there.

    Without this, a pod with a limit of one CPU on a node of 64 would start 64 threads and be throttled for most of each period. `root`: for tests.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas: list[int] = []
    for folder in _groups(root, "cpu"):
        limit, _, period = (
            _read(folder / "cpu.max") or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        ).partition(" ")
        if limit.isdecimal() and period.isdecimal() and int(period):  # "max" and -1 mean none
            quotas.append(math.ceil(int(limit) / int(period)))
    return max(1, min([cores, *quotas]))


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes that this process and its children may have together before the kernel kills: the machine's memory, or the container's limit."""
    limits = [_read(folder / name) for folder in _groups(root, "memory") for name in ("memory.max", "memory.limit_in_bytes")]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(int(limit) for limit in limits if limit.isdecimal())])


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folder of this process's control group and of those above it, whose limits hold too. Not all need to be there."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or controller in controllers.split(","):  # none are named by version 2
            mount = root / "sys/fs/cgroup" / controllers
            if not mount.is_dir():  # the kernel may name a pair of controllers in one order and the mount in the other
                mount = root / "sys/fs/cgroup" / controller
            folder = mount / path.strip("/")
            while folder != mount:
                yield folder
                folder = folder.parent
            yield mount  # in a container it may be the group itself


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
