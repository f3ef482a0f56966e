"""The generation service's chart: GPUs, what the engine is told, scaling, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import pytest

from ragstone.settings.generation_service import LlamaCppEngine, VllmEngine
from ragstone.settings.model import OpenAIGenerator
from tests.charts.documented import documented
from tests.charts.helm import UMBRELLA, Helm, Manifest, ci_cases, merged, profiles, refusal, sets
from tests.charts.pods import PodTemplate, pods
from tests.charts.test_settings import mounted_files, settings_of

pytestmark = pytest.mark.xdist_group("charts")
CHART = "generation"
EVERYTHING = next(case for case in ci_cases(CHART) if case.name.endswith("everything"))
CPU = next(case for case in ci_cases(CHART) if case.name.endswith("cpu"))
GPUS = "nvidia.com/gpu"
VLLM: dict[str, Any] = {"engine__kind": "vllm", "gpu__count": 1, "model__name": "org/model"}


def only(objects: list[Manifest]) -> PodTemplate:
    (pod,) = (pod for pod in pods(objects) if pod.labels["app.kubernetes.io/name"] == CHART)
    return pod


def test_a_pod_with_gpus_asks_for_them_and_finds_their_nodes(helm: Helm) -> None:
    pod = only(helm.case(EVERYTHING).objects)
    (container,) = pod.containers
    assert container["resources"]["limits"][GPUS] == container["resources"]["requests"][GPUS] == 2
    assert pod.spec["runtimeClassName"] == "nvidia"
    assert {"key": GPUS, "operator": "Exists", "effect": "NoSchedule"} in pod.spec["tolerations"]
    assert pod.spec["affinity"]["nodeAffinity"]
    (shared,) = (volume for volume in pod.spec["volumes"] if volume["name"] == "shm")
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert container["image"].startswith("ragstone/generation:")


def test_a_pod_without_asks_for_none(helm: Helm) -> None:
    pod = only(helm.case(CPU).objects)
    (container,) = pod.containers
    assert GPUS not in {**container["resources"]["limits"], **container["resources"]["requests"]}
    assert "runtimeClassName" not in pod.spec
    assert "shm" not in [volume["name"] for volume in pod.spec["volumes"]]


def test_the_image_is_that_of_the_engine(helm: Helm) -> None:
    images = {
        kind: only(helm.render(CHART, sets(**values)).objects).containers[0]["image"] for kind, values in (("cpu", {}), ("gpu", VLLM))
    }
    assert images == {"cpu": "ragstone/generation:0.1.0", "gpu": "ragstone/generation:0.1.0-vllm"}


def test_another_resource_of_the_node_may_stand_for_gpus(helm: Helm) -> None:
    pod = only(helm.render(CHART, sets(**VLLM, gpu__resource="amd.com/gpu")).objects)
    assert pod.containers[0]["resources"]["limits"]["amd.com/gpu"] == 1


def test_the_engine_is_told_what_the_values_say(helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    rendered = helm.case(EVERYTHING)
    own = settings_of(only(rendered.objects).containers[0], rendered, monkeypatch).generation_service
    assert (own.model, own.name, own.context_window, own.running, own.waiting) == ("acme/chat-8b", "chat", 32768, 64, 256)
    assert isinstance(own.engine, VllmEngine)
    assert (own.engine.tensor_parallel_size, own.engine.quantization, own.engine.dtype, own.engine.gpu_memory_utilization) == (
        2,
        "fp8",
        "bfloat16",
        0.85,
    )
    assert own.engine.lora == {"legal": Path("/models/legal")}
    assert own.engine.arguments == {"max-loras": 2, "kv-cache-dtype": "fp8", "enforce-eager": True}
    assert own.engine.startup_seconds == 3600
    rendered = helm.case(CPU)
    own = settings_of(only(rendered.objects).containers[0], rendered, monkeypatch).generation_service
    assert own.engine == LlamaCppEngine(threads=2)


def test_a_registered_model_is_kept_on_the_volume_and_changed_over_only_where_two_have_room(
    helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    alias: dict[str, Any] = {"model__name": "models:/chat@champion"}
    for values, two, command in ((alias, False, True), ({**alias, "rollout__twoEngines": True}, True, False)):
        rendered = helm.render(CHART, sets(**values))
        read = settings_of(only(rendered.objects).containers[0], rendered, monkeypatch)
        assert read.generation_service.model == "models:/chat@champion"
        assert read.generation_service.two_engines is two
        assert read.models == Path("/models/registry")
        assert {"name": "models", "mountPath": "/models"} in only(rendered.objects).containers[0]["volumeMounts"]
        assert ("rollout restart deployment/" in rendered.notes) is command
        (policy,) = rendered.of_kind("NetworkPolicy")
        assert "0.0.0.0/0" not in str(policy["spec"]["egress"])
    rendered = helm.render(CHART, sets(**VLLM))
    assert settings_of(only(rendered.objects).containers[0], rendered, monkeypatch).generation_service.two_engines is None
    assert "0.0.0.0/0" in str(rendered.of_kind("NetworkPolicy")[0]["spec"]["egress"])


def test_a_start_may_take_as_long_as_is_said_and_nothing_restarts_it_before(helm: Helm) -> None:
    (container,) = only(helm.case(EVERYTHING).objects).containers
    startup = container["startupProbe"]
    assert startup["httpGet"]["path"] == "/readyz"
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 3600
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_a_stopping_pod_has_time_for_the_answers_that_it_has_begun(helm: Helm) -> None:
    pod = only(helm.case(EVERYTHING).objects)
    assert pod.containers[0]["args"] == ["serve-generation", "--grace", "300"]
    assert pod.containers[0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 10
    assert pod.spec["terminationGracePeriodSeconds"] >= 310


def test_waiting_requests_scale_it(helm: Helm) -> None:
    (scaled,) = helm.case(EVERYTHING).of_kind("ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert trigger["metadata"]["query"] == 'sum(vllm:num_requests_waiting{namespace="ragstone",service="ragstone-generation"})'
    assert trigger["metadata"]["threshold"] == "8"
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (2, 6)
    assert helm.case(CPU).of_kind("ScaledObject") == []


def test_the_orchestrator_asks_the_service_with_a_key(helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (case,) = (case for case in ci_cases(UMBRELLA) if case.name == "ragstone-ci-cluster")
    rendered = helm.case(case)
    served = settings_of(only(rendered.objects).containers[0], rendered, monkeypatch)
    assert (served.host, served.api_keys_file) == ("0.0.0.0", Path("/etc/ragstone/secrets/api-keys"))
    (asking,) = (pod for pod in pods(rendered.objects) if pod.labels["app.kubernetes.io/name"] == "orchestrator" and pod.is_served)
    generator = settings_of(asking.containers[0], rendered, monkeypatch).generator
    assert isinstance(generator, OpenAIGenerator)
    assert generator.base_url == "http://ragstone-generation:8645/v1"
    assert generator.model == served.generation_service.name
    assert generator.context_window == served.generation_service.context_window
    assert generator.api_key_file in mounted_files(asking, asking.containers[0])
    (worker,) = (pod for pod in pods(rendered.objects) if pod.labels["app.kubernetes.io/name"] == "worker")
    assert not [path for path in mounted_files(worker, worker.containers[0]) if "generation" in path.parts]


def test_a_registered_model_is_fetched_to_the_volume(helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    rendered = helm.render(CHART, sets(model__name="models:/chat@champion"))
    (container,) = only(rendered.objects).containers
    settings = settings_of(container, rendered, monkeypatch)
    assert settings.generation_service.model == "models:/chat@champion"
    assert {"name": "models", "mountPath": "/models"} in container["volumeMounts"]
    assert settings.models.is_relative_to("/models")


@pytest.mark.parametrize("number", [1, 2])
def test_the_values_that_the_documentation_gives_turn_it_on_in_the_dev_profile(helm: Helm, number: int) -> None:
    """1: a claim; 2: the registry, over it. The first is what the cluster tests install."""
    dev = next(case for case in profiles() if case.name.endswith("dev"))
    values = dict(dev.values)
    for given in documented()[:number]:
        values = merged(values, given)
    pod = only(helm.render(UMBRELLA, values).objects)
    assert pod.containers[0]["image"] == "ragstone/generation:0.1.0"


ALONE: list[tuple[dict[str, Any], str]] = [
    (sets(engine__kind="vllm"), "gpu.count is 0: set it to the number of GPUs of a pod"),
    (sets(gpu__count=1), "llama.cpp in this image runs on the CPU: set it to 0"),
    (sets(**{**VLLM, "gpu__count": 2}), "engine.vllm.tensorParallelSize is 1, and the model is cut into one part for each GPU"),
    (sets(model__name="org/model"), "llama.cpp takes a file"),
    (sets(replicas=2, model__cache__persistent=True), "there may be several pods"),
    (sets(autoscaling__minReplicas=9), "autoscaling.minReplicas is 9, but autoscaling.maxReplicas is 4"),
    (sets(autoscaling__keda__enabled=True), "autoscaling.keda.prometheusAddress is empty"),
    (
        sets(autoscaling__keda__enabled=True, autoscaling__keda__prometheusAddress="http://p:9090"),
        "metrics.serviceMonitor.enabled is not, so Prometheus would not know",
    ),
    (sets(extraEnv=[{"name": "RAGSTONE_GENERATION_SERVICE__ENGINE", "value": "x"}]), "extraEnv names RAGSTONE_GENERATION_SERVICE__ENGINE"),
    (sets(extraVolumeMounts=[{"name": "x", "mountPath": "/dev/shm"}]), "extraVolumeMounts names /dev/shm"),
    (sets(resources__requests__memory="256Mi", resources__limits__memory="256Mi"), "below 512Mi the process would be killed"),
]


@pytest.mark.parametrize(("values", "says"), ALONE, ids=[says[:40] for _, says in ALONE])
def test_what_could_not_work_is_refused(helm: Helm, values: dict[str, Any], says: str) -> None:
    with pytest.raises(helm_python.HelmError) as raised:
        helm.render(CHART, values)
    assert says in refusal(raised.value)


WHOLE: list[tuple[dict[str, Any], str]] = [
    (
        sets(global__generation="settings", orchestrator__generator__openai__baseUrl="http://x/v1"),
        "generation.enabled is true, but global.generation is settings, so nothing would use it",
    ),
    (sets(generation__enabled=False), "global.generation is service, but there is none: set generation.enabled to true"),
    (
        sets(generation__model__servedName="other"),
        "orchestrator.generator.openai.model is qwen3-8b, but generation.model.servedName is other",
    ),
    (
        sets(orchestrator__generator__kind="extractive"),
        "set generator.kind to openai and generator.openai.model to the name that it serves",
    ),
    (sets(orchestrator__generator__openai__baseUrl="http://x/v1"), "leave generator.openai.baseUrl and generator.openai.apiKey empty"),
    (sets(global__secrets__generation__existingSecret="keys"), "global.secrets.generation.externalSecret are both set: keep one"),
    (sets(global__stores="embedded"), "global.stores is embedded"),
]


@pytest.mark.parametrize(("values", "says"), WHOLE, ids=[says[:40] for _, says in WHOLE])
def test_what_does_not_go_together_is_refused(helm: Helm, values: dict[str, Any], says: str) -> None:
    (case,) = (case for case in ci_cases(UMBRELLA) if case.name == "ragstone-ci-cluster")
    with pytest.raises(helm_python.HelmError) as raised:
        helm.render(UMBRELLA, merged(case.values, values))
    assert says in refusal(raised.value)


def test_it_may_be_left_out(helm: Helm) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="unknownKey"):
        helm.render(CHART, {"unknownKey": 1})
    assert not [
        pod for pod in pods(helm.render(UMBRELLA, ci_cases(UMBRELLA)[1].values).objects) if pod.labels["app.kubernetes.io/name"] == CHART
    ]
