"""The values that every subchart takes reach its pods: images by digest from a mirror, pull secrets, where pods run, extra variables and volumes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.helm import CHARTS, Helm, ci_cases, merged, sets, subcharts
from tests.charts.pods import PodTemplate, pods

pytestmark = [pytest.mark.xdist_group("charts"), pytest.mark.parametrize("chart", subcharts())]
DIGEST = "sha256:" + "ab" * 32
SHARED = (
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClassName",
    "extraEnv",
    "extraVolumes",
    "extraVolumeMounts",
    "podLabels",
    "podAnnotations",
)


def rendered(helm: Helm, chart: str, **values: Any) -> list[PodTemplate]:
    """The chart's pods with its first ci values, without what pods share, and these over them."""
    before = {key: value for key, value in ci_cases(chart)[0].values.items() if key not in SHARED}
    return pods(helm.render(chart, merged(before, sets(**values))).objects)


def images(made: list[PodTemplate]) -> set[str]:
    return {container["image"] for pod in made for container in pod.all_containers}


def has_tools(chart: str) -> bool:
    """ragstone's image sets the chart's own program up."""
    return "\ntools:\n" in (CHARTS / chart / "values.yaml").read_text(encoding="utf-8")


def both(chart: str, **image: Any) -> dict[str, Any]:
    """The same for the chart's image and for that of its tools."""
    given = {f"image__{key}": value for key, value in image.items()}
    return {**given, **({f"tools__{key}": value for key, value in given.items()} if has_tools(chart) else {})}


def test_images_have_a_tag_and_come_by_digest_from_a_mirror_where_that_is_asked(helm: Helm, chart: str) -> None:
    plain = images(rendered(helm, chart, global__imageRegistry="", global__requireDigests=False, **both(chart, registry="", digest="")))
    assert all(":" in image and not image.endswith(":latest") and "@" not in image for image in plain)
    pinned = images(
        rendered(helm, chart, global__imageRegistry="mirror.example.org/x", **both(chart, registry="ignored.example.org", digest=DIGEST))
    )
    assert pinned == {f"mirror.example.org/x/{image}@{DIGEST}" for image in plain}
    own = images(rendered(helm, chart, global__imageRegistry="", **both(chart, registry="own.example.org", tag="9", digest=DIGEST)))
    assert all(image.startswith("own.example.org/") and image.endswith(f":9@{DIGEST}") for image in own)


def test_pull_secrets_of_both_places_reach_every_pod(helm: Helm, chart: str) -> None:
    for pod in rendered(helm, chart, global__imagePullSecrets=["shared", "both"], **both(chart, pullSecrets=["both", "own"])):
        assert pod.spec["imagePullSecrets"] == [{"name": "shared"}, {"name": "both"}, {"name": "own"}], pod.name


def test_where_pods_run_reaches_every_pod(helm: Helm, chart: str) -> None:
    tolerations = [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": []}]}}
    }
    where = {"nodeSelector": {"disk": "ssd"}, "tolerations": tolerations, "affinity": affinity, "priorityClassName": "high"}
    for pod in rendered(helm, chart, **where):
        assert {key: pod.spec.get(key) for key in where} == where, pod.name


def test_extra_variables_and_volumes_reach_every_container_that_works(helm: Helm, chart: str) -> None:
    variables = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    volume, mount = {"name": "extra", "configMap": {"name": "c"}}, {"name": "extra", "mountPath": "/extra", "readOnly": True}
    made = [pod for pod in rendered(helm, chart, extraEnv=variables, extraVolumes=[volume], extraVolumeMounts=[mount]) if not pod.is_test]
    assert made
    for pod in made:
        assert volume in pod.spec["volumes"], pod.name
        for container in pod.all_containers:
            assert all(variable in container.get("env", []) for variable in variables), f"{pod.name} {container['name']}"
            assert mount in container["volumeMounts"], f"{pod.name} {container['name']}"


def test_extra_labels_and_annotations_reach_served_pods_and_override_nothing(helm: Helm, chart: str) -> None:
    before = {pod.name: pod for pod in rendered(helm, chart)}
    stolen = {"app.kubernetes.io/name": "stolen", "team": "x"}
    for pod in rendered(helm, chart, podLabels=stolen, podAnnotations={"note": "y"}):
        if pod.is_served:
            assert pod.labels == {**before[pod.name].labels, "team": "x"}
            assert pod.annotations == {**before[pod.name].annotations, "note": "y"}


def test_resources_reach_every_container_that_works(helm: Helm, chart: str) -> None:
    resources = {"requests": {"cpu": "123m", "memory": "900Mi"}, "limits": {"memory": "8Gi"}}
    given = {"resources": resources, **({"tools__resources": resources} if has_tools(chart) else {})}
    for pod in rendered(helm, chart, **given):
        if not pod.is_test:
            assert {container["resources"]["limits"]["memory"] for container in pod.all_containers} == {"8Gi"}


def test_a_new_version_of_the_chart_alone_restarts_no_pod(helm: Helm, chart: str) -> None:
    """The version is in no pod template, but for the image's tag."""
    for pod in rendered(helm, chart):
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & {*pod.labels, *pod.annotations} or pod.is_test
