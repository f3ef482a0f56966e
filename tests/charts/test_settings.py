"""What the charts tell the application is what the application understands: settings, ports, files and commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from ragstone import __version__
from ragstone.settings.embedders import RagstoneEmbedder
from ragstone.settings.model import Settings
from tests.charts.helm import Case, Helm, Rendered, cases, merged
from tests.charts.pods import PodTemplate, pods

pytestmark = pytest.mark.xdist_group("charts")
OWN = ("orchestrator", "worker", "backup")
EMBEDDING, GENERATION = MODELS = ("embedding", "generation")
CASES = [case for case in cases() if case.chart in ("ragstone", *OWN, *MODELS)]
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ORCHESTRATORS = pytest.mark.parametrize(
    "case", [case for case in CASES if case.chart in ("ragstone", "orchestrator")], ids=lambda case: case.name
)
CLIENT = {"RAGSTONE_SERVER", "RAGSTONE_API_KEY", "RAGSTONE_API_KEY_FILE"}
SECRET = "from-a-secret"


def orchestrator(rendered: Rendered) -> PodTemplate:
    (found,) = (pod for pod in pods(rendered.objects) if name_of(pod) == "orchestrator" and pod.is_served)
    return found


def name_of(pod: PodTemplate) -> str:
    return pod.labels["app.kubernetes.io/name"]


def processes(rendered: Rendered) -> list[PodTemplate]:
    """The pods in which ragstone runs."""
    return [pod for pod in pods(rendered.objects) if name_of(pod) in (*OWN, *MODELS) and not pod.is_test]


def is_cluster(case: Case) -> bool:
    return bool(case.values.get("global", {}).get("stores") == "cluster")


def variables(container: dict[str, Any], rendered: Rendered) -> dict[str, str]:
    """ragstone's variables in the container, from ConfigMaps, given directly, and referring to Secrets."""
    maps = {each["metadata"]["name"]: each["data"] for each in rendered.of_kind("ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    for each in container.get("env", []):
        found[each["name"]] = SECRET if "secretKeyRef" in each.get("valueFrom", {}) else each.get("value", "")
    return {key: value for key, value in found.items() if key.startswith("RAGSTONE_")}


def is_setting(name: str) -> bool:
    """pydantic-settings overlooks a variable of an unknown name, so names are looked up."""
    models: list[type[BaseModel]] = [Settings]
    for part in name.removeprefix("RAGSTONE_").lower().split("__"):
        known = [model for model in models if part in model.model_fields]
        if not known:
            return False
        inner = [model.model_fields[part].annotation for model in known]
        kinds = [kind for each in inner for kind in (each, *get_args(each))]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return True


def files_of(section: BaseModel) -> list[Path]:
    """The files that settings name, at any depth."""
    values = [(name, getattr(section, name)) for name in type(section).model_fields]
    below = [path for _, value in values if isinstance(value, BaseModel) for path in files_of(value)]
    return below + [value for name, value in values if name.endswith("_file") and value is not None]


def mounted_files(pod: PodTemplate, container: dict[str, Any]) -> set[Path]:
    """The secrets that the container finds, below /etc/ragstone."""
    places = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    return {
        places[volume["name"]] / item["path"]
        for volume in pod.spec["volumes"]
        if volume["name"] in places
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }


def is_mounted(path: Path | None, container: dict[str, Any]) -> bool:
    return path is None or any(path.is_relative_to(mount["mountPath"]) for mount in container["volumeMounts"])


def settings_of(container: dict[str, Any], rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    with monkeypatch.context() as environment:
        for name, value in variables(container, rendered).items():
            environment.setenv(name, value)
        return Settings()


@EACH_CASE
def test_the_application_takes_every_setting(helm: Helm, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rendered = helm.case(case)
    monkeypatch.chdir(tmp_path)
    made = processes(rendered)
    assert made
    for pod in made:
        for container in pod.all_containers:
            assert [name for name in variables(container, rendered) if not is_setting(name)] == []
            settings = settings_of(container, rendered, monkeypatch)
            if container["name"] != "model":
                assert is_mounted(settings.data_dir, container)
            if container["name"] not in ("migrate", "backup", GENERATION):
                assert is_mounted(settings.models, container) or settings.models == Path("/opt/ragstone-models")
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            services = {EMBEDDING: settings.embedding_service.port, GENERATION: settings.generation_service.port}
            port = services.get(name_of(pod), settings.port)
            assert ports.items() <= {"http": port, "management": settings.management_port}.items()


@ORCHESTRATORS
def test_the_orchestrator_listens_beyond_loopback_with_keys(
    helm: Helm, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rendered = helm.case(case)
    monkeypatch.chdir(tmp_path)
    (container,) = orchestrator(rendered).containers
    settings = settings_of(container, rendered, monkeypatch)
    assert settings.host == case.values.get("listenAddress", "0.0.0.0")
    assert settings.api_keys_file is not None
    assert settings.role == ("api" if is_cluster(case) else "all")


@pytest.mark.parametrize("case", [case for case in CASES if case.chart == "ragstone" and is_cluster(case)], ids=lambda case: case.name)
def test_processes_of_a_cluster_share_their_stores(helm: Helm, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rendered = helm.case(case)
    monkeypatch.chdir(tmp_path)
    found = {name_of(pod): settings_of(pod.containers[0], rendered, monkeypatch) for pod in processes(rendered)}
    assert set(found) - set(MODELS) == set(OWN)
    api, worker, backup = (found[name] for name in OWN)
    assert (api.role, worker.role) == ("api", "worker")
    assert (api.catalog, api.versions, api.index, api.tracking) == (worker.catalog, worker.versions, worker.index, worker.tracking)
    assert (api.catalog, api.versions, api.index) == (backup.catalog, backup.versions, backup.index)
    assert api.model == worker.model
    assert api.embedder == worker.embedder
    assert (api.embedder.kind == "ragstone") is (EMBEDDING in found)
    assert api.limits.document_bytes == worker.limits.document_bytes
    assert backup.backup is not None
    assert backup.backup.url.startswith("s3://")


def test_orchestrator_and_worker_ask_the_embedding_service_with_a_key(helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == "ragstone-ci-cluster")
    rendered = helm.case(case)
    monkeypatch.chdir(tmp_path)
    found = {name_of(pod): pod for pod in processes(rendered)}
    served = settings_of(found[EMBEDDING].containers[0], rendered, monkeypatch)
    assert (served.host, served.api_keys_file) == ("0.0.0.0", Path("/etc/ragstone/secrets/api-keys"))
    (service,) = (each for each in rendered.of_kind("Service") if each["metadata"]["labels"]["app.kubernetes.io/name"] == EMBEDDING)
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    for name in ("orchestrator", "worker"):
        container = found[name].containers[0]
        embedder = settings_of(container, rendered, monkeypatch).embedder
        assert isinstance(embedder, RagstoneEmbedder)
        assert embedder.base_url == f"http://{service['metadata']['name']}:{ports['http']}/v1"
        assert embedder.model == embedder.tokenizer == served.model
        assert embedder.api_key_file in mounted_files(found[name], container)


def test_values_become_settings(helm: Helm) -> None:
    case = next(case for case in CASES if case.name == "orchestrator-ci-everything")
    rendered = helm.case(case)
    given = variables(orchestrator(rendered).containers[0], rendered)
    assert given["RAGSTONE_LIMITS__REQUEST_BYTES"] == str(case.values["limits"]["requestBytes"])
    assert given["RAGSTONE_INTERACTIONS__KEEP_DAYS"] == "30.5"
    assert given["RAGSTONE_GENERATOR__BASE_URL"] == case.values["generator"]["openai"]["baseUrl"]


@EACH_CASE
def test_secrets_are_files_where_the_settings_look_for_them(
    helm: Helm, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rendered = helm.case(case)
    monkeypatch.chdir(tmp_path)
    for pod in processes(rendered):
        (container,) = pod.containers
        assert mounted_files(pod, container) == set(files_of(settings_of(container, rendered, monkeypatch))), pod.name
        assert {volume["projected"]["defaultMode"] for volume in pod.spec["volumes"] if "projected" in volume} == {0o440}


@EACH_CASE
def test_containers_that_prepare_the_start_are_given_no_secrets(helm: Helm, case: Case) -> None:
    """With embedded stores the data directory is brought up to date first; the stores of a cluster are by whoever comes first."""
    rendered = helm.case(case)
    for pod in processes(rendered):
        prepared = [container["name"] for container in pod.spec.get("initContainers", [])]
        assert ("migrate" in prepared) is (name_of(pod) not in MODELS and not is_cluster(case))
        for container in pod.spec.get("initContainers", []):
            assert not {"secrets", "stores"} & {mount["name"] for mount in container["volumeMounts"]}, container["name"]
            assert [name for name, value in variables(container, rendered).items() if value == SECRET or value.startswith("/etc/")] == []


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


@ORCHESTRATORS
def test_the_pod_runs_the_server(helm: Helm, case: Case) -> None:
    assert [container["args"] for container in orchestrator(helm.case(case)).containers] == [["up"]]


@ORCHESTRATORS
def test_the_test_pod_is_given_what_the_client_reads(helm: Helm, case: Case) -> None:
    for pod in pods(helm.case(case).objects):
        if pod.is_test:
            given = {each["name"]: each["value"] for each in pod.containers[0]["env"] if each["name"].startswith("RAGSTONE_")}
            assert set(given) <= CLIENT
            services = [each["metadata"]["name"] for each in helm.case(case).of_kind("Service")]
            assert given["RAGSTONE_SERVER"] in [f"http://{name}:8642" for name in services]
