"""What the profiles promise: dev fits a small machine, production outlives the loss of a node, and a cluster's pods keep nothing of their own."""

from __future__ import annotations

from decimal import Decimal

import pytest
import yaml

from tests.charts.helm import Case, Helm, Rendered, merged, profiles, sets
from tests.charts.pods import PodTemplate, pods
from tests.charts.released import quantity

pytestmark = pytest.mark.xdist_group("charts")
PROFILES = {case.name.removeprefix("ragstone-"): case for case in profiles()}
CLUSTERS = pytest.mark.parametrize("case", [PROFILES["dev"], PROFILES["production"]], ids=lambda case: case.name)


def requested(pod: PodTemplate, resource: str) -> Decimal:
    """By the scheduler's rule: containers and those that run beside them together, or the largest of those that run before."""
    beside = [each for each in pod.spec.get("initContainers", []) if each.get("restartPolicy") == "Always"]
    before = [each for each in pod.spec.get("initContainers", []) if each.get("restartPolicy") != "Always"]
    amounts = [
        sum(quantity(each["resources"]["requests"][resource]) for each in group)
        for group in ([*pod.containers, *beside], *([each] for each in before))
    ]
    return Decimal(max(amounts))


def sum_of_requests(rendered: Rendered, resource: str) -> Decimal:
    """Of everything that an installation starts, jobs too; not of what a schedule or a test starts later."""
    started = [pod for pod in pods(rendered.objects) if not pod.is_test and pod.owner["kind"] != "CronJob"]
    return sum((requested(pod, resource) * pod.replicas for pod in started), Decimal(0))


def test_dev_fits_four_gibibytes_and_one_and_a_half_cores(helm: Helm) -> None:
    rendered = helm.case(PROFILES["dev"])
    assert sum_of_requests(rendered, "memory") <= 4 * 2**30
    assert sum_of_requests(rendered, "cpu") <= Decimal("1.5")


def test_dev_runs_every_store_and_the_embedding_service_once_and_the_orchestrator_twice(helm: Helm) -> None:
    replicas = {pod.labels["app.kubernetes.io/name"]: pod.replicas for pod in pods(helm.case(PROFILES["dev"]).objects) if pod.is_served}
    others = ("worker", "embedding", "mongodb", "qdrant", "lakefs", "nats", "object-store", "mlflow")
    assert replicas == {"orchestrator": 2, **dict.fromkeys(others, 1)}


def test_production_has_no_single_pod_that_anything_waits_for(helm: Helm) -> None:
    rendered = helm.case(PROFILES["production"])
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("minReplicas", each["spec"].get("minReplicaCount"))
        for each in rendered.of_kind("HorizontalPodAutoscaler", "ScaledObject")
    }
    for pod in filter(lambda pod: pod.is_served, pods(rendered.objects)):
        name = pod.owner["metadata"]["name"]
        assert scaled.get(name, pod.replicas) >= 2, name
        assert ("replicas" in pod.owner["spec"]) is not (name in scaled), f"{name}: an upgrade would undo what the autoscaler did"
    assert set(scaled) == {"ragstone-orchestrator", "ragstone-worker"}


@CLUSTERS
def test_in_a_cluster_orchestrators_and_workers_keep_nothing(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    for pod in pods(rendered.objects):
        if pod.is_served and pod.labels["app.kubernetes.io/name"] in ("orchestrator", "worker"):
            assert list(pod.volumes("persistentVolumeClaim")) == []
            assert pod.owner["spec"]["strategy"]["type"] == "RollingUpdate"


@CLUSTERS
def test_an_orchestrator_goes_only_when_its_successor_is_ready(helm: Helm, case: Case) -> None:
    (deployment,) = (each for each in helm.case(case).of_kind("Deployment") if each["metadata"]["name"] == "ragstone-orchestrator")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@CLUSTERS
def test_a_stores_data_outlives_the_release(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    for claim in rendered.of_kind("PersistentVolumeClaim"):
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for each in rendered.of_kind("StatefulSet"):
        assert each["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_in_dev_the_model_is_made_ready_where_texts_are_embedded_alone(helm: Helm) -> None:
    rendered = helm.render("ragstone", merged(PROFILES["dev"].values, sets(worker__bulk__enabled=True)))
    pulls = {
        pod.labels["app.kubernetes.io/name"]: container["args"]
        for pod in pods(rendered.objects)
        for container in pod.spec.get("initContainers", [])
        if container["name"] == "model"
    }
    files = ["models", "pull", "--files-only"]
    assert pulls == {"orchestrator": files, "worker": files, "embedding": ["models", "pull"]}
    (bulk,) = (each for each in rendered.of_kind("ConfigMap") if each["metadata"]["name"] == "ragstone-worker-bulk")
    (init,) = yaml.safe_load(bulk["data"]["pod.yaml"])["spec"]["initContainers"]
    assert init["args"] == ["models", "pull"]
