"""The network edges: those that docs/charts.md documents in its table, and those that the rendered policies leave open.

Who might talk to whom is put together from the render's pods and from everybody else that comes into question: pods of the namespaces that
the table names, pods elsewhere (one of them with stolen labels), the cluster's DNS, and addresses outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.charts.connectivity import Peer, Port, edges
from tests.charts.helm import NAMESPACE, ROOT, Manifest, Rendered
from tests.charts.pods import PodTemplate, pods

DOCUMENT = ROOT / "docs" / "charts.md"
HEADER = "| from | to | port | gate |"
INTERNET = "public addresses"
ANYWHERE = "any address"
OUTSIDE = {
    INTERNET: "198.51.100.7",
    f"{INTERNET} (IPv6)": "2001:db8::7",
    "private network": "10.9.8.7",
    "private network (172)": "172.16.5.4",
    "private network (192)": "192.168.3.2",
    "shared addresses": "100.64.1.1",
    "metadata service": "169.254.169.254",
    "private network (IPv6)": "fd00::7",
    "link-local (IPv6)": "fe80::7",
    "private network (NAT64)": "64:ff9b::a09:807",
}
NAMESPACE_LABEL = "kubernetes.io/metadata.name"

Edge = tuple[str, str, Port]


@dataclass(frozen=True)
class Row:
    """One line of the table, or one of several if its cells list several ends."""

    source: str
    target: str
    ports: tuple[Port, ...]
    gate: str

    @property
    def edges(self) -> set[Edge]:
        targets = [self.target, f"{INTERNET} (IPv6)"] if self.target == INTERNET else [self.target]
        return {(self.source, target, port) for target in targets for port in self.ports}


def documented(text: str) -> list[Row]:
    """The rows of the table. Raises ValueError when there is none or a cell is not understood."""
    lines = text.splitlines()
    if HEADER not in lines:
        raise ValueError(f"no table begins with {HEADER}")
    start = lines.index(HEADER) + 2
    end = next(number for number, line in enumerate([*lines[start:], ""], start) if not line.startswith("|"))
    return [row for line in lines[start:end] for row in _rows(line)]


def _rows(line: str) -> list[Row]:
    sources, targets, ports, gate = (cell.strip() for cell in line.strip("|").split("|"))
    found = re.findall(r"(\d+)/(TCP|UDP)", ports)
    if not found:
        raise ValueError(f"no port in {line}")
    numbers = tuple(Port(int(number), protocol) for number, protocol in found)
    return [Row(_plain(source), _plain(target), numbers, _plain(gate)) for source in sources.split(", ") for target in targets.split(", ")]


def _plain(cell: str) -> str:
    return cell.replace("`", "")


def open_edges(rendered: Rendered, namespaces: Iterable[str]) -> set[Edge]:
    """Every connection that the policies let through to or from a pod of the release; to all there is outside of it as one, `ANYWHERE`."""
    made = [pod for pod in pods(rendered.objects) for _ in range(min(pod.replicas, 2))]
    ours = [_peer(pod, number) for number, pod in enumerate(made)]
    strangers = list(_strangers(ours, namespaces))
    names = {peer.name for peer in ours}
    policies: list[Manifest] = rendered.of_kind("NetworkPolicy")
    found = edges(policies, ours, [*ours, *strangers]) | edges(policies, strangers, ours)
    everywhere = {(source, port) for source, _, port in found if all((source, outside, port) in found for outside in OUTSIDE)}
    return {(source, ANYWHERE if (source, port) in everywhere and target not in names else target, port) for source, target, port in found}


def _peer(pod: PodTemplate, number: int) -> Peer:
    ports = {
        port["name"]: Port(port["containerPort"], port.get("protocol", "TCP"))
        for container in pod.containers
        for port in container.get("ports", [])
    }
    labels = {NAMESPACE_LABEL: NAMESPACE}
    return Peer(pod.labels["app.kubernetes.io/name"], f"10.244.0.{10 + number}", NAMESPACE, pod.labels, labels, ports)


def _strangers(ours: list[Peer], namespaces: Iterable[str]) -> Iterator[Peer]:
    for number, namespace in enumerate(namespaces):
        yield _pod(f"namespace {namespace}", namespace, {"app": "anything"}, f"10.244.1.{number}")
    yield _pod("pod elsewhere", "default", {"app": "anything"}, "10.244.2.1")
    yield _pod(
        "another release", NAMESPACE, {"app.kubernetes.io/name": "orchestrator", "app.kubernetes.io/instance": "other"}, "10.244.2.2"
    )
    for number, peer in enumerate(ours):
        yield _pod(f"{peer.name}'s labels elsewhere", "default", dict(peer.labels), f"10.244.3.{number}")
    dns = {"dns": Port(53, "UDP"), "dns-tcp": Port(53), "metrics": Port(9153)}
    yield _pod("kube-system pods k8s-app: kube-dns", "kube-system", {"k8s-app": "kube-dns"}, "10.244.4.1", dns)
    yield _pod("kube-system pods", "kube-system", {"k8s-app": "other"}, "10.244.4.2", dns)
    yield _pod("false DNS", NAMESPACE, {"k8s-app": "kube-dns"}, "10.244.4.3", dns)
    yield from (Peer(name, address) for name, address in OUTSIDE.items())


def _pod(name: str, namespace: str, labels: dict[str, str], address: str, ports: dict[str, Port] | None = None) -> Peer:
    return Peer(name, address, namespace, labels, {NAMESPACE_LABEL: namespace}, ports or {})
