"""What can't work on a cluster ends in a sentence that says what to do, not in a hang."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.installing import KEYS_SECRET, Release

LIMIT = 90.0  # seconds until the sentence is there


@pytest.fixture
def broken(new_release: Callable[[str, str], Release]) -> Iterator[Release]:
    """A namespace with the keys, in which the test installs something that can't become ready."""
    release = new_release("ragstone", "ragstone-broken")
    release.make_namespace()
    yield release
    release.uninstall()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        pytest.param(("orchestrator.resources.requests.memory=900Gi", "orchestrator.resources.limits.memory=900Gi"), "memory", id="node too small"),
        pytest.param(("orchestrator.data.storageClassName=absent",), "StorageClass", id="no StorageClass"),
        pytest.param(("orchestrator.image.tag=absent",), "image", id="image can't be pulled"),
        pytest.param(("orchestrator.apiKeys.existingSecret=absent",), "absent", id="secret missing"),
        pytest.param(("orchestrator.nodeSelector.ragstone=absent",), "node", id="no node fits"),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_starting_is_told_in_a_sentence(
    broken: Release, eventually: Callable[..., Any], changed: tuple[str, ...], told: str
) -> None:
    options = [word for setting in changed for word in ("--set", setting)]
    broken.start(*options)
    sentences = eventually(lambda: [line for line in broken.why() if told in line], f"a sentence with {told!r}", LIMIT)
    assert sentences[0].endswith("."), sentences


def test_a_missing_crd_is_refused_by_helm_before_anything_is_made(broken: Release, refusal: Callable[..., str]) -> None:
    crd = broken.kubectl("get", "crd", "servicemonitors.monitoring.coreos.com", "--output", "json")
    broken.kubectl("delete", "crd", "servicemonitors.monitoring.coreos.com", "--wait", limit=90.0)
    try:
        said = broken.refused("--set", "orchestrator.metrics.serviceMonitor.enabled=true")
    finally:
        broken.kubectl("create", "--filename", "-", stdin=crd)
    assert "ServiceMonitor" in said
    assert "CRDs" in said
    assert broken.pods() == []


def test_a_second_release_with_a_taken_host_port_is_refused(broken: Release, refusal: Callable[..., str]) -> None:
    """Traefik holds the node's port 30080."""
    taken = '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken", "namespace": "%s"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}}'
    assert "provided port is already allocated" in refusal("create", "--filename", "-", stdin=taken % broken.namespace)


def test_the_secret_of_the_keys_is_named_when_it_lacks_its_entry(broken: Release, eventually: Callable[..., Any]) -> None:
    broken.kubectl("delete", "secret", "--namespace", broken.namespace, KEYS_SECRET)
    broken.kubectl("create", "secret", "generic", "--namespace", broken.namespace, KEYS_SECRET, "--from-literal=other=x")
    broken.start()
    assert eventually(lambda: [line for line in broken.why() if "api-keys" in line], "a sentence with the missing entry", LIMIT)
