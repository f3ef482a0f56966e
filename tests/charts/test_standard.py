"""The standard of docs/charts.md, on every pod and object that any chart renders. A new subchart joins by being there, with its ci/*-values.yaml."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.charts.connectivity import policy_types, selects
from tests.charts.helm import UMBRELLA, Case, Helm, ci_cases, profiles, subcharts
from tests.charts.pods import HOOK, PodTemplate, pods
from tests.charts.restricted import violations

pytestmark = pytest.mark.xdist_group("charts")
CASES = [*profiles(), *(case for chart in (UMBRELLA, *subcharts()) for case in ci_cases(chart))]
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SECRET_NAMES = ("PASSWORD", "TOKEN", "SECRET", "API_KEY", "PRIVATE_KEY")


@pytest.mark.parametrize("chart", subcharts())
def test_a_subchart_renders_alone_and_lints(helm: Helm, chart: str) -> None:
    assert ci_cases(chart), f"charts/{chart}/ci holds no *-values.yaml"
    for case in ci_cases(chart):
        assert pods(helm.case(case).objects)
        report = helm_python.lint(helm.path(chart), dict(case.values), strict=True)
        assert [message for message in report["messages"] if message["severity"] > 1] == []


@EACH_CASE
def test_every_pod_is_let_in_by_pod_security_restricted(helm: Helm, case: Case) -> None:
    for pod in pods(helm.case(case).objects):
        assert violations(pod.spec, pod.annotations) == [], pod.name


@EACH_CASE
def test_every_container_runs_as_a_numbered_user_on_a_read_only_root(helm: Helm, case: Case) -> None:
    for pod in pods(helm.case(case).objects):
        user = pod.spec.get("securityContext", {}).get("runAsUser", 0)
        for container in pod.all_containers:
            context = container["securityContext"]
            assert context.get("runAsUser", user) >= 10000, f"{pod.name} {container['name']}"
            assert context.get("readOnlyRootFilesystem") is True, f"{pod.name} {container['name']}"


@EACH_CASE
def test_pods_have_an_account_of_their_own_and_no_token_without_rights(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    accounts = {each["metadata"]["name"]: each for each in rendered.of_kind("ServiceAccount")}
    bindings = rendered.of_kind("RoleBinding", "ClusterRoleBinding")
    entitled = {subject["name"] for binding in bindings for subject in binding.get("subjects", [])}
    for pod in pods(rendered.objects):
        account = accounts[pod.spec["serviceAccountName"]]
        named = account["metadata"]["labels"]["app.kubernetes.io/name"]
        assert pod.owner["metadata"]["labels"]["app.kubernetes.io/name"] in (named, f"{named}-test"), "the account is another component's"
        if account["metadata"]["name"] not in entitled:
            assert pod.spec.get("automountServiceAccountToken") is False, pod.name
            assert account.get("automountServiceAccountToken") is False
    accounts_of = {pod.is_test: pod.spec["serviceAccountName"] for pod in pods(rendered.objects)}
    assert len(set(accounts_of.values())) == len(accounts_of), "a test pod has the account of what it tests"
    rules = [rule for role in rendered.of_kind("Role", "ClusterRole") for rule in role["rules"]]
    assert not any("*" in rule.get(part, []) for rule in rules for part in ("verbs", "resources", "apiGroups")), "a wildcard in RBAC"


@EACH_CASE
def test_probes_are_there_and_each_has_its_purpose(helm: Helm, case: Case) -> None:
    for pod in filter(lambda pod: pod.is_served, pods(helm.case(case).objects)):
        for container in pod.containers:
            startup, ready, live = (container[f"{each}Probe"] for each in ("startup", "readiness", "liveness"))
            assert action(ready) != action(live), f"{pod.name}: what is not ready would be restarted"
            assert "initialDelaySeconds" not in {*startup, *ready, *live}, "the startup probe waits, and ends when it may"
            assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
            assert live["periodSeconds"] * live["failureThreshold"] >= 30, "a busy process would be restarted"


def action(probe: dict[str, Any]) -> dict[str, Any]:
    return {kind: probe[kind] for kind in ("httpGet", "grpc", "exec", "tcpSocket") if kind in probe}


@EACH_CASE
def test_every_container_has_requests_and_a_memory_limit(helm: Helm, case: Case) -> None:
    for pod in pods(helm.case(case).objects):
        for container in pod.all_containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), f"{pod.name} {container['name']}"
            assert "memory" in resources["limits"], f"{pod.name} {container['name']}"


@EACH_CASE
def test_one_disruption_budget_selects_each_served_pod_and_lets_nodes_drain(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    budgets = rendered.of_kind("PodDisruptionBudget")
    for pod in filter(lambda pod: pod.is_served, pods(rendered.objects)):
        assert len([each for each in budgets if selects(each["spec"]["selector"], pod.labels)]) == 1, pod.name
    for budget in budgets:
        assert budget["spec"].get("maxUnavailable") or pods_of(budget, rendered.objects) > 1, "no node could be drained"


def pods_of(budget: dict[str, Any], objects: list[dict[str, Any]]) -> int:
    return sum(pod.replicas for pod in pods(objects) if selects(budget["spec"]["selector"], pod.labels))


@EACH_CASE
def test_several_replicas_are_spread(helm: Helm, case: Case) -> None:
    for pod in pods(helm.case(case).objects):
        if pod.is_served and pod.replicas > 1:
            spread = pod.spec["topologySpreadConstraints"]
            assert all(selects(each["labelSelector"], pod.labels) for each in spread)
            assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


@EACH_CASE
def test_pods_go_on_serving_until_gateways_know_and_then_have_time_to_stop(helm: Helm, case: Case) -> None:
    for pod in filter(lambda pod: pod.is_served, pods(helm.case(case).objects)):
        sleeps = [container["lifecycle"]["preStop"]["sleep"]["seconds"] for container in pod.containers if container.get("ports")]
        assert all(seconds >= 1 for seconds in sleeps)
        assert pod.spec["terminationGracePeriodSeconds"] >= max(sleeps, default=0) + 10


@EACH_CASE
def test_a_deployment_with_a_claim_has_one_pod_at_a_time(helm: Helm, case: Case) -> None:
    """A second one would wait for the volume, or find the data directory owned by the first."""
    made = {each["metadata"]["name"] for each in helm.case(case).of_kind("PersistentVolumeClaim")}
    for deployment in helm.case(case).of_kind("Deployment"):
        (pod,) = pods([deployment])
        if made & {source["claimName"] for source in pod.volumes("persistentVolumeClaim")}:
            assert deployment["spec"]["strategy"] == {"type": "Recreate"}
            assert pod.replicas == 1


@EACH_CASE
def test_a_checksum_stands_for_each_config_map_that_a_pod_reads(helm: Helm, case: Case) -> None:
    made = {each["metadata"]["name"] for each in helm.case(case).of_kind("ConfigMap")}
    for pod in filter(lambda pod: pod.is_served, pods(helm.case(case).objects)):
        assert len(checksums(pod)) == len(config_maps(pod) & made), pod.name


@pytest.mark.parametrize("chart", subcharts())
def test_the_checksum_changes_with_the_data_and_with_nothing_else(helm: Helm, chart: str) -> None:
    seen: set[tuple[str, str]] = set()
    for rendered in (helm.case(case) for case in ci_cases(chart)):
        data = {each["metadata"]["name"]: repr(each["data"]) for each in rendered.of_kind("ConfigMap")}
        for pod in filter(lambda pod: pod.is_served, pods(rendered.objects)):
            seen.add((repr(sorted(checksums(pod).items())), repr([data[name] for name in sorted(config_maps(pod) & set(data))])))
    assert len({sums for sums, _ in seen}) == len({texts for _, texts in seen}) == len(seen)


def checksums(pod: PodTemplate) -> dict[str, str]:
    return {key: value for key, value in pod.annotations.items() if key.startswith("checksum/")}


def config_maps(pod: PodTemplate) -> set[str]:
    """Names of the ConfigMaps that the pod reads, from its environment or as files."""
    sources = [source for container in pod.all_containers for source in container.get("envFrom", [])]
    keys = [each.get("valueFrom", {}) for container in pod.all_containers for each in container.get("env", [])]
    names = {source["configMapRef"]["name"] for source in sources if "configMapRef" in source}
    names |= {key["configMapKeyRef"]["name"] for key in keys if "configMapKeyRef" in key}
    return names | {source["name"] for source in pod.volumes("configMap")}


@EACH_CASE
def test_no_hooks_but_tests(helm: Helm, case: Case) -> None:
    for each in helm.case(case).objects:
        assert each["metadata"].get("annotations", {}).get(HOOK, "test") == "test", each["metadata"]["name"]


@EACH_CASE
def test_no_secret_is_made_and_none_stands_in_a_manifest(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    assert rendered.of_kind("Secret") == []
    assert "stringData" not in [key for each in rendered.objects for key in each]
    literals = {
        each["name"]: each["value"]
        for pod in pods(rendered.objects)
        for container in pod.all_containers
        for each in container.get("env", [])
        if "value" in each
    }
    settings = {key: value for each in rendered.of_kind("ConfigMap") for key, value in each["data"].items()}
    assert [name for name in {**literals, **settings} if name.endswith(SECRET_NAMES)] == []


@EACH_CASE
def test_every_pod_is_closed_in_both_directions_but_for_edges(helm: Helm, case: Case) -> None:
    policies = helm.case(case).of_kind("NetworkPolicy")
    for pod in pods(helm.case(case).objects):
        for direction in ("Ingress", "Egress"):
            selecting = [each for each in policies if direction in policy_types(each) and selects(each["spec"]["podSelector"], pod.labels)]
            assert selecting, f"{pod.name} is open: {direction}"


@EACH_CASE
def test_the_umbrella_denies_what_no_component_names(helm: Helm, case: Case) -> None:
    if case.chart == UMBRELLA:
        closed = [
            each["spec"]
            for each in helm.case(case).of_kind("NetworkPolicy")
            if not each["spec"].get("ingress") and not each["spec"].get("egress")
        ]
        assert any(
            set(spec["policyTypes"]) == {"Ingress", "Egress"}
            and all(
                selects(spec["podSelector"], {"app.kubernetes.io/instance": "ragstone", **pod.labels})
                for pod in pods(helm.case(case).objects)
            )
            for spec in closed
        )


@pytest.mark.parametrize("case", [case for case in CASES if case.chart in (UMBRELLA, "orchestrator")], ids=lambda case: case.name)
def test_the_notes_say_how_to_ask(helm: Helm, case: Case) -> None:
    for word in ("rollout status", "curl", "/query", "$KEY"):
        assert word in helm.case(case).notes
