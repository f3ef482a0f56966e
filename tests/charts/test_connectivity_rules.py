"""The NetworkPolicy evaluator itself, on the examples of the Kubernetes documentation and its fine print."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.connectivity import ANY_PORT, Peer, Port, allowed, edges, named_ports, policy_types

DB = Peer("db", "10.1.0.1", "default", {"role": "db"}, {"kubernetes.io/metadata.name": "default"}, {"redis": Port(6379)})
FRONTEND = Peer("frontend", "10.1.0.2", "default", {"role": "frontend"}, {"kubernetes.io/metadata.name": "default"})
OTHER = Peer("other", "10.1.0.3", "default", {"role": "other"}, {"kubernetes.io/metadata.name": "default"})
MYPROJECT = Peer("myproject", "10.1.0.4", "myproject", {"role": "any"}, {"project": "myproject"})
ELSEWHERE = Peer("elsewhere", "10.1.0.5", "elsewhere", {"role": "frontend"}, {"project": "x"})
OFFICE = Peer("office", "172.17.0.9")
EXCEPTED = Peer("excepted", "172.17.1.9")
PARTNER = Peer("partner", "10.0.0.7")
REDIS, BACKEND = Port(6379), Port(5978)


def policy(spec: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": spec}


DOCUMENTED = policy(
    {
        "podSelector": {"matchLabels": {"role": "db"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                    {"namespaceSelector": {"matchLabels": {"project": "myproject"}}},
                    {"podSelector": {"matchLabels": {"role": "frontend"}}},
                ],
                "ports": [{"protocol": "TCP", "port": 6379}],
            }
        ],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 5978}]}],
    }
)


def test_without_policies_everything_is_open() -> None:
    assert allowed([], OFFICE, DB, Port(1))
    assert allowed([], DB, OFFICE, Port(1, "UDP"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [(OFFICE, True), (EXCEPTED, False), (MYPROJECT, True), (FRONTEND, True), (OTHER, False), (ELSEWHERE, False), (PARTNER, False)],
)
def test_ingress_of_the_documented_example(source: Peer, expected: bool) -> None:
    assert allowed([DOCUMENTED], source, DB, REDIS) is expected
    assert not allowed([DOCUMENTED], source, DB, BACKEND)
    assert not allowed([DOCUMENTED], source, DB, Port(6379, "UDP"))


def test_egress_of_the_documented_example() -> None:
    assert allowed([DOCUMENTED], DB, PARTNER, BACKEND)
    assert not allowed([DOCUMENTED], DB, PARTNER, REDIS)
    assert not allowed([DOCUMENTED], DB, OFFICE, BACKEND)


def test_pods_that_no_policy_selects_stay_open() -> None:
    assert allowed([DOCUMENTED], OFFICE, FRONTEND, Port(80))
    assert allowed([DOCUMENTED], FRONTEND, OFFICE, Port(80))


def test_a_policy_holds_in_its_own_namespace_only() -> None:
    twin = Peer("twin", "10.1.0.6", "elsewhere", {"role": "db"}, {"project": "x"})
    assert allowed([DOCUMENTED], OTHER, twin, BACKEND)


def test_two_selectors_in_one_peer_must_both_match_and_in_two_peers_either() -> None:
    both = {"namespaceSelector": {"matchLabels": {"project": "myproject"}}, "podSelector": {"matchLabels": {"role": "frontend"}}}
    either = [{key: value} for key, value in both.items()]
    assert not allowed([policy({"podSelector": {}, "ingress": [{"from": [both]}]})], MYPROJECT, DB, REDIS)
    assert allowed([policy({"podSelector": {}, "ingress": [{"from": either}]})], MYPROJECT, DB, REDIS)
    assert allowed([policy({"podSelector": {}, "ingress": [{"from": either}]})], FRONTEND, DB, REDIS)


@pytest.mark.parametrize(
    ("spec", "comes_in", "goes_out"),
    [
        ({"podSelector": {}, "policyTypes": ["Ingress"]}, False, True),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, True, False),
        ({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}, False, False),
        ({"podSelector": {}}, False, True),
        ({"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}, True, True),
        ({"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]}, True, True),
    ],
)
def test_default_policies_of_the_documentation(spec: dict[str, Any], comes_in: bool, goes_out: bool) -> None:
    assert allowed([policy(spec)], OFFICE, DB, REDIS) is comes_in
    assert allowed([policy(spec)], DB, OFFICE, REDIS) is goes_out


def test_a_connection_needs_both_sides() -> None:
    closed = policy({"podSelector": {"matchLabels": {"role": "frontend"}}, "policyTypes": ["Egress"]})
    assert allowed([DOCUMENTED], FRONTEND, DB, REDIS)
    assert not allowed([DOCUMENTED, closed], FRONTEND, DB, REDIS)


def test_policies_add_up() -> None:
    opened = policy({"podSelector": {"matchLabels": {"role": "db"}}, "ingress": [{"from": [{"podSelector": {}}]}]})
    assert allowed([DOCUMENTED, opened], OTHER, DB, BACKEND)


def test_port_names_are_those_of_the_pod_that_is_called() -> None:
    by_name = policy({"podSelector": {}, "ingress": [{"ports": [{"port": "redis"}]}]})
    assert allowed([by_name], OTHER, DB, REDIS)
    assert not allowed([by_name], OTHER, DB, BACKEND)
    assert not allowed([by_name], DB, OTHER, REDIS)


def test_port_ranges_and_rules_without_a_port() -> None:
    ranged = policy({"podSelector": {}, "ingress": [{"ports": [{"port": 6000, "endPort": 7000}]}]})
    assert [allowed([ranged], OTHER, DB, Port(number)) for number in (5999, 6000, 7000, 7001)] == [False, True, True, False]
    any_udp = policy({"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP"}]}]})
    assert allowed([any_udp], OTHER, DB, Port(1, "UDP"))
    assert not allowed([any_udp], OTHER, DB, Port(1))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "role", "operator": "In", "values": ["db", "x"]}, True),
        ({"key": "role", "operator": "NotIn", "values": ["db"]}, False),
        ({"key": "gone", "operator": "NotIn", "values": ["db"]}, True),
        ({"key": "role", "operator": "Exists"}, True),
        ({"key": "role", "operator": "DoesNotExist"}, False),
    ],
)
def test_match_expressions(expression: dict[str, Any], expected: bool) -> None:
    closing = policy({"podSelector": {"matchExpressions": [expression]}})
    assert allowed([closing], OTHER, DB, REDIS) is not expected


def test_types_default_to_ingress_and_to_egress_where_rules_are_given() -> None:
    assert policy_types(policy({"podSelector": {}})) == ["Ingress"]
    assert policy_types(policy({"podSelector": {}, "egress": [{}]})) == ["Ingress", "Egress"]


def test_edges_name_every_open_port_and_one_that_nobody_names() -> None:
    assert named_ports([DOCUMENTED]) == {REDIS, BACKEND}
    assert edges([DOCUMENTED], [FRONTEND, OTHER], [DB]) == {("frontend", "db", REDIS)}
    closed = policy({"podSelector": {"matchLabels": {"role": "db"}}, "ingress": [{"from": [{"podSelector": {}}]}]})
    found = edges([closed], [OTHER], [DB])
    assert {("other", "db", REDIS), ("other", "db", Port(ANY_PORT)), ("other", "db", Port(ANY_PORT, "UDP"))} == found
