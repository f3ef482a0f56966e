"""What the charts tell the application is what the application understands: settings, ports, files and commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from ragstone import __version__
from ragstone.cli.main import build
from ragstone.settings.model import ExtractiveGenerator, OpenAIGenerator, Settings
from tests.charts.helm import Case, Helm, Rendered, cases, merged
from tests.charts.pods import PodTemplate, pods

pytestmark = pytest.mark.xdist_group("charts")
CASES = [
    case
    for case in cases()
    if case.chart in ("ragstone", "orchestrator") and case.values.get("global", {}).get("stores", "embedded") == "embedded"
]
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
CLIENT = {"RAGSTONE_SERVER", "RAGSTONE_API_KEY", "RAGSTONE_API_KEY_FILE"}


def orchestrator(rendered: Rendered) -> PodTemplate:
    (found,) = (pod for pod in pods(rendered.objects) if pod.labels["app.kubernetes.io/name"] == "orchestrator" and pod.is_served)
    return found


def variables(container: dict[str, Any], rendered: Rendered) -> dict[str, str]:
    """ragstone's variables in the container, from ConfigMaps and given directly."""
    maps = {each["metadata"]["name"]: each["data"] for each in rendered.of_kind("ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    found |= {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
    return {key: value for key, value in found.items() if key.startswith("RAGSTONE_")}


def is_setting(name: str) -> bool:
    """pydantic-settings overlooks a variable of an unknown name, so names are looked up."""
    models: list[type[BaseModel]] = [Settings]
    for part in name.removeprefix("RAGSTONE_").lower().split("__"):
        known = [model for model in models if part in model.model_fields]
        if not known:
            return False
        inner = known[0].model_fields[part].annotation
        models = (
            [ExtractiveGenerator, OpenAIGenerator]
            if part == "generator"
            else [inner]
            if isinstance(inner, type) and issubclass(inner, BaseModel)
            else []
        )
    return True


def is_mounted(path: Path | None, container: dict[str, Any]) -> bool:
    return path is None or any(path.is_relative_to(mount["mountPath"]) for mount in container["volumeMounts"])


@EACH_CASE
def test_the_application_takes_every_setting(helm: Helm, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rendered = helm.case(case)
    pod = orchestrator(rendered)
    monkeypatch.chdir(tmp_path)
    for container in pod.all_containers:
        given = variables(container, rendered)
        assert [name for name in given if not is_setting(name)] == []
        with monkeypatch.context() as environment:
            for name, value in given.items():
                environment.setenv(name, value)
            settings = Settings()
        if container["name"] != "model":
            assert settings.data_dir == Path("/var/lib/ragstone/data")
            assert is_mounted(settings.data_dir, container)
        if container in pod.containers:
            assert settings.host == case.values.get("listenAddress", "0.0.0.0")
            files = [
                settings.api_keys_file,
                settings.interactions.redact_key_file,
                getattr(settings.generator, "api_key_file", None),
            ]
            assert all(is_mounted(path, container) for path in files)
            assert settings.api_keys_file is not None
        if container["name"] != "migrate":
            assert is_mounted(settings.models, container) or settings.models == Path("/opt/ragstone-models")
        if ports := {port["name"]: port["containerPort"] for port in container.get("ports", [])}:
            assert ports == {"http": settings.port, "management": settings.management_port}


def test_values_become_settings(helm: Helm) -> None:
    case = next(case for case in CASES if case.name == "orchestrator-ci-everything")
    rendered = helm.case(case)
    given = variables(orchestrator(rendered).containers[0], rendered)
    assert given["RAGSTONE_LIMITS__REQUEST_BYTES"] == str(case.values["limits"]["requestBytes"])
    assert given["RAGSTONE_INTERACTIONS__KEEP_DAYS"] == "30.5"
    assert given["RAGSTONE_GENERATOR__BASE_URL"] == case.values["generator"]["openai"]["baseUrl"]


@EACH_CASE
def test_secrets_are_files_where_the_settings_look_for_them(helm: Helm, case: Case) -> None:
    pod = orchestrator(helm.case(case))
    paths = {item["path"] for source in pod.volumes("secret") for item in source["items"]}
    named = {
        Path(value).name for value in variables(pod.containers[0], helm.case(case)).values() if value.startswith("/etc/ragstone/secrets/")
    }
    assert paths == named
    assert {volume["projected"]["defaultMode"] for volume in pod.spec["volumes"] if volume["name"] == "secrets"} == {0o440}


@EACH_CASE
def test_containers_that_prepare_the_start_are_given_no_secrets(helm: Helm, case: Case) -> None:
    rendered = helm.case(case)
    pod = orchestrator(rendered)
    assert pod.spec["initContainers"][-1]["name"] == "migrate"
    for container in pod.spec["initContainers"]:
        assert "secrets" not in [mount["name"] for mount in container["volumeMounts"]], container["name"]
        assert [name for name, value in variables(container, rendered).items() if value.startswith("/etc/ragstone/secrets")] == []


@pytest.mark.parametrize("values", [{"baked": True}, {"name": "/models/own"}, {"name": "./own.onnx"}], ids=str)
def test_no_model_is_pulled_that_is_there_already(helm: Helm, values: dict[str, Any]) -> None:
    small = next(case for case in CASES if case.name == "orchestrator-ci-minimal")
    rendered = helm.render(small.chart, merged(small.values, {"model": values}))
    assert [container["name"] for container in orchestrator(rendered).spec["initContainers"]] == ["migrate"]
    assert "fetches the embedding model" in helm.case(small).notes
    assert "fetches the embedding model" not in rendered.notes


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, f":{__version__}-model"),
        ({"digest": f"sha256:{'ab' * 32}"}, f":{__version__}-model@sha256:{'ab' * 32}"),
        ({"tag": "mine"}, ":mine"),
    ],
)
def test_the_image_that_holds_the_model_has_a_tag_of_its_own(helm: Helm, image: dict[str, str], expected: str) -> None:
    small = next(case for case in CASES if case.name == "orchestrator-ci-minimal")
    rendered = helm.render(small.chart, merged(small.values, {"model": {"baked": True}, "image": image}))
    for pod in pods(rendered.objects):
        assert {container["image"] for container in pod.all_containers} == {f"ragstone/orchestrator{expected}"}


@EACH_CASE
def test_containers_run_commands_that_there_are(helm: Helm, case: Case) -> None:
    pod = orchestrator(helm.case(case))
    assert [container["args"] for container in pod.containers] == [["up"]]
    for container in pod.all_containers:
        command: Any = typer.main.get_command(build())
        for word in container["args"]:
            command = command.commands[word]


@EACH_CASE
def test_the_test_pod_is_given_what_the_client_reads(helm: Helm, case: Case) -> None:
    for pod in pods(helm.case(case).objects):
        if pod.is_test:
            given = {each["name"]: each["value"] for each in pod.containers[0]["env"] if each["name"].startswith("RAGSTONE_")}
            assert set(given) <= CLIENT
            services = [each["metadata"]["name"] for each in helm.case(case).of_kind("Service")]
            assert given["RAGSTONE_SERVER"] in [f"http://{name}:8642" for name in services]
