"""The rendered NetworkPolicies leave open exactly the edges that docs/charts.md documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.charts.connectivity import Port
from tests.charts.edges import DOCUMENT, INTERNET, Edge, Row, documented, open_edges
from tests.charts.helm import UMBRELLA, Case, Helm, Rendered, ci_cases, merged, profiles, sets, subcharts
from tests.charts.pods import pods

pytestmark = pytest.mark.xdist_group("charts")
ROWS = documented(DOCUMENT.read_text(encoding="utf-8"))
NAMESPACES = ("ragstone-gateway", "monitoring", "edge", "keda")
COMPONENTS = {*subcharts(), *(f"{chart}-test" for chart in subcharts()), "object-store-buckets"}
# Edges of the table that a profile closes, by a word of their gates: dev has one replica of each store, and nothing scales by the queue.
CLOSED = {"ragstone-dev": ("kedaNamespace", "replicas")}
SMALL = next(case for case in profiles() if case.name == f"{UMBRELLA}-small")


def edges_of(rows: Iterable[Row]) -> set[Edge]:
    return {edge for row in rows for edge in row.edges}


def shown(found: set[Edge]) -> list[str]:
    return sorted(f"{source} -> {target} {port}" for source, target, port in found)


def rows_of(rendered: Rendered) -> list[Row]:
    """Those between components that are there, and between them and others."""
    absent = COMPONENTS - {pod.labels["app.kubernetes.io/name"] for pod in pods(rendered.objects)}
    return [row for row in ROWS if not {row.source, row.target} & absent]


def alone(helm: Helm, case: Case) -> Rendered:
    """The case without its examples of ways to stores outside the release."""
    ways = case.values.get("global", {}).get("external", {}).get("egress")
    return helm.render(case.chart, merged(case.values, sets(**{"global__external__egress": []}))) if ways else helm.case(case)


@pytest.fixture(scope="module")
def opened(helm: Helm) -> dict[str, set[Edge]]:
    """The edges that each profile leaves open, and the case with Mongo Express, by name."""
    (express,) = (case for case in ci_cases(UMBRELLA) if case.name == "ragstone-ci-cluster")
    return {case.name: open_edges(alone(helm, case), NAMESPACES) for case in [*profiles(), express]}


@pytest.mark.parametrize("case", profiles(), ids=lambda case: case.name)
def test_open_edges_are_the_documented_ones(helm: Helm, opened: dict[str, set[Edge]], case: Case) -> None:
    rows = [row for row in rows_of(helm.case(case)) if not any(word in row.gate for word in CLOSED.get(case.name, ()))]
    assert shown(opened[case.name]) == shown(edges_of(rows))


def test_every_documented_edge_is_open_in_some_profile(opened: dict[str, set[Edge]]) -> None:
    assert shown(edges_of(ROWS) - set().union(*opened.values())) == []


def test_ways_to_stores_outside_are_for_those_that_use_them(helm: Helm, opened: dict[str, set[Edge]]) -> None:
    (case,) = (case for case in profiles() if case.name == "ragstone-production")
    more = open_edges(helm.case(case), NAMESPACES) - opened[case.name]
    assert {source for source, target, port in more if (target, port.number) == ("any address", 5432)} == {
        "orchestrator",
        "worker",
        "lakefs",
        "mlflow",
        "backup",
    }
    assert {port.number for _, _, port in more} == {443, 5432}


def moved(rows: list[Row], old: str, new: str) -> set[Edge]:
    return {(source.replace(old, new), target, port) for source, target, port in edges_of(rows)}


def without(rows: list[Row], gate: str) -> set[Edge]:
    return edges_of(row for row in rows if gate not in row.gate)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (sets(networkPolicy__gatewayNamespace="edge"), lambda rows: moved(rows, "ragstone-gateway", "edge")),
        (sets(networkPolicy__gatewayNamespace=""), lambda rows: without(rows, "gatewayNamespace")),
        (sets(networkPolicy__monitoringNamespace="edge"), lambda rows: moved(rows, "monitoring", "edge")),
        (sets(networkPolicy__monitoringNamespace=""), lambda rows: without(rows, "monitoringNamespace")),
        (sets(networkPolicy__modelEgress=False), lambda rows: without(rows, "modelEgress")),
        (sets(model={"baked": True, "cache": {"persistent": False}}), lambda rows: without(rows, "model.baked")),
        (sets(model__name="/models/own"), lambda rows: without(rows, "model.name")),
        (sets(tests__enabled=False), lambda rows: {edge for edge in edges_of(rows) if "orchestrator-test" not in edge}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_gate_removes_or_moves_its_edge_and_nothing_else(
    helm: Helm, values: dict[str, Any], expected: Callable[[list[Row]], set[Edge]]
) -> None:
    rendered = helm.render(UMBRELLA, merged(SMALL.values, {"orchestrator": values}))
    assert shown(open_edges(rendered, NAMESPACES)) == shown(expected(rows_of(helm.case(SMALL))))


def test_an_extra_rule_opens_what_it_says(helm: Helm) -> None:
    way_out = {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}], "ports": [{"port": 9000}]}
    way_in = {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}], "ports": [{"port": 8642}]}
    values = {"orchestrator": {"networkPolicy": {"extraEgress": [way_out], "extraIngress": [way_in]}}}
    opened = open_edges(helm.render(UMBRELLA, merged(SMALL.values, values)), NAMESPACES) - edges_of(ROWS)
    assert opened == {("orchestrator", "private network", Port(9000)), ("namespace edge", "orchestrator", Port(8642))}


def test_the_table_is_read() -> None:
    table = "x\n| from | to | port | gate |\n|---|---|---|---|\n| namespace `a` | `b` | 1/TCP, 2/UDP | always |\n| `b` | public addresses | 443/TCP | `g` |\n\n| no |"
    assert documented(table) == [
        Row("namespace a", "b", (Port(1), Port(2, "UDP")), "always"),
        Row("b", INTERNET, (Port(443),), "g"),
    ]
    several = table.replace("namespace `a`", "`a`, `c`")
    assert [(row.source, row.target) for row in documented(several)] == [("a", "b"), ("c", "b"), ("b", INTERNET)]
    for broken in ("", table.replace("443/TCP", "all")):
        with pytest.raises(ValueError, match=r"no (table|port)"):
            documented(broken)
