"""Every manifest is what the API server of Kubernetes 1.34 and of the newest known version would take, and its parts hang together."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.charts.connectivity import selects
from tests.charts.helm import NAMESPACE, UMBRELLA, Case, Helm, Manifest, Rendered, cases, ci_cases, profiles
from tests.charts.pods import PodTemplate, pods

pytestmark = pytest.mark.xdist_group("charts")
EACH_CASE = pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
VERSIONS = ["1.34", kubernetes_validate.latest_version()]
# Custom resources: their schemas are in the CRDs, and the cluster tests send them to an API server that has those (server-side dry run).
CUSTOM = {
    "HTTPRoute": "gateway.networking.k8s.io",
    "ServiceMonitor": "monitoring.coreos.com",
    "ExternalSecret": "external-secrets.io",
    "ScaledObject": "keda.sh",
}
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def schema_errors(manifest: Manifest, version: str) -> list[str]:
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{manifest['kind']} {manifest['metadata']['name']}: {'.'.join(map(str, error.path))}: {error.message}"]
    return []


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid_strictly(helm: Helm, version: str) -> None:
    """For the version that is tried in real pods, each different one that makes pods, and of the others one of each name; for the newest, dev's."""
    wanted = cases() if version == VERSIONS[0] else profiles()[:1]
    found = [each for case in wanted for each in helm.case(case).objects if each["kind"] not in CUSTOM]
    manifests = {f"{each['kind']} {json.dumps(each if pods([each]) else each['metadata']['name'])}": each for each in found}
    assert [error for each in manifests.values() for error in schema_errors(each, version)] == []


def test_an_unknown_field_is_seen() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"port": []}}
    assert len(schema_errors(wrong, "1.34")) == 1


@EACH_CASE
def test_custom_resources_are_of_the_known_groups(helm: Helm, case: Case) -> None:
    for each in helm.case(case).of_kind(*CUSTOM):
        assert each["apiVersion"].split("/")[0] == CUSTOM[each["kind"]]


def assert_well_formed(rendered: Rendered) -> None:
    assert max(Counter((each["kind"], each["metadata"]["name"]) for each in rendered.objects).values()) == 1, "two objects of one name"
    for each in rendered.objects:
        about = each["metadata"]
        assert NAME.fullmatch(about["name"]), about["name"]
        assert about["namespace"] == NAMESPACE
        for key, value in about["labels"].items():
            assert isinstance(value, str), f"{about['name']}: label {key} is {value!r}"
            assert LABEL.fullmatch(value), f"{about['name']}: label {key} is {value!r}"
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "helm.sh/chart"} <= set(
            about["labels"]
        )
    assert not re.search(r"<no value>|%!|<nil>|map\[", rendered.text + rendered.notes), "a value was printed that is none"


def test_a_route_joins_what_its_parents_say_and_a_gateway_by_default(helm: Helm) -> None:
    (case,) = (case for case in cases() if case.name == "orchestrator-ci-everything")
    (route,) = helm.case(case).of_kind("HTTPRoute")
    default = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    assert route["spec"]["parentRefs"] == [{**default, **each} for each in case.values["httpRoute"]["parentRefs"]]
    assert "" in [each["group"] for each in route["spec"]["parentRefs"]]


@pytest.mark.parametrize(
    ("timeouts", "expected"),
    [
        ({}, {"request": "0s", "backendRequest": "0s"}),
        ({"request": None}, {"backendRequest": "0s"}),
        ({"request": None, "backendRequest": None}, None),
        (None, None),
    ],
)
def test_a_routes_time_outs_can_be_taken_back(helm: Helm, timeouts: dict[str, Any] | None, expected: dict[str, str] | None) -> None:
    route = {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["a.example.org"], "timeouts": timeouts}
    values = {"apiKeys": {"existingSecret": "keys"}, "httpRoute": route}
    for rendered in (helm.render("orchestrator", values), helm.render("ragstone", {"orchestrator": values})):
        (made,) = rendered.of_kind("HTTPRoute")
        assert made["spec"]["rules"][0].get("timeouts") == expected


def test_a_monitors_labels_override_none_of_the_charts(helm: Helm) -> None:
    monitor = {"enabled": True, "labels": {"app.kubernetes.io/name": "stolen", "helm.sh/chart": "stolen", "release": "prometheus"}}
    rendered = helm.render("orchestrator", {"apiKeys": {"existingSecret": "keys"}, "metrics": {"serviceMonitor": monitor}})
    (made,) = rendered.of_kind("ServiceMonitor")
    (service,) = rendered.of_kind("Service")
    assert made["metadata"]["labels"] == {**service["metadata"]["labels"], "release": "prometheus"}


@EACH_CASE
def test_names_labels_and_namespaces_are_well_formed(helm: Helm, case: Case) -> None:
    assert_well_formed(helm.case(case))


AWKWARD = ["x" * 53, "a.b", "9lives", "true"]


@pytest.mark.parametrize(
    ("case", "release"),
    [
        *((case, release) for case in ci_cases("orchestrator") for release in AWKWARD),
        *((case, release) for case in (*profiles(), *ci_cases(UMBRELLA)) for release in AWKWARD[:2]),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else value,
)
def test_they_are_for_awkward_release_names_too(helm: Helm, case: Case, release: str) -> None:
    rendered = helm.render(case.chart, case.values, release=release)
    assert_well_formed(rendered)
    assert_hangs_together(rendered)


@EACH_CASE
def test_what_refers_to_something_finds_it(helm: Helm, case: Case) -> None:
    assert_hangs_together(helm.case(case))


def assert_hangs_together(rendered: Rendered) -> None:
    made = pods(rendered.objects)
    for pod in made:
        assert_pod_is_whole(pod, rendered)
    for service in rendered.of_kind("Service"):
        chosen = [pod for pod in made if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        assert chosen, f"Service {service['metadata']['name']} selects no pod"
        assert not any(pod.is_test for pod in chosen), "a Service selects a test pod"
        for port in service["spec"]["ports"]:
            assert all(port["targetPort"] in port_names(pod) for pod in chosen), f"no container has a port {port['targetPort']}"
    services = {each["metadata"]["name"]: each["spec"]["ports"] for each in rendered.of_kind("Service")}
    for route in rendered.of_kind("HTTPRoute"):
        for backend in (backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]):
            assert backend["port"] in [port["port"] for port in services[backend["name"]]]
    for ingress in rendered.of_kind("Ingress"):
        for path in (path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]):
            backend = path["backend"]["service"]
            assert backend["port"]["name"] in [port["name"] for port in services[backend["name"]]]
    for monitor in rendered.of_kind("ServiceMonitor"):
        watched = [each for each in rendered.of_kind("Service") if selects(monitor["spec"]["selector"], each["metadata"]["labels"])]
        assert len(watched) == 1
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {port["name"] for port in watched[0]["spec"]["ports"]}


def assert_pod_is_whole(pod: PodTemplate, rendered: Rendered) -> None:
    if selector := pod.owner["spec"].get("selector"):
        assert selects(selector, pod.labels), f"{pod.name} does not select its own pods"
    volumes = {volume["name"] for volume in pod.spec.get("volumes", [])} | set(pod.claim_templates)
    mounts = {mount["name"] for container in pod.all_containers for mount in container.get("volumeMounts", [])}
    assert volumes == mounts, f"{pod.name}: volumes {volumes}, mounted {mounts}"
    made_for = [each for each in rendered.of_kind("PersistentVolumeClaim") if selects(selector_of(each), pod.labels)]
    claims = {each["metadata"]["name"] for each in made_for}
    used = {source["claimName"] for source in pod.volumes("persistentVolumeClaim")}
    assert pod.is_test or claims <= used, f"{pod.name} leaves claims {claims - used} unused"
    settings = {each["metadata"]["name"] for each in rendered.of_kind("ConfigMap")}
    for name in (source["configMapRef"]["name"] for container in pod.all_containers for source in container.get("envFrom", [])):
        assert name in settings, f"{pod.name} reads ConfigMap {name}, which nobody makes"
    for container in pod.all_containers:
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        names = [each["name"] for each in container.get("env", [])]
        assert len(set(paths)) == len(paths), f"{pod.name}: two mounts at one path"
        assert len(set(names)) == len(names), f"{pod.name}: a variable is set twice"
        assert all(isinstance(each.get("value", ""), str) for each in container.get("env", []))
        for probe in (container[each] for each in ("startupProbe", "readinessProbe", "livenessProbe") if each in container):
            port = (probe.get("httpGet") or probe["tcpSocket"])["port"]
            assert port in {each["name"] for each in container["ports"]} | set(port_names(pod).values()), f"{pod.name}: no port {port}"


def selector_of(manifest: Manifest) -> dict[str, Any]:
    """What selects the pods of the component that the object belongs to."""
    labels = manifest["metadata"]["labels"]
    return {"matchLabels": {key: labels[key] for key in ("app.kubernetes.io/name", "app.kubernetes.io/instance")}}


def port_names(pod: PodTemplate) -> dict[str, Any]:
    """Names of the ports of the pod's containers, those that run beside them too; a name is at most 15 characters long."""
    found = {port["name"]: port["containerPort"] for container in pod.all_containers for port in container.get("ports", [])}
    assert all(len(name) <= 15 for name in found)
    return found
