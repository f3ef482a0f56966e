"""The node: pid, mount, network, ipc, uts and cgroup namespaces of their own, in which everything of the cluster runs and with which it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tests.cluster.layout import HERE, Layout
from tests.cluster.shell import ClusterError, Hopeless, run, tail
from tests.cluster.waits import wait_for

NAME = "ragstone-node"
CGROUP = "ragstone-cluster"
HOST_LINK = "ragstone0"
HOST_ADDRESS = "10.231.0.1"
NODE_ADDRESS = "10.231.0.2"
SERVICES = "10.96.0.0/16"
_SHARES = 8 * 1024  # of CPU time: a group has as much as one process otherwise, and this one is a whole machine
_FRESH = 20.0  # seconds for the namespaces
_GONE = 30.0  # seconds for the kernel to end and remove what they held


@dataclass(frozen=True, slots=True)
class Node:
    """A running node. `first`: process id, on the host, of its first process; `cgroups`: its directory in each hierarchy."""

    layout: Layout
    first: int
    cgroups: tuple[Path, ...]

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """A command line that runs another one inside."""
        enter = ["nsenter", "--target", str(self.first), "--mount", "--net", "--ipc", "--uts", "--pid", "--cgroup", "--wd=/", "--"]
        return [*enter, *[str(word) for word in words]]

    def call(self, words: Sequence[str | Path], limit: float = 30.0) -> str:
        """Runs a command inside to its end. Raises `ClusterError`."""
        return run(["sh", "-ec", f"{_join_cgroups(self.cgroups)} exec {shlex.join(self.command(words))}"], limit=limit)

    def start(self, name: str, words: Sequence[str | Path]) -> None:
        """Starts a component that runs on; its output goes to logs/<name>.log, and its exit status to ended/<name> should it end."""
        log, ended = self.layout.logs / f"{name}.log", self.layout.run / "ended" / name
        ended.parent.mkdir(exist_ok=True)
        inside = f"{shlex.join([str(word) for word in words])}; echo $? > {shlex.quote(str(ended))}"
        command = shlex.join(self.command(["sh", "-c", inside]))
        _detached(f"exec </dev/null >>{shlex.quote(str(log))} 2>&1; {_join_cgroups(self.cgroups)} exec {command}")

    def ended(self) -> list[str]:
        """A sentence for each component that has ended."""
        found = sorted((self.layout.run / "ended").glob("*"))
        return [f"{each.name} ended with {each.read_text().strip() or '?'}: {self.last_words(each.name)}" for each in found]

    def must_live(self) -> None:
        """Raises `Hopeless` when a component has ended."""
        if found := self.ended():
            raise Hopeless("A component of the cluster has ended.\n  " + "\n  ".join(found))

    def last_words(self, name: str, lines: int = 6) -> str:
        """The last lines that a component wrote."""
        log = self.layout.logs / f"{name}.log"
        return tail(log.read_text("utf-8", "replace")[-20_000:], lines) if log.is_file() else "(it wrote nothing)"


def launch(layout: Layout) -> Node:
    """Makes the node, with its network. Raises `ClusterError`."""
    if _link_exists():
        raise ClusterError(f"The interface {HOST_LINK} exists already: a cluster with another cache directory runs, take it down first.")
    folders = tuple(_cgroup_folders())
    layout.logs.mkdir(parents=True)
    _write_record(layout, folders, None)
    for folder in folders:
        folder.mkdir(exist_ok=True)
        if (folder / "cpuset.cpus").exists():  # a new cpuset takes no process before it has these
            for name in ("cpuset.cpus", "cpuset.mems"):
                (folder / name).write_text((folder.parent / name).read_text())
        if (folder / "cpu.shares").exists():
            (folder / "cpu.shares").write_text(str(_SHARES))
    namespaces = ["--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--uts", "--cgroup", "--mount-proc"]
    first = shlex.join(
        ["unshare", *namespaces, "env", f"NODE_ADDRESS={NODE_ADDRESS}", sys.executable, "-I", str(HERE / "init.py"), str(layout.run), NAME]
    )
    log, launcher = shlex.quote(str(layout.logs / "node.log")), layout.run / "launcher"
    _detached(f"exec </dev/null >>{log} 2>&1; {_join_cgroups(folders)} echo $$ >{shlex.quote(str(launcher))}; exec {first}")
    wait_for("the node's namespaces", (layout.run / "ready").exists, _FRESH, why=lambda: [tail((layout.logs / "node.log").read_text())])
    parent = int(launcher.read_text())
    child = int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
    _write_record(layout, folders, child)
    node = Node(layout, child, folders)
    _network(node)
    return node


def running(layout: Layout) -> Node | None:
    """The node of an earlier `launch`, when its first process lives."""
    record = _record(layout)
    if record is None or record["first"] is None or _started(record["first"]) != record["started"]:
        return None
    return Node(layout, record["first"], tuple(Path(each) for each in record["cgroups"]))


def remove(layout: Layout) -> None:
    """Ends the node and removes what is left of it, also of one that died. Raises `ClusterError` when something stays."""
    record = _record(layout)
    folders = [Path(each) for each in record["cgroups"]] if record else []
    node = running(layout)
    if node is not None:
        os.kill(node.first, signal.SIGKILL)  # the kernel ends all other processes of the pid namespace, and then this one
        wait_for("the node to end", lambda: not Path(f"/proc/{node.first}").exists(), _GONE)
    for pid in _processes(folders):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(
        "the node's processes to end", lambda: not _processes(folders), _GONE, why=lambda: [f"process {pid}" for pid in _processes(folders)]
    )
    if record:
        _remove_link()
    wait_for("the node's cgroups to go", lambda: _removed(folders), _GONE, why=lambda: [str(each) for each in folders if each.exists()])
    if layout.run.exists():
        shutil.rmtree(layout.run)


def _network(node: Node) -> None:
    run(["ip", "link", "add", HOST_LINK, "type", "veth", "peer", "name", "node0", "netns", str(node.first)])
    run(["ip", "address", "add", f"{HOST_ADDRESS}/30", "dev", HOST_LINK])
    run(["ip", "link", "set", HOST_LINK, "up"])
    node.call(["ip", "link", "set", "lo", "up"])
    node.call(["ip", "address", "add", f"{NODE_ADDRESS}/30", "dev", "node0"])
    node.call(["ip", "link", "set", "node0", "up"])
    # A service's address must have a route before kube-proxy's rules rewrite it. Nothing else leaves: the Internet is unreachable at once.
    node.call(["ip", "route", "add", SERVICES, "via", HOST_ADDRESS])
    node.call(["ip", "route", "add", "unreachable", "default"])


def _remove_link() -> None:
    """It goes by itself when the kernel has forgotten the last connection of the node's network, which may be minutes later, or right now."""

    def gone() -> bool:
        if _link_exists():
            run(["ip", "link", "delete", HOST_LINK])
        return not _link_exists()

    wait_for(f"the interface {HOST_LINK} to go", gone, _GONE)


def _link_exists() -> bool:
    return Path("/sys/class/net", HOST_LINK).exists()


def _cgroup_folders() -> list[Path]:
    """Where the node's cgroups go: beneath this process's own, so that whatever limits this process limits the cluster."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = {frozenset(words[3].split(",")): Path(words[1]) for words in mounts if words[2] == "cgroup"}
    folders = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        wanted = set(controllers.split(","))
        root = next((folder for options, folder in roots.items() if wanted <= options), None) if controllers else None
        if root is not None:
            folders.append(root / path.lstrip("/") / CGROUP)
    if not any("memory" in folder.parts for folder in folders):
        raise ClusterError(
            "The local cluster needs cgroup v1 with the memory controller, which this machine lacks: use kind (RAGSTONE_CLUSTER=kind)."
        )
    return folders


def _join_cgroups(folders: Sequence[Path]) -> str:
    return "".join(f"echo $$ >{shlex.quote(str(folder / 'cgroup.procs'))}; " for folder in folders)


def _detached(script: str) -> None:
    run(["setsid", "--fork", "sh", "-ec", script])


def _processes(folders: Sequence[Path]) -> list[int]:
    found: set[int] = set()
    for folder in folders:
        for each in folder.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found |= {int(pid) for pid in each.read_text().split()}
    return sorted(found)


def _removed(folders: Sequence[Path]) -> bool:
    for folder in folders:
        for path, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):  # the kernel keeps it until the last process is buried: the next look removes it
                Path(path).rmdir()
    return not any(folder.exists() for folder in folders)


def _started(pid: int) -> str | None:
    """When a process began, in clock ticks since boot (field 22 of its stat), so that a reused id is not taken for it; None: it is dead or dying."""
    try:
        if not Path(f"/proc/{pid}/cmdline").read_bytes():
            return None
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


class _Record(TypedDict):
    cgroups: list[str]
    first: int | None
    started: str | None


def _write_record(layout: Layout, folders: Sequence[Path], first: int | None) -> None:
    record = _Record(cgroups=[str(each) for each in folders], first=first, started=_started(first) if first else None)
    (layout.run / "node.json").write_text(json.dumps(record))


def _record(layout: Layout) -> _Record | None:
    path = layout.run / "node.json"
    record: _Record | None = json.loads(path.read_text()) if path.is_file() else None
    return record
