"""Cores and memory by the machine and by the limits of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ragstone.adapters.container import usable_cpus, usable_memory


@pytest.fixture(autouse=True)
def _a_node_of_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**24}.__getitem__)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def v1(quota: str, period: str = "100000", at: str = "", group: str = "/kubepods/pod1/c1") -> dict[str, str]:
    folder = f"sys/fs/cgroup/cpu,cpuacct{at}"
    return {
        "proc/self/cgroup": f"12:memory:{group}\n4:cpu,cpuacct:{group}\n1:name=systemd:{group}",
        f"{folder}/cpu.cfs_quota_us": quota,
        f"{folder}/cpu.cfs_period_us": period,
    }


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [
        ("max 100000", 64),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1 100000", 1),
        ("900000 50000", 18),
        ("", 64),
        ("x", 64),
        ("1 0", 64),
    ],
)
def test_a_limit_of_control_groups_version_2(tmp_path: Path, limit: str, cpus: int) -> None:
    assert usable_cpus(write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": limit})) == cpus


def test_the_limit_of_a_group_above_counts_too(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/kubepods/pod1/c1",
        "sys/fs/cgroup/kubepods/pod1/cpu.max": "200000 100000",
        "sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "max 100000",
    }
    assert usable_cpus(write(tmp_path, files)) == 2


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 64), ("100000", 1), ("250000", 3), ("", 64)])
@pytest.mark.parametrize("at", ["", "/kubepods/pod1/c1"], ids=["mounted from the group on", "mounted whole"])
def test_a_limit_of_control_groups_version_1(tmp_path: Path, quota: str, cpus: int, at: str) -> None:
    assert usable_cpus(write(tmp_path, v1(quota, at=at))) == cpus


def test_without_limit_it_is_what_the_process_may_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cpus(tmp_path) == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    assert usable_cpus(write(tmp_path, v1("1000000"))) == 2


@pytest.mark.parametrize(("limit", "memory"), [("max", 2**36), ("1073741824", 2**30), ("", 2**36), ("x", 2**36), (str(2**40), 2**36)])
def test_memory_is_the_machines_or_the_containers(tmp_path: Path, limit: str, memory: int) -> None:
    version_2 = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": limit}
    assert usable_memory(write(tmp_path / "v2", version_2)) == memory
    version_1 = {"proc/self/cgroup": "9:memory:/kubepods/c1\n0::/", "sys/fs/cgroup/memory/memory.limit_in_bytes": limit}
    assert usable_memory(write(tmp_path / "v1", version_1)) == memory
    assert usable_memory(tmp_path / "nothing known") == 2**36


def test_the_smallest_memory_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "9:memory:/kubepods/c1",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/kubepods/memory.limit_in_bytes": "536870912",
        "sys/fs/cgroup/memory/kubepods/c1/memory.limit_in_bytes": "1073741824",
    }
    assert usable_memory(write(tmp_path, files)) == 2**29
