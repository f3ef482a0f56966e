"""The Pod Security evaluator itself: a pod that is let in, and one change each that is not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.helm import merged
from tests.charts.restricted import violations

POD: dict[str, Any] = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
CONTAINER: dict[str, Any] = {"name": "c", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}


def spec(pod: dict[str, Any] | None = None, container: dict[str, Any] | None = None, group: str = "containers") -> dict[str, Any]:
    whole = {**POD, "containers": [CONTAINER]}
    return merged({**whole, group: [merged(CONTAINER, container or {})]}, pod or {})


def test_a_hardened_pod_is_let_in() -> None:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "s"}}]
    assert violations(spec({"volumes": volumes}, {"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}), {}) == []


@pytest.mark.parametrize(
    "pod",
    [
        {"hostNetwork": True},
        {"hostPID": True},
        {"hostIPC": True},
        {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]},
        {"volumes": [{"name": "a", "nfs": {}}]},
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        {"securityContext": {"runAsNonRoot": None}},
        {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"seccompProfile": None}},
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
        {"securityContext": {"seLinuxOptions": {"user": "root"}}},
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
    ],
)
def test_a_pod_that_is_refused(pod: dict[str, Any]) -> None:
    assert len(violations(spec(pod), {})) == 1


@pytest.mark.parametrize("group", ["initContainers", "containers", "ephemeralContainers"])
@pytest.mark.parametrize(
    "container",
    [
        {"securityContext": {"privileged": True}},
        {"securityContext": {"allowPrivilegeEscalation": None}},
        {"securityContext": {"runAsNonRoot": False}},
        {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}},
        {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
        {"securityContext": {"procMount": "Unmasked"}},
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        {"ports": [{"containerPort": 1, "hostPort": 1}]},
        {"livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 1}}},
        {"lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 1}}}},
    ],
)
def test_a_container_that_is_refused(group: str, container: dict[str, Any]) -> None:
    assert len(violations(spec(container=container, group=group), {})) == 1


def test_an_unconfined_apparmor_annotation_is_refused() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/c"
    assert violations(spec(), {key: "localhost/x"}) == []
    assert violations(spec(), {key: "unconfined"}) == [f"annotation {key} is unconfined"]
