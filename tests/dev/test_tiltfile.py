"""The Tiltfile against the charts, the image and the cluster that it speaks of."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import starlark

from tests.charts.helm import ROOT, UMBRELLA, Helm, all_charts
from tests.charts.pods import pods
from tests.charts.restricted import violations
from tests.dev.repository import ADMITTED, dockerfile_instruction, documents, entrypoint, host_ports, manifest
from tests.dev.tilt import Tilt

IMAGE = "ragstone/orchestrator"


def deployment(tilt: Tilt) -> dict[str, Any]:
    return next(each for each in tilt.objects if each["kind"] == "Deployment")


def pod(tilt: Tilt) -> dict[str, Any]:
    spec: dict[str, Any] = deployment(tilt)["spec"]["template"]["spec"]
    return spec


def container(tilt: Tilt) -> dict[str, Any]:
    found: dict[str, Any] = pod(tilt)["containers"][0]
    return found


def test_every_image_of_the_pod_is_built_and_every_built_image_is_used(tilt: Tilt) -> None:
    repositories = {each["image"].rsplit(":", 1)[0] for each in pods(tilt.objects)[0].all_containers}
    assert repositories == set(tilt.images) == {IMAGE}


def test_the_dev_profile_has_every_image_of_ours_built_and_runs_as_it_is_installed(charts: Helm, tiltfile: str) -> None:
    dev = Tilt(charts, arguments={"profile": "dev"}).execute(tiltfile)
    (call,) = dev.helm_calls
    assert call["values"] == ["charts/ragstone/values-dev.yaml", "k8s/ragstone-values.yaml"]
    used = {each["image"].rsplit(":", 1)[0] for pod in pods(dev.objects) for each in pod.all_containers}
    assert {image for image in used if image.startswith("ragstone/")} == set(dev.images)
    assert set(dev.images) == {IMAGE, "ragstone/embedding", "ragstone/mlflow"}
    for image, build in dev.images.items():
        assert build["dockerfile"] == f"images/{image.removeprefix('ragstone/')}/Dockerfile"
        assert (ROOT / build["dockerfile"]).is_file()
        assert build["live_update"] == []
    assert "live-reload" not in str(dev.objects)
    assert dev.resources["orchestrator"]["workload"] in {each["metadata"]["name"] for each in dev.objects if each["kind"] == "Deployment"}


def test_another_profile_is_refused(charts: Helm, tiltfile: str) -> None:
    with pytest.raises(starlark.StarlarkError, match="There is no profile production for this cluster: small or dev"):
        Tilt(charts, arguments={"profile": "production"}).execute(tiltfile)


def test_the_build_reads_a_dockerfile_that_exists_and_keeps_the_images_entry_point(tilt: Tilt) -> None:
    build = tilt.images[IMAGE]
    assert build["context"] == "."  # what .dockerignore is written for
    assert (ROOT / build["dockerfile"]).is_file()
    assert not build["entrypoint"]  # it would replace the init containers' too


def test_the_chart_is_the_umbrella_with_the_small_profile(tilt: Tilt) -> None:
    (call,) = tilt.helm_calls
    assert call == {
        "chart": "charts/ragstone",
        "name": "ragstone",
        "namespace": "ragstone",
        "values": ["charts/ragstone/values-small.yaml", "k8s/ragstone-values.yaml"],
    }
    assert ["helm", "dependency", "build", call["chart"]] in tilt.commands
    assert set(tilt.watched) == {f"charts/{chart}" for chart in all_charts() if chart != UMBRELLA}
    assert "charts/*/charts" in tilt.settings["watch"]["ignore"]  # what that command writes must not start the Tiltfile again


def test_a_live_update_writes_the_package_where_the_process_reads_it(tilt: Tilt) -> None:
    sync, run = tilt.images[IMAGE]["live_update"]
    assert (ROOT / sync["local"] / "__init__.py").is_file()
    python, script, live, *command = container(tilt)["command"]
    assert sync["remote"] == f"{live}/{Path(sync['local']).name}"
    assert run["command"] == "kill -HUP 1"
    mounts = {each["mountPath"]: each["name"] for each in container(tilt)["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(tilt)["volumes"]}
    assert "emptyDir" in volumes[mounts[live]]
    source = volumes[mounts[str(PurePosixPath(script).parent)]]["configMap"]["name"]
    data = next(each for each in tilt.objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] == source)["data"]
    assert data == {PurePosixPath(script).name: (ROOT / "scripts" / "live_reload.py").read_text(encoding="utf-8")}
    # What is started is what the image starts, by the same virtual environment.
    assert command == entrypoint()
    assert python == str(PurePosixPath(entrypoint()[0]).parent / "python")
    assert container(tilt)["args"] == ["up"]


def test_only_the_process_differs_from_the_chart_that_others_install(tilt: Tilt, charts: Helm) -> None:
    assert violations(pod(tilt), {}) == []
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in pods(tilt.objects)[0].all_containers)
    assert "command" not in {key for each in pod(tilt)["initContainers"] for key in each}
    assert deployment(tilt)["spec"]["replicas"] == 1


def test_forwarded_ports_are_ports_of_the_container_and_of_the_image(tilt: Tilt) -> None:
    forwarded = {each["container"] for each in tilt.resources["orchestrator"]["ports"]}
    assert forwarded == {each["containerPort"] for each in container(tilt)["ports"]}
    assert forwarded == {int(port) for port in dockerfile_instruction("EXPOSE").split()}


def test_every_object_belongs_to_a_resource(tilt: Tilt) -> None:
    # Tilt itself puts the workload, and the Service that selects it, into the workload's resource.
    named = [f"{each['metadata']['name']}:{each['kind'].lower()}" for each in tilt.objects if each["kind"] not in ("Deployment", "Service")]
    selected = [selector for resource in tilt.resources.values() for selector in resource.get("objects", [])]
    assert sorted(selected) == sorted(named)
    assert [each["workload"] for each in tilt.resources.values() if each.get("workload")] == [deployment(tilt)["metadata"]["name"]]


def test_resources_are_grouped_and_wait_for_resources_that_exist(tilt: Tilt) -> None:
    for name, resource in tilt.resources.items():
        assert resource["labels"], name
        assert set(resource["deps"]) <= set(tilt.resources), name
    assert "api-keys" in tilt.resources["orchestrator"]["deps"]


def test_the_links_lead_through_the_gateway_of_the_cluster(tilt: Tilt) -> None:
    gateway, service = manifest("Gateway", "ragstone"), manifest("Service", "traefik")
    (route,) = (each["spec"] for each in tilt.objects if each["kind"] == "HTTPRoute")
    (parent,) = route["parentRefs"]
    assert (parent["name"], parent["namespace"]) == (gateway["metadata"]["name"], gateway["metadata"]["namespace"])
    (listener,) = (each for each in gateway["spec"]["listeners"] if each["name"] == parent["sectionName"])
    assert listener["allowedRoutes"]["namespaces"]["selector"]["matchLabels"] == ADMITTED
    port = host_ports()[next(each["nodePort"] for each in service["spec"]["ports"] if each["name"] == "web")]
    address = f"http://{route['hostnames'][0]}:{port}"
    assert [each["url"] for each in tilt.resources["orchestrator"]["links"]] == [f"{address}/docs"]
    assert f"RAGSTONE_SERVER={address} " in (ROOT / "scripts" / "dev_client.sh").read_text(encoding="utf-8")


def test_everything_goes_to_a_namespace_that_exists_and_is_admitted_by_the_gateway(tilt: Tilt) -> None:
    namespaces = {each["metadata"].get("namespace", "ragstone") for each in tilt.objects}
    assert namespaces == {"ragstone"}
    labels = manifest("Namespace", "ragstone")["metadata"]["labels"]
    assert ADMITTED.items() <= labels.items()


def test_claims_outlive_tilt_down(tilt: Tilt) -> None:
    claims = [each["metadata"] for each in tilt.objects if each["kind"] == "PersistentVolumeClaim"]
    assert claims
    assert {each["annotations"]["tilt.dev/down-policy"] for each in claims} == {"keep"}


def test_buttons_are_at_a_resource_and_run_scripts_that_exist(tilt: Tilt) -> None:
    assert set(tilt.buttons) == set(tilt.button_commands) == {"ingest-sample", "ask"}
    for name, button in tilt.buttons.items():
        command = tilt.button_commands[name]
        assert button["location"] == {"id": "orchestrator", "type": "Resource"}
        assert button["location"]["id"] in tilt.resources
        assert command["start_on"] == {"buttons": [name]}
        assert command["annotations"]["tilt.dev/resource"] == "orchestrator"
        scripts = [word for each in command["args"] for word in each.split() if word.startswith("scripts/")]
        assert scripts
        assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_a_question_typed_into_the_button_is_never_part_of_a_command(tilt: Tilt) -> None:
    (field,) = tilt.buttons["ask"]["inputs"]
    shell, option, text = tilt.button_commands["ask"]["args"]
    assert (shell, option) == ("sh", "-c")
    assert text.endswith(f'-- "${field["name"]}"')


@pytest.mark.parametrize(("subcommand", "starts"), [("ci", True), ("up", False)])
def test_only_tilt_ci_asks_the_first_question_by_itself(charts: Helm, tiltfile: str, subcommand: str, starts: bool) -> None:
    resource = Tilt(charts, subcommand=subcommand).execute(tiltfile).resources["first-question"]
    assert resource["auto_init"] is starts
    assert resource["trigger_mode"] == "manual"
    assert os.access(ROOT / resource["command"], os.X_OK)


def test_it_deploys_to_the_development_cluster_alone(charts: Helm, tiltfile: str, tilt: Tilt) -> None:
    name = documents(ROOT / "kind-config.yaml")[0]["name"]
    assert tilt.settings["contexts"]["allowed"] == [f"kind-{name}"]
    with pytest.raises(starlark.StarlarkError, match=r"context is production, .* run 'make kind-up'"):
        Tilt(charts, context="production").execute(tiltfile)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('docker_build("a", ".", dockerfil="Dockerfile")', "dockerfil"),
        ('k8s_resource(workload="a", port_forward=[1])', "port_forward"),
        ('sync("src")', "remote_path"),
        ("ci_settings(timeout=30)", "timeout"),
        ("v1alpha1.ui_button()", "name"),
        ("helm_remote('a')", "helm_remote"),
    ],
)
def test_a_call_that_tilt_does_not_know_is_noticed(charts: Helm, call: str, reason: str) -> None:
    with pytest.raises(starlark.StarlarkError, match=reason):
        Tilt(charts).execute(call)
