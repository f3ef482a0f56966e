"""The local cluster from nothing to Ready, and back to nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import components, essentials, node
from tests.cluster.certificates import Authority
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import Layout
from tests.cluster.node import Node
from tests.cluster.packages import ensure
from tests.cluster.shell import ClusterError
from tests.cluster.waits import wait_for

PACKAGES = ["containerd", "runc", "etcd-server", "containernetworking-plugins", "iptables", "iproute2", "conntrack", "util-linux"]
GATEWAY = f"http://{node.NODE_ADDRESS}:30080"
_FIRST = ("etcd", "containerd", "apiserver")  # the others end when they don't find these
_LIMIT = 60.0  # seconds for each thing that is waited for
_IMPORT = 180.0


def up(layout: Layout, binaries: Path, definitions: Path, images: Sequence[Path]) -> Node:
    """Starts the cluster, with these images loaded, until DNS and the gateway answer. `binaries`, `definitions`: folders of `builds`.

    Raises `ClusterError`, after taking everything down again, when it can't.
    """
    if os.geteuid() != 0:
        raise ClusterError(
            "The local cluster needs root, for it makes namespaces and mounts: run this as root, or use kind (RAGSTONE_CLUSTER=kind)."
        )
    ensure(PACKAGES)
    with _only_one(layout):
        refuse_second(layout)
        node.remove(layout)
        try:
            return _start(layout, binaries, definitions, images)
        except BaseException:
            _keep_logs(layout)
            node.remove(layout)
            raise


def refuse_second(layout: Layout) -> None:
    """Raises `ClusterError` when a cluster runs."""
    if node.running(layout) is not None:
        raise ClusterError("A cluster runs already: `python -m tests.cluster down` first.")


def down(layout: Layout) -> None:
    """Ends the cluster and removes what it made; nothing to do is fine. Raises `ClusterError` when something stays."""
    with _only_one(layout):
        node.remove(layout)


def load(target: Node, images: Sequence[Path]) -> None:
    """Imports image archives into the node's containerd and unpacks them, so that no pod's first start waits for it. Raises `ClusterError`."""
    for archive in images:
        target.call(["ctr", "--address", components.SOCKET, "--namespace", "k8s.io", "images", "import", archive], _IMPORT)


def _start(layout: Layout, binaries: Path, definitions: Path, images: Sequence[Path]) -> Node:
    target = node.launch(layout)
    authority = Authority(layout.run / "certificates")
    commands = components.control_plane(layout, binaries, authority) | components.workers(layout, binaries, authority)
    for name in _FIRST:
        target.start(name, commands[name])
    kubectl = Kubectl(binaries / "kubectl", layout.kubeconfig)
    with ThreadPoolExecutor() as pool:
        loaded = pool.submit(_load_when_ready, target, images)
        _wait(target, "the API server", lambda: kubectl("get", "--raw=/readyz", limit=5) == "ok", "etcd", "apiserver")
        _wait(target, "containerd", lambda: _containerd_answers(target), "containerd")
        for name in commands.keys() - set(_FIRST):
            target.start(name, commands[name])
        essentials.install_basics(kubectl)
        essentials.install_definitions(kubectl, definitions)
        essentials.install_gateway(kubectl)
        loaded.result()
    _wait(target, "the node to be Ready", lambda: _node_ready(kubectl), "kubelet")
    essentials.wait_until_served(kubectl, GATEWAY)
    return target


def _wait(target: Node, description: str, probe: Callable[[], bool], *named: str) -> None:
    """Waits while all components live; when it was in vain, the last lines of those named are the reasons."""

    def living() -> bool:
        target.must_live()
        return probe()

    wait_for(description, living, _LIMIT, why=lambda: [f"{name}: {target.last_words(name)}" for name in named])


def _containerd_answers(target: Node) -> bool:
    return bool(target.call(["ctr", "--address", components.SOCKET, "version"], 5))


def _load_when_ready(target: Node, images: Sequence[Path]) -> None:
    _wait(target, "containerd", lambda: _containerd_answers(target), "containerd")
    load(target, images)


def _node_ready(kubectl: Kubectl) -> bool:
    conditions = kubectl.json("get", "node", node.NAME)["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _keep_logs(layout: Layout) -> None:
    """What the components wrote survives a failed start, for whoever looks for the reason."""
    kept = layout.cache / "failed-logs"
    if kept.exists():
        shutil.rmtree(kept)
    if layout.logs.exists():
        shutil.copytree(layout.logs, kept)


@contextmanager
def _only_one(layout: Layout) -> Iterator[None]:
    with (layout.cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClusterError("Another process starts or ends a cluster right now: wait for it.") from error
        yield
