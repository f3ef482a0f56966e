"""The cluster tests' Go modules pin what k8s/ and the packages of the test bed rely on."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cluster.builds import KUBERNETES, MODULES, pinned_definitions

K8S = Path(__file__).parents[2] / "k8s"
# The name of each module's version in k8s/versions.env.
NAMES = {
    "github.com/argoproj/argo-cd/v3": "ARGO_CD",
    "github.com/cert-manager/cert-manager": "CERT_MANAGER",
    "github.com/external-secrets/external-secrets": "EXTERNAL_SECRETS",
    "github.com/kedacore/keda/v2": "KEDA",
    "github.com/prometheus-operator/prometheus-operator": "PROMETHEUS_OPERATOR",
    "sigs.k8s.io/gateway-api": "GATEWAY_API",
}


def _required(component: str) -> dict[str, str]:
    return dict(re.findall(r"(\S+) (v\S+)", (MODULES / component / "go.mod").read_text()))


def test_the_definitions_are_those_of_a_development_cluster() -> None:
    versions = dict(re.findall(r"^(\w+)=(\S+)$", (K8S / "versions.env").read_text(), re.MULTILINE))
    assert {NAMES[module]: version for module, version in pinned_definitions().items()} == {name: versions[name] for name in NAMES.values()}


def test_every_module_of_kubernetes_is_of_the_version_that_the_binaries_state() -> None:
    text = (MODULES / "kubernetes" / "go.mod").read_text()
    assert _required("kubernetes")["k8s.io/kubernetes"] == KUBERNETES
    replaced = re.findall(r"^\tk8s\.io/\S+ => k8s\.io/\S+ (v\S+)$", text, re.MULTILINE)
    assert set(replaced) == {KUBERNETES.replace("v1.", "v0.", 1)}


def test_traefik_is_built_in_the_version_that_the_gateway_runs() -> None:
    image = re.findall(r"image: \S+/traefik:(\S+)", (K8S / "gateway" / "traefik.yaml").read_text())
    assert image == [_required("traefik")["github.com/traefik/traefik/v3"]]
