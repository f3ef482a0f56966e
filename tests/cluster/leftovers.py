"""What a cluster leaves on the machine: everything that a snapshot taken before did not have."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from tests.cluster.node import CGROUP
from tests.cluster.shell import run

_SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward", "net/netfilter/nf_conntrack_max")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The machine at one moment: sets of lines, one for each thing."""

    processes: frozenset[str]
    mounts: frozenset[str]
    interfaces: frozenset[str]
    routes: frozenset[str]
    rules: frozenset[str]
    cgroups: frozenset[str]
    namespaces: frozenset[str]
    settings: frozenset[str]


def snapshot(cache: Path) -> Snapshot:
    """The machine now. `cache`: the test bed's directory. Needs root to see all processes."""
    return Snapshot(
        processes=frozenset(_processes(cache)),
        mounts=frozenset(
            line.partition(" - ")[2] + " on " + line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ),
        interfaces=frozenset(os.listdir("/sys/class/net")),
        routes=_lines(["ip", "route", "show", "table", "all"]) | _lines(["ip", "rule"]),
        rules=_rules(),
        cgroups=frozenset(_cgroups()),
        namespaces=frozenset(_namespaces()),
        settings=frozenset(f"{name} = {_text(Path('/proc/sys') / name)}" for name in _SYSCTLS),
    )


def leftovers(before: Snapshot, cache: Path) -> list[str]:
    """A line for each thing that is here now and was not before; empty when the cluster left nothing."""
    now = snapshot(cache)
    return [
        f"{field.name}: {line}" for field in fields(Snapshot) for line in sorted(getattr(now, field.name) - getattr(before, field.name))
    ]


def _processes(cache: Path) -> set[str]:
    """Those in pid namespaces or cgroups of the test bed's making, and those that run something of its cache; others may come and go."""
    own, found = _text(Path("/proc/self/ns/pid"), link=True), set()
    for folder in Path("/proc").glob("[0-9]*"):
        space = _text(folder / "ns" / "pid", link=True)
        ours = CGROUP in _text(folder / "cgroup") or str(cache) in _text(folder / "cmdline")
        if (space and space != own) or (ours and int(folder.name) != os.getpid()):
            started = _text(folder / "stat").rpartition(")")[2].split()[19:20]
            found.add(f"{folder.name} {_text(folder / 'comm')} (started at {''.join(started)})")
    return found


def _namespaces() -> set[str]:
    found = {_text(folder / "ns" / "net", link=True) for folder in Path("/proc").glob("[0-9]*")} - {""}
    named = Path("/run/netns")
    return found | ({each.name for each in named.iterdir()} if named.is_dir() else set())


def _cgroups() -> set[str]:
    """All but those beside this process's own: they belong to whoever else is on the machine."""
    own = [Path("/sys/fs/cgroup", line.split(":")[1].removeprefix("name="), line.split(":", 2)[2].lstrip("/")) for line in _own_cgroups()]
    beside = {each.parent for each in own if len(each.parts) > 5}
    found: set[str] = set()
    for root, names, _ in os.walk("/sys/fs/cgroup"):
        if Path(root) in beside:
            names[:] = [name for name in names if name == CGROUP or Path(root, name) in own]
        found.add(root)
    return found


def _own_cgroups() -> list[str]:
    return [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.split(":")[1]]


def _rules() -> frozenset[str]:
    found: set[str] = set()
    for program in ("iptables-save", "iptables-legacy-save", "ip6tables-save", "ip6tables-legacy-save"):
        lines = (re.sub(r"\[\d+:\d+\]", "", line) for line in run([program]).splitlines() if not line.startswith("#"))
        found |= {f"{program}: {line}" for line in lines}
    return frozenset(found)


def _lines(command: list[str]) -> frozenset[str]:
    return frozenset(run(command).splitlines())


def _text(path: Path, *, link: bool = False) -> str:
    with contextlib.suppress(OSError):  # the process has ended, or the machine has no such setting
        return str(path.readlink()) if link else path.read_text().strip()
    return ""
