"""What could not work in a cluster is refused by Helm before anything is installed, with a sentence that says what to do."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.charts.helm import UMBRELLA, Helm, merged, profiles, refusal, sets

pytestmark = pytest.mark.xdist_group("charts")
DEV = next(case for case in profiles() if case.name == "ragstone-dev")
CLUSTER = {"global": {"stores": "cluster"}}
VAULT = {"storeRef": {"name": "vault"}, "remoteKey": "ragstone/x"}


def of(component: str, **values: Any) -> dict[str, Any]:
    return {component: sets(**values)}


WHOLE: list[tuple[dict[str, Any], str]] = [
    (of("qdrant", enabled=False), "there is no qdrant: set qdrant.enabled to true, or global.external.qdrant.url to where yours is"),
    (of("mongodb", enabled=False), "there is no mongodb: set mongodb.enabled to true, or global.external.mongodb.enabled"),
    (of("lakefs", enabled=False), "there is no lakefs: set lakefs.enabled to true, or global.external.lakefs.endpoint"),
    (of("nats", enabled=False), "there is no nats: set nats.enabled to true, or global.external.nats.url"),
    (
        of("object-store", enabled=False),
        "there is no object-store: set object-store.enabled to true, or global.external.objectStore.endpoint",
    ),
    (of("mlflow", enabled=False), "there is no mlflow: set mlflow.enabled to true, or global.external.mlflow.url"),
    (
        sets(**{"global__external__nats__url": "nats://n.example.org:4222"}),
        "nats.enabled is true, and global.external.nats.url says that it is outside the release: keep one of them",
    ),
    (sets(**{"global__external__mongodb__enabled": True}), "mongodb.enabled is true, and global.external.mongodb.enabled says"),
    (sets(**{"global__tracking": "none"}), "mlflow.enabled is true, but global.tracking is none"),
    (sets(**{"global__stores": "embedded"}), "global.stores is embedded"),
    (of("dev-secrets", enabled=False), "is named: set global.secrets."),
    (
        sets(**{"global__secrets__lakefs": {"existingSecret": "a", "externalSecret": VAULT}}),
        "global.secrets.lakefs.existingSecret and global.secrets.lakefs.externalSecret are both set: keep one",
    ),
    (
        of("dev-secrets", apiKeysSecret="other"),
        "dev-secrets.apiKeysSecret is other, but orchestrator.apiKeys.existingSecret is ragstone-api-keys",
    ),
    (of("worker", enabled=False), "worker.enabled is false, so nobody would ingest anything: set it to true"),
    (
        of("worker", model__name="bge-small-en-v1.5"),
        "worker.model.name is bge-small-en-v1.5, and questions are compared with what the worker has",
    ),
    (sets(**{"global__embedding": "process"}), "embedding.enabled is true, but global.embedding is process, so nothing would use it"),
    (of("embedding", enabled=False), "global.embedding is service, but there is none: set embedding.enabled to true"),
    (of("dev-secrets", enabled=False), "no secret of embedding is named: set global.secrets.embedding.existingSecret"),
    (
        of("embedding", model__name="bge-small-en-v1.5"),
        "embedding.model.name is bge-small-en-v1.5, and texts are cut by the model's own tokenizer",
    ),
    (of("worker", limits__documentBytes=1), "worker.limits.documentBytes is 1: set both to the same"),
    (of("worker", autoscaling__keda__enabled=True), "nats.networkPolicy.kedaNamespace is empty, so KEDA could not ask"),
    (sets(**{"global__index__replicationFactor": 2}), "global.index.replicationFactor is 2, but qdrant.replicas is 1"),
    (sets(**{"global__queue__replicas": 3}), "global.queue.replicas is 3, but nats.replicas is 1"),
    (sets(**{"global__blockstore": "local"}), "backup.enabled is true, but global.blockstore is local"),
    (of("qdrant", replicas=3), "replicas is 3, but cluster.enabled is false, so each pod would hold an index of its own"),
    (of("orchestrator", replicas=2, model__cache__persistent=True), "its claim can be mounted on one node, and there are 2 replicas"),
    (
        of("lakefs", networkPolicy__enabled=False),
        "lakefs.networkPolicy.enabled is false, but networkPolicy.defaultDeny would then cut it off",
    ),
]

ALONE: list[tuple[str, dict[str, Any], str]] = [
    ("nats", sets(replicas=2), "JetStream needs more than half of its pods"),
    ("nats", sets(jetstream__storage="6Gi"), "jetstream.storage is 6Gi, but data.size is 5Gi"),
    ("mongodb", sets(replicas=2), "a primary needs more than half of the members"),
    ("mongodb", sets(cacheBytes=1073741824), "cacheBytes is 1073741824, and the server takes about twice that"),
    ("mongodb", sets(global__requireDigests=True), "image.digest is empty"),
    ("mongodb", sets(global__requireDigests=True, image__digest="sha256:" + "0" * 64), "tools.image.digest is empty"),
    ("object-store", sets(replicas=2), "one process owns the volume: set replicas to 1, or use an S3 of yours"),
    ("lakefs", sets(replicas=2), "database.kind or global.blockstore is local, and the volume has one user"),
    ("mlflow", sets(replicas=2), "database.kind is sqlite, and its volume has one user: set database.kind to external"),
    ("worker", {}, "global.stores is embedded, and the one process that owns embedded stores is the orchestrator"),
    (
        "worker",
        merged(CLUSTER, sets(autoscaling={"keda": {"enabled": True}, "cpu": {"enabled": True}})),
        "would pull at the same number: keep one",
    ),
    ("worker", merged(CLUSTER, sets(autoscaling={"minReplicas": 9})), "autoscaling.minReplicas is 9, but autoscaling.maxReplicas is 8"),
    (
        "worker",
        merged(CLUSTER, sets(autoscaling={"minReplicas": 0, "cpu": {"enabled": True}})),
        "by CPU nothing would ever start the first one",
    ),
    ("worker", merged(CLUSTER, sets(replicas=2, model__cache__persistent=True)), "there may be several workers"),
    ("embedding", sets(replicas=2, model__cache__persistent=True), "there may be several pods"),
    ("embedding", sets(model__baked=True, model__cache__persistent=True), "model.baked says that the image holds the model"),
    ("embedding", sets(extraEnv=[{"name": "RAGSTONE_API_KEYS_FILE", "value": "x"}]), "extraEnv names RAGSTONE_API_KEYS_FILE"),
    ("embedding", sets(resources__requests__memory="256Mi", resources__limits__memory="256Mi"), "below 512Mi the process would be killed"),
    (
        "worker",
        merged(CLUSTER, sets(global__external__nats__url="nats://n:4222", autoscaling__keda__enabled=True)),
        "the queue is outside the release",
    ),
    ("backup", {}, "global.stores is embedded, whose backup the orchestrator makes while it runs"),
    ("backup", merged(CLUSTER, sets(restore__enabled=True)), "restore.enabled is set, but restore.backup is empty"),
    ("qdrant", sets(extraEnv=[{"name": "QDRANT__SERVICE__API_KEY", "value": "x"}]), "extraEnv names QDRANT__SERVICE__API_KEY"),
    ("nats", sets(extraVolumes=[{"name": "configuration", "emptyDir": {}}]), "extraVolumes names configuration"),
    ("lakefs", sets(localCache="1Gi"), "localCache and tmp.size may take 1088Mi of the node's disk"),
    ("qdrant", sets(preStopSeconds=0), "preStopSeconds"),
    ("qdrant", sets(image__tag="latest"), "/image/tag"),
]


@pytest.mark.parametrize(("values", "sentence"), WHOLE, ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_a_whole_that_could_not_work_is_refused(helm: Helm, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        helm.render(UMBRELLA, merged(DEV.values, values))
    said = refusal(refused.value).strip()
    assert sentence in said
    assert "\n" not in said


@pytest.mark.parametrize(("chart", "values", "sentence"), ALONE, ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_a_component_that_could_not_work_is_refused(helm: Helm, chart: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(helm_python.HelmError) as refused:
        helm.render(chart, values)
    assert sentence in refusal(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {"nats": {"enabled": False}, **sets(**{"global__external__nats__url": "tls://n.example.org:4222"})},
        {"lakefs": {"enabled": False}, **sets(**{"global__external__lakefs__endpoint": "https://l.example.org"})},
        {"object-store": {"enabled": False}, **sets(**{"global__external__objectStore__endpoint": "https://s3.example.org"})},
        {"mlflow": {"enabled": False}, **sets(**{"global__tracking": "none"})},
        {"backup": {"enabled": False}, **sets(**{"global__blockstore": "local"})},
    ],
    ids=str,
)
def test_every_store_can_be_outside_or_left_out(helm: Helm, values: dict[str, Any]) -> None:
    (left_out,) = (name for name in values if name != "global")
    rendered = helm.render(UMBRELLA, merged(DEV.values, values))
    assert not [each for each in rendered.objects if each["metadata"]["labels"]["app.kubernetes.io/name"] == left_out]
