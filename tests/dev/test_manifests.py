"""What a fresh cluster gets first: namespaces, gateway, registry, versions."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from ragstone import __version__
from tests.charts.helm import ROOT
from tests.charts.pods import pods
from tests.charts.restricted import violations
from tests.dev.repository import K8S, documents, host_ports, kind_config, manifest, manifest_files, versions

# kubernetes-validate has Kubernetes's own kinds; the API server of the real-cluster tests validates these.
CUSTOM = {"Gateway", "GatewayClass"}
MODULES = {
    "GATEWAY_API": "sigs.k8s.io/gateway-api",
    "PROMETHEUS_OPERATOR": "github.com/prometheus-operator/prometheus-operator",
    "CERT_MANAGER": "github.com/cert-manager/cert-manager",
    "EXTERNAL_SECRETS": "github.com/external-secrets/external-secrets",
    "KEDA": "github.com/kedacore/keda/v2",
    "ARGO_CD": "github.com/argoproj/argo-cd/v3",
}
POD_SECURITY = "pod-security.kubernetes.io/"


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_the_manifests_are_valid(version: str) -> None:
    for path in manifest_files():
        for each in documents(path):
            if each["kind"] not in CUSTOM:
                kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("kustomization", sorted(K8S.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_a_kustomization_names_files_that_exist_and_leaves_none_out(kustomization: Path) -> None:
    named = {(kustomization.parent / each).resolve() for each in yaml.safe_load(kustomization.read_text(encoding="utf-8"))["resources"]}
    assert all(each.exists() for each in named)
    assert {each for each in kustomization.parent.glob("*.yaml") if each != kustomization} <= named


def test_namespaces_enforce_pod_security() -> None:
    levels = {
        each["metadata"]["name"]: [each["metadata"]["labels"][POD_SECURITY + mode] for mode in ("enforce", "audit", "warn")]
        for each in documents(K8S / "namespaces.yaml")
    }
    assert levels == {
        "ragstone": ["restricted"] * 3,
        "ragstone-gateway": ["restricted"] * 3,
        "monitoring": ["baseline", "restricted", "restricted"],
    }


def test_the_gateways_pod_meets_pod_security_restricted() -> None:
    (pod,) = pods(documents(K8S / "gateway" / "traefik.yaml"))
    assert violations(pod.spec, pod.annotations) == []
    assert pod.containers[0]["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("file", ["restore/restore.yaml", "models/models.yaml"])
def test_a_pod_that_waits_for_files_meets_pod_security_restricted_and_is_of_this_version(file: str) -> None:
    (pod,) = pods(documents(K8S / file))
    assert violations(pod.spec, pod.annotations) == []
    assert pod.containers[0]["image"] == f"ragstone/orchestrator:{__version__}"


def test_the_gateway_listens_where_its_listeners_and_its_service_say() -> None:
    (container,) = manifest("Deployment", "traefik")["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    addresses = dict(re.findall(r"^--entrypoints\.(\w+)\.address=:(\d+)$", "\n".join(container["args"]), re.MULTILINE))
    assert {name: str(port) for name, port in ports.items()} == {
        "web": addresses["web"],
        "websecure": addresses["websecure"],
        "ping": addresses["traefik"],
    }
    listeners = manifest("Gateway", "ragstone")["spec"]["listeners"]
    (https,) = yaml.safe_load(
        yaml.safe_load((K8S / "gateway-https" / "kustomization.yaml").read_text(encoding="utf-8"))["patches"][0]["patch"]
    )
    assert [(each["name"], each["port"]) for each in [*listeners, https["value"]]] == [
        ("http", ports["web"]),
        ("https", ports["websecure"]),
    ]
    assert https["value"]["allowedRoutes"] == listeners[0]["allowedRoutes"]
    assert {each["name"]: each["targetPort"] for each in manifest("Service", "traefik")["spec"]["ports"]} == {
        "web": "web",
        "websecure": "websecure",
    }


def test_the_gateway_tells_nobody_and_shows_no_dashboard() -> None:
    args = manifest("Deployment", "traefik")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--global.checknewversion=false", "--global.sendanonymoususage=false"} <= set(args)
    assert not [each for each in args if each.startswith("--api")]


def test_the_gateway_cuts_no_long_upload_or_stream() -> None:
    args = manifest("Deployment", "traefik")["spec"]["template"]["spec"]["containers"][0]["args"]
    limits = [each.split(".")[1] for each in args if each.endswith(".respondingtimeouts.readtimeout=1h")]
    assert sorted(limits) == ["web", "websecure"]


def test_the_gateway_may_write_nothing_but_status() -> None:
    for rule in manifest("ClusterRole", "ragstone-gateway")["rules"]:
        if all(resource.endswith("/status") for resource in rule["resources"]):
            assert rule["verbs"] == ["update"]
        else:
            assert rule["verbs"] == ["list", "watch"]
            assert not [resource for resource in rule["resources"] if "/" in resource or resource == "*"]
        assert "*" not in rule["apiGroups"]


def test_the_node_ports_of_the_gateway_are_mapped_to_loopback_alone() -> None:
    ports = {each["name"]: each["nodePort"] for each in manifest("Service", "traefik")["spec"]["ports"]}
    assert host_ports() == {ports["web"]: 8080, ports["websecure"]: 8443}
    (node,) = kind_config()["nodes"]
    assert {each["listenAddress"] for each in node["extraPortMappings"]} == {"127.0.0.1"}


def test_the_node_is_pinned_to_a_digest_of_kubernetes_1_34() -> None:
    assert re.fullmatch(r"kindest/node:v1\.34\.\d+@sha256:[0-9a-f]{64}", kind_config()["nodes"][0]["image"])


def test_the_registry_has_one_name_and_one_port_everywhere() -> None:
    script = (ROOT / "scripts" / "kind.sh").read_text(encoding="utf-8")
    (name,) = re.findall(r"^registry=(.+)$", script, re.MULTILINE)
    (port,) = re.findall(r"^registry_port=(.+)$", script, re.MULTILINE)
    hosting = yaml.safe_load(manifest("ConfigMap", "local-registry-hosting")["data"]["localRegistryHosting.v1"])
    assert hosting["host"] == f"localhost:{port}"
    assert f'[host."http://{name}:5000"]' in (K8S / "local-registry" / "hosts.toml").read_text(encoding="utf-8")
    (directory,) = re.findall(r'config_path = "(.+)"', kind_config()["containerdConfigPatches"][0])
    assert f"{directory}/localhost:$registry_port/hosts.toml" in script


def test_every_pinned_version_is_used_and_no_other() -> None:
    scripts = [ROOT / "scripts" / "kind.sh", K8S / "crds.sh", ROOT / "docs" / "development-cluster.md"]
    used = {name for path in scripts for name in re.findall(r"\$\{?([A-Z]+(?:_[A-Z]+)+|KEDA)\b", path.read_text(encoding="utf-8"))}
    assert used == set(versions())
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+|docker\.io/library/registry:\d+\.\d+\.\d+", each) for each in versions().values())


def test_the_test_bed_takes_the_definitions_of_the_same_versions() -> None:
    modules = dict(
        re.findall(
            r"^\s+(\S+) (v[\d.]+)$", (ROOT / "tests" / "cluster" / "go" / "crds" / "go.mod").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert {name: version for name, version in versions().items() if name in MODULES} == {
        name: modules[path] for name, path in MODULES.items()
    }
