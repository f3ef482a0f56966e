"""Bulk work in the worker's chart: off by default; who may make Jobs; and the pod that they are made of, as the runner makes them."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from ragstone.adapters.kubernetes_jobs import KubernetesJobs, PodTemplate
from ragstone.domain.bulk import BulkRun
from tests.charts.helm import UMBRELLA, Case, Helm, Manifest, Rendered, ci_cases, profiles
from tests.charts.pods import pods
from tests.charts.restricted import violations
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support import kubernetes_api

pytestmark = pytest.mark.xdist_group("charts")
(CLUSTER,) = (case for case in ci_cases(UMBRELLA) if case.name == "ragstone-ci-cluster")
(EVERYTHING,) = (case for case in ci_cases("worker") if case.name == "worker-ci-everything")
BULK = pytest.mark.parametrize("case", [CLUSTER, EVERYTHING], ids=lambda case: case.name)
JOBS = {"create", "get", "list", "watch", "delete"}


def template(rendered: Rendered) -> Manifest:
    (held,) = (each for each in rendered.of_kind("ConfigMap") if each["metadata"]["name"] == "ragstone-worker-bulk")
    loaded: Manifest = yaml.safe_load(held["data"]["pod.yaml"])
    return loaded


def makers(rendered: Rendered) -> set[str]:
    """The accounts that may do anything to Jobs."""
    roles = {
        each["metadata"]["name"]: {verb for rule in each["rules"] if {"jobs", "*"} & set(rule["resources"]) for verb in rule["verbs"]}
        for each in rendered.of_kind("Role", "ClusterRole")
    }
    return {
        subject["name"]
        for each in rendered.of_kind("RoleBinding", "ClusterRoleBinding")
        if roles[each["roleRef"]["name"]]
        for subject in each["subjects"]
    }


@pytest.mark.parametrize("case", [*profiles(), *(case for case in ci_cases("worker") if case != EVERYTHING)], ids=lambda case: case.name)
def test_unless_it_is_enabled_nobody_may_make_jobs(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    assert makers(rendered) == set()
    workers = [pod for pod in pods(rendered.objects) if pod.labels["app.kubernetes.io/name"] == "worker"]
    assert all(pod.spec["automountServiceAccountToken"] is False for pod in workers)
    assert "RAGSTONE_BULK" not in rendered.text


@BULK
def test_only_the_worker_may_make_jobs_and_nothing_else_in_its_namespace(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    assert makers(rendered) == {"ragstone-worker"}
    (role,) = (each for each in rendered.of_kind("Role") if each["metadata"]["name"] == "ragstone-worker-bulk")
    assert [(rule["apiGroups"], rule["resources"], set(rule["verbs"])) for rule in role["rules"]] == [(["batch"], ["jobs"], JOBS)]
    assert rendered.of_kind("ClusterRole", "ClusterRoleBinding") == []
    users = {pod.name for pod in pods(rendered.objects) if pod.spec["serviceAccountName"] == "ragstone-worker"}
    assert users == {"Deployment/ragstone-worker"}
    with_tokens = {pod.name for pod in pods(rendered.objects) if pod.spec.get("automountServiceAccountToken") is not False}
    assert {name for name in with_tokens if "dev-secrets" not in name} == users


@BULK
def test_the_pod_is_let_in_by_pod_security_and_has_no_rights(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    pod = template(rendered)
    assert violations(pod["spec"], pod["metadata"]["annotations"]) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["serviceAccountName"] == "ragstone-worker-bulk"
    assert pod["spec"]["serviceAccountName"] not in makers(rendered)
    stores = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "stores"]
    secrets = [source["secret"]["name"] for source in stores[0]["projected"]["sources"]]
    assert secrets == ["ragstone-mongodb"]
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


@BULK
def test_the_runners_job_is_one_that_kubernetes_takes(helm: Helm, case: Case, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(template(helm.case(case))))
    read = PodTemplate.read(tmp_path / "pod.yaml", resources={}, node_selector={})
    with kubernetes_api.cluster(tmp_path, ("true",)) as (_, kubeconfig):
        runner = KubernetesJobs(read, namespace="ragstone", kubeconfig=kubeconfig)
        manifest = runner.manifest(BulkRun("01job_space", HashingEmbeddingModel().identity, 3, 0.0))
    for version in ("1.34", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_mongodb_lets_the_pods_in(helm: Helm) -> None:
    rendered = helm.case(CLUSTER)
    labels = template(rendered)["metadata"]["labels"]
    (policy,) = (each for each in rendered.of_kind("NetworkPolicy") if each["metadata"]["name"] == "ragstone-mongodb")
    selectors = [peer["podSelector"]["matchLabels"] for rule in policy["spec"]["ingress"] for peer in rule["from"] if "podSelector" in peer]
    assert any(selector.items() <= labels.items() for selector in selectors)
    (own,) = (each for each in rendered.of_kind("NetworkPolicy") if each["metadata"]["name"] == "ragstone-worker-bulk")
    assert own["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_resources_and_place_are_its_own(helm: Helm) -> None:
    spec = template(helm.case(EVERYTHING))["spec"]
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
