"""The generation service's pod is scheduled by a GPU, and not without it: a fake one, for a node's resources are what its device plugin says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.helm import sets
from tests.cluster.kubectl import Kubectl

RELEASE = NAMESPACE = "ragstone-gpu"
GPU = "nvidia.com/gpu"
_PATCH = "/status/capacity/nvidia.com~1gpu"  # JSON Pointer writes / as ~1
_LIMIT = 120.0  # seconds
VALUES = sets(
    engine__kind="vllm",
    gpu__count=1,
    model__name="org/model",
    tolerations=[{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
    resources__requests={"cpu": "10m", "memory": "64Mi"},  # what is left on a small node; the pod is scheduled, and need not run
    resources__limits={"memory": "512Mi", "ephemeral-storage": "4Gi"},
)
Run = Callable[..., str]


@pytest.fixture
def installed(kubectl: Kubectl, helm: Run, charts: Path, tmp_path: Path) -> Iterator[None]:
    """The chart alone, in a namespace that enforces Pod Security "restricted"."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    kubectl("apply", "--filename", "-", stdin=json.dumps(namespace))
    values = tmp_path / "values.json"
    values.write_text(json.dumps(VALUES))
    helm("install", RELEASE, str(charts / "generation"), "--namespace", NAMESPACE, "--values", str(values))
    yield
    helm("uninstall", RELEASE, "--namespace", NAMESPACE)
    kubectl("delete", "namespace", NAMESPACE, "--wait=true", limit=_LIMIT)


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """The node's name. What was put on it is taken away."""
    [found] = kubectl.json("get", "nodes")["items"]
    name: str = found["metadata"]["name"]
    assert GPU not in found["status"]["capacity"]
    yield name
    _patch(kubectl, name, {"op": "remove", "path": _PATCH})


def test_a_pod_waits_for_a_gpu_and_is_scheduled_by_it(installed: None, node: str, kubectl: Kubectl, eventually: Callable[..., Any]) -> None:
    waiting = eventually(lambda: _scheduled(kubectl, "False"), "the pod to be found unschedulable", _LIMIT)
    assert waiting["reason"] == "Unschedulable"
    assert f"Insufficient {GPU}" in waiting["message"]
    _patch(kubectl, node, {"op": "add", "path": _PATCH, "value": "1"})
    eventually(lambda: _scheduled(kubectl, "True"), "the pod to be scheduled", _LIMIT)
    [pod] = kubectl.json("get", "pods", "--namespace", NAMESPACE)["items"]
    assert pod["spec"]["nodeName"] == node
    assert pod["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"


def _scheduled(kubectl: Kubectl, status: str) -> dict[str, Any] | None:
    pods = kubectl.json("get", "pods", "--namespace", NAMESPACE)["items"]
    conditions = [each for pod in pods for each in pod["status"].get("conditions", []) if each["type"] == "PodScheduled"]
    return next((each for each in conditions if each["status"] == status), None)


def _patch(kubectl: Kubectl, node: str, change: dict[str, str]) -> None:
    """As Kubernetes' documentation advertises an extended resource; the kubelet takes it over into what can be allocated."""
    kubectl("patch", "node", node, "--subresource=status", "--type=json", f"--patch={json.dumps([change])}")
