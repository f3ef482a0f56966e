"""Who may connect to whom, by the meaning of Kubernetes' NetworkPolicies: egress of the one and ingress of the other must both allow it.

A pod that no policy of a direction selects is open in that direction; policies only ever add. Ports are those of the pods themselves
(a Service's port is translated before policies apply). Traffic from the node to its pods (probes) is always let through and is not shown.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]
ANY_PORT = 0  # stands for every port that no policy and no pod names


@dataclass(frozen=True, order=True)
class Port:
    """A port of a pod; `ANY_PORT` for one that nobody names."""

    number: int
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.number or 'any other port'}/{self.protocol}"


@dataclass(frozen=True)
class Peer:
    """A pod (in a namespace) or an address outside the cluster (namespace None)."""

    name: str
    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, Port] = field(default_factory=dict)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A label selector's answer; the empty one selects everything. Raises ValueError for an unknown operator."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or [])


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise ValueError(f"unknown operator {other}")


def allowed(policies: Iterable[Policy], source: Peer, target: Peer, port: Port) -> bool:
    """Whether `source` may open a connection to that port of `target`."""
    policies = list(policies)
    return _direction(policies, "Egress", source, target, target, port) and _direction(policies, "Ingress", target, source, target, port)


def edges(policies: Iterable[Policy], sources: Iterable[Peer], targets: Iterable[Peer]) -> set[tuple[str, str, Port]]:
    """Every allowed (from, to, port), over all ports that pods or policies name and one that nobody names, TCP and UDP."""
    policies = list(policies)
    targets = list(targets)
    ports = named_ports(policies) | {port for target in targets for port in target.ports.values()}
    ports |= {Port(ANY_PORT, protocol) for protocol in ("TCP", "UDP")}
    return {
        (source.name, target.name, port)
        for source in sources
        for target in targets
        if source is not target
        for port in ports
        if allowed(policies, source, target, port)
    }


def named_ports(policies: Iterable[Policy]) -> set[Port]:
    """The numbers that policies' rules name, of ranges both ends."""
    found = set()
    for rule in (rule for policy in policies for side in ("ingress", "egress") for rule in policy["spec"].get(side) or []):
        for each in rule.get("ports") or []:
            for number in (each.get("port"), each.get("endPort")):
                if isinstance(number, int):
                    found.add(Port(number, each.get("protocol", "TCP")))
    return found


def policy_types(policy: Policy) -> list[str]:
    """The directions that a policy is about."""
    declared: list[str] | None = policy["spec"].get("policyTypes")
    return declared or (["Ingress", "Egress"] if policy["spec"].get("egress") else ["Ingress"])


def _direction(policies: list[Policy], direction: str, subject: Peer, other: Peer, target: Peer, port: Port) -> bool:
    if subject.namespace is None:
        return True
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and direction in policy_types(policy)
        and selects(policy["spec"].get("podSelector") or {}, subject.labels)
    ]
    if not selecting:
        return True
    side, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _ports_match(rule.get("ports") or [], target, port) and _peers_match(rule.get(peers) or [], policy["metadata"]["namespace"], other)
        for policy in selecting
        for rule in policy["spec"].get(side) or []
    )


def _ports_match(rules: list[Mapping[str, Any]], target: Peer, port: Port) -> bool:
    return not rules or any(_port_matches(rule, target, port) for rule in rules)


def _port_matches(rule: Mapping[str, Any], target: Peer, port: Port) -> bool:
    if rule.get("protocol", "TCP") != port.protocol:
        return False
    wanted = rule.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return target.ports.get(wanted) == port
    return bool(wanted <= port.number <= rule.get("endPort", wanted))


def _peers_match(peers: list[Mapping[str, Any]], namespace: str, other: Peer) -> bool:
    return not peers or any(_peer_matches(peer, namespace, other) for peer in peers)


def _peer_matches(peer: Mapping[str, Any], namespace: str, other: Peer) -> bool:
    if "ipBlock" in peer:
        address = ipaddress.ip_address(other.address)
        inside = address in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return inside and not any(address in ipaddress.ip_network(each) for each in peer["ipBlock"].get("except") or [])
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        in_namespace = selects(peer["namespaceSelector"] or {}, other.namespace_labels)
    else:
        in_namespace = other.namespace == namespace
    return in_namespace and selects(peer.get("podSelector") or {}, other.labels)
