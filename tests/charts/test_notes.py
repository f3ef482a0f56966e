"""The notes that Helm prints after an installation can be followed as they stand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.helm import Helm, merged, sets

pytestmark = pytest.mark.xdist_group("charts")
MINIMAL = sets(apiKeys__existingSecret="ragstone-api-keys")
WILDCARD = {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["*.example.org"]}


def notes(helm: Helm, values: dict[str, Any]) -> str:
    return helm.render("orchestrator", merged(MINIMAL, values)).notes


@pytest.mark.parametrize("values", [sets(httpRoute=WILDCARD), sets(ingress={"enabled": True, "host": "*.example.org"})], ids=str)
def test_a_wildcard_is_shown_by_a_name_that_it_covers(helm: Helm, values: dict[str, Any]) -> None:
    assert "http://any.example.org/query" in notes(helm, values)
    assert "*" not in notes(helm, values)


def test_the_secret_gets_the_tests_key_only_where_the_test_looks_for_it(helm: Helm) -> None:
    command = "--from-literal=test-api-key="
    assert command in notes(helm, {})
    assert command in notes(helm, sets(tests__apiKey__existingSecret="ragstone-api-keys"))
    assert command not in notes(helm, sets(tests__apiKey__existingSecret="other"))
    assert command not in notes(helm, sets(tests__enabled=False))


def test_they_name_the_namespace_that_is_let_in(helm: Helm) -> None:
    admits = "The NetworkPolicy admits pods of namespace edge."
    exposed = sets(httpRoute=WILDCARD, networkPolicy__gatewayNamespace="edge")
    assert admits in notes(helm, exposed)
    assert admits not in notes(helm, merged(exposed, sets(networkPolicy__enabled=False)))
    assert admits not in notes(helm, sets(networkPolicy__gatewayNamespace="edge"))
