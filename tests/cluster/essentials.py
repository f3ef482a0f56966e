"""What a bare cluster gets before ragstone: custom resource definitions, DNS, storage, namespaces, the gateway."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx

from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import HERE, REPOSITORY
from tests.cluster.waits import reasons, wait_for

MANIFESTS = HERE / "manifests"
K8S = REPOSITORY / "k8s"
_APPLY = 120.0  # seconds
_READY = 120.0


def install_definitions(kubectl: Kubectl, definitions: Path) -> None:
    """Makes the API server know the custom resources, and waits until it serves them. Raises `ClusterError`."""
    kubectl("apply", "--server-side", "--force-conflicts", "--filename", definitions, limit=_APPLY)
    kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=60s", limit=_APPLY)


def install_basics(kubectl: Kubectl) -> None:
    """DNS and storage, which kind brings along."""
    kubectl("apply", "--server-side", "--filename", MANIFESTS, limit=_APPLY)


def install_gateway(kubectl: Kubectl) -> None:
    """The namespaces and Traefik, from k8s/. The custom resource definitions must be there."""
    kubectl("apply", "--server-side", "--filename", K8S / "namespaces.yaml", limit=_APPLY)
    kubectl("apply", "--server-side", "--kustomize", K8S / "gateway", limit=_APPLY)


def wait_until_served(kubectl: Kubectl, gateway_url: str) -> None:
    """Until DNS is ready and the gateway answers (404: no route yet). Raises `ClusterError` with the reasons."""
    for namespace, name in (("kube-system", "coredns"), ("ragstone-gateway", "traefik")):
        ready = partial(_available, kubectl, namespace, name)
        wait_for(f"the deployment {name} in {namespace}", ready, _READY, why=partial(reasons, kubectl, namespace))
    answers = partial(_answers, gateway_url)
    wait_for(f"an answer of the gateway at {gateway_url}", answers, _READY, why=partial(reasons, kubectl, "ragstone-gateway"))


def _available(kubectl: Kubectl, namespace: str, name: str) -> bool:
    deployment = kubectl.json("get", "deployment", name, "--namespace", namespace)
    return bool(deployment.get("status", {}).get("availableReplicas"))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == httpx.codes.NOT_FOUND
    except httpx.HTTPError:
        return False
