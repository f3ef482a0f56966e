"""What could not work is refused by Helm before anything is installed, with a sentence that says what to do."""

from __future__ import annotations

import operator
import re
from functools import reduce
from typing import Any

import helm_python
import pytest

from tests.charts.helm import CHARTS, UMBRELLA, Helm, ci_cases, merged, profiles, refusal, sets
from tests.charts.pods import pods

pytestmark = pytest.mark.xdist_group("charts")
MINIMAL = sets(apiKeys__existingSecret="ragstone-api-keys")
STORE = {"storeRef": {"name": "vault"}, "remoteKey": "ragstone/keys"}

GUARDS: list[tuple[dict[str, Any], str]] = [
    (sets(replicas=2), "replicas is 2, but the embedded stores have one owner process: set replicas to 1"),
    (sets(replicas=0), "replicas is 0"),
    (sets(apiKeys__existingSecret=""), "no secret with the API keys is named: set apiKeys.existingSecret"),
    (sets(apiKeys__externalSecret=STORE), "apiKeys.existingSecret and apiKeys.externalSecret are both set: keep the one"),
    (sets(apiKeys={"existingSecret": "", "externalSecret": STORE}), "`helm test` needs a key of its own: set tests.apiKey.existingSecret"),
    (sets(global__requireDigests=True), "global.requireDigests is set, but image.digest is empty: set image.digest"),
    (sets(ingress__enabled=True), "ingress.enabled is set, but ingress.host is empty: set it"),
    (sets(httpRoute={"enabled": True, "hostnames": ["a.example.org"]}), "httpRoute.parentRefs is empty: name the Gateway"),
    (sets(httpRoute={"enabled": True, "parentRefs": [{"name": "g"}]}), "httpRoute.hostnames is empty: set it"),
    (
        sets(ingress={"enabled": True, "host": "a.example.org"}, networkPolicy__gatewayNamespace=""),
        "networkPolicy.gatewayNamespace is empty",
    ),
    (sets(metrics__serviceMonitor__enabled=True, networkPolicy__monitoringNamespace=""), "networkPolicy.monitoringNamespace is empty"),
    (
        sets(resources__limits__memory="128Mi"),
        "resources.limits.memory is 128Mi, but below 512Mi the process would be killed while it starts: set at least that",
    ),
    (sets(generator__kind="openai"), "generator.openai.baseUrl or generator.openai.model is empty: set both"),
    (
        sets(interactions__redact={"question": "hash"}),
        "no secret with the key of hashed fields is named: set interactions.redactKey.existingSecret",
    ),
    (
        sets(model={"baked": True, "cache": {"persistent": True}}),
        "model.baked says that the image holds the model, but model.cache asks for a claim",
    ),
    (
        sets(tests__apiKey__key="api-keys"),
        "apiKeys.key and tests.apiKey.key are both api-keys in one Secret, but the first holds hashes and the second a key itself",
    ),
    (
        sets(resources={"requests": {"memory": "1025Mi"}, "limits": {"memory": "1Gi"}}),
        "resources.requests.memory is 1025Mi, but resources.limits.memory is 1Gi, and Kubernetes refuses a request above its limit",
    ),
    (sets(resources__requests={"ephemeral-storage": "3Gi"}), "resources.requests.ephemeral-storage is 3Gi"),
    (sets(resources={"requests": {"cpu": 2.5}, "limits": {"cpu": "2400m"}}), "resources.requests.cpu is 2.5"),
    (sets(tests__resources__requests__memory="1G"), "tests.resources.requests.memory is 1G, but tests.resources.limits.memory is 192Mi"),
    (
        sets(tmp__size="1281Mi", model__cache__size="768Mi"),
        "model.cache.size and tmp.size may take 2049Mi of the node's disk, but resources.limits.ephemeral-storage is 2Gi",
    ),
    (sets(tmp__size="3Gi", model__cache__persistent=True), "tmp.size may take 3072Mi of the node's disk"),
    *(
        (
            sets(extraEnv=[{"name": "A", "value": "1"}, {"name": name, "value": "x"}]),
            f"extraEnv names {name}, which the chart sets itself: {advice}",
        )
        for name, advice in {
            "RAGSTONE_LIMITS__TOP_K": "set limits.topK instead",
            "RAGSTONE_HOST": "set listenAddress instead",
            "RAGSTONE_API_KEYS_FILE": "set apiKeys instead",
            "RAGSTONE_DATA_DIR": "leave it out",
        }.items()
    ),
    *(
        (sets(extraVolumes=[{"name": name, "emptyDir": {}}]), f"extraVolumes names {name}, which is a volume of the chart's own")
        for name in ("data", "models", "secrets", "tmp")
    ),
    *(
        (
            sets(extraVolumeMounts=[{"name": "x", "mountPath": path}]),
            f"extraVolumeMounts names {path}, where the chart mounts a volume of its own",
        )
        for path in ("/var/lib/ragstone", "/var/cache/ragstone/", "/etc/ragstone/secrets", "/tmp/.")
    ),
]

EDGE = {"from": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 8642}]}
TAKEN: list[dict[str, Any]] = [
    sets(ingress={"enabled": True, "host": "a.example.org"}, networkPolicy={"gatewayNamespace": "", "extraIngress": [EDGE]}),
    sets(metrics__serviceMonitor__enabled=True, networkPolicy={"monitoringNamespace": "", "extraIngress": [EDGE]}),
    sets(resources={"requests": {"memory": "1Gi", "cpu": "1500m"}, "limits": {"memory": 1073741824, "cpu": 1.5}}),
    sets(
        resources__requests={"cpu": None, "memory": "2Gi"}, resources__limits={"memory": None, "ephemeral-storage": None}, tmp__size="9Gi"
    ),
    sets(tmp__size="1536Mi", model__cache__size="512Mi"),
    sets(tmp__size="2Gi", model__cache={"persistent": True, "size": "9Gi"}),
    sets(extraEnv=[{"name": "RAGSTONE_GENERATOR__API_KEY_FILE", "value": "/csi/key"}]),
    sets(extraVolumes=[{"name": "x", "emptyDir": {}}], extraVolumeMounts=[{"name": "x", "mountPath": "/tmp/x"}]),
    sets(listenAddress="::"),
    sets(tests__apiKey={"existingSecret": "other", "key": "api-keys"}),
    sets(tests={"enabled": False, "apiKey": {"key": "api-keys"}}),
]

SCHEMA: list[tuple[dict[str, Any], str]] = [
    (sets(replicas="one"), "'/replicas': got string, want integer"),
    (sets(replicas=1.5), "'/replicas': got number, want integer"),
    (sets(replica=1), "additional properties 'replica' not allowed"),
    (sets(image__taag="x"), "'/image': additional properties 'taag' not allowed"),
    (sets(image__tag="latest"), "'/image/tag': 'not' failed"),
    (sets(image__digest="sha256:abc"), "'/image/digest': 'sha256:abc' does not match pattern"),
    (sets(image__pullPolicy="Sometimes"), "'/image/pullPolicy': value must be one of"),
    (sets(apiKeys__existingSecret=None, apiKeys__key=5), "'/apiKeys/key': got number, want string"),
    (sets(apiKeys__value="in-plain-sight"), "additional properties 'value' not allowed"),
    (sets(data__size="ten"), "'/data/size'"),
    (sets(data__accessMode="ReadWriteMany"), "'/data/accessMode': value must be one of"),
    (sets(ingress__host="https://a.example.org"), "'/ingress/host'"),
    (sets(ingress__host="10.1.2.3"), "'/ingress/host'"),
    (sets(httpRoute__hostnames=["10.1.2.3"]), "'/httpRoute/hostnames/0': 'not' failed"),
    (sets(nodeSelector={"disk": True}), "'/nodeSelector/disk': got boolean, want string"),
    (sets(extraEnv={"A": "b"}), "'/extraEnv': got object, want array"),
    (sets(listenAddress="10.0.0.1"), "'/listenAddress': value must be one of"),
    (sets(global__mirror="x"), "'/global': additional properties 'mirror' not allowed"),
]


@pytest.mark.parametrize(("values", "sentence"), GUARDS + SCHEMA, ids=lambda value: value[:60] if isinstance(value, str) else "")
@pytest.mark.parametrize("below_umbrella", [False, True], ids=["alone", "below the umbrella"])
def test_values_that_are_refused(helm: Helm, values: dict[str, Any], sentence: str, below_umbrella: bool) -> None:
    chart, whole = "orchestrator", merged(MINIMAL, values)
    if below_umbrella:
        shared = {"global": whole.pop("global")} if "global" in whole else {}
        chart, whole = UMBRELLA, {**shared, "orchestrator": whole}
    with pytest.raises(helm_python.HelmError) as refused:
        helm.render(chart, whole)
    assert sentence in refusal(refused.value)


@pytest.mark.parametrize(("values", "sentence"), GUARDS, ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_a_guard_speaks_one_sentence_and_names_its_chart(helm: Helm, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        helm.render("orchestrator", merged(MINIMAL, values))
    said = refusal(refused.value).strip()
    assert said.startswith("orchestrator: ")
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize("values", TAKEN, ids=str)
def test_what_could_work_is_not_refused(helm: Helm, values: dict[str, Any]) -> None:
    assert helm.render("orchestrator", merged(MINIMAL, values)).objects


def test_each_variable_that_the_chart_sets_is_refused_among_the_extra_ones_with_the_value_that_stands_for_it(helm: Helm) -> None:
    known = helm_python.values_from_yaml((CHARTS / "orchestrator" / "values.yaml").read_text(encoding="utf-8"))
    seen: set[str] = set()
    for case in ci_cases("orchestrator"):
        objects = helm.case(case).objects
        (container,) = (container for pod in pods(objects) if pod.is_served for container in pod.containers)
        (settings,) = (each["data"] for each in objects if each["kind"] == "ConfigMap")
        theirs = {each["name"] for each in case.values.get("extraEnv", [])}
        for name in {*settings, *(each["name"] for each in container["env"])} - theirs - seen:
            seen.add(name)
            with pytest.raises(helm_python.HelmRenderError) as refused:
                helm.render("orchestrator", merged(case.values, sets(extraEnv=[{"name": name, "value": "x"}])))
            said = refusal(refused.value)
            assert f"extraEnv names {name}, which the chart sets itself: " in said
            advised = re.search(r"set (\S+) instead", said)
            assert advised is None or reduce(operator.getitem, advised[1].split("."), known) is not None


@pytest.mark.parametrize("case", [case for case in profiles() if case.name.endswith("-small")], ids=lambda case: case.name)
def test_the_small_profile_with_two_replicas_is_refused(helm: Helm, case: Any) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="replicas is 2"):
        helm.render(case.chart, merged(case.values, sets(orchestrator__replicas=2)))


def test_values_without_a_secret_are_refused_by_default(helm: Helm) -> None:
    for chart in (UMBRELLA, "orchestrator"):
        with pytest.raises(helm_python.HelmRenderError, match=r"existingSecret"):
            helm.render(chart, {})
