"""Jobs on Kubernetes: what they look like, and what becomes of those that are there already, fail, or are refused."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from ragstone.adapters.kubernetes_jobs import RUN, KubernetesJobs, PodTemplate, job_name
from ragstone.domain.bulk import BulkRun
from ragstone.domain.errors import InvalidInput, Unavailable
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support import kubernetes_api

GOOD, SLOW = (sys.executable, "-S", "-c", "pass"), (sys.executable, "-S", "-c", "import time; time.sleep(120)")
WORK = BulkRun("01job_space", HashingEmbeddingModel(8).identity, 2, 0.0)
POD = {
    "metadata": {"labels": {"app": "ragstone"}},
    "spec": {
        "restartPolicy": "Always",
        "nodeSelector": {"disk": "fast"},
        "containers": [{"name": "shard", "image": "ragstone/orchestrator:1", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
    },
}


@asynccontextmanager
async def runner_of(cluster: Path, patience: float = 60.0, template: PodTemplate | None = None) -> AsyncIterator[KubernetesJobs]:
    runner = KubernetesJobs(
        template or PodTemplate(POD), namespace=kubernetes_api.NAMESPACE, kubeconfig=cluster, look=0.02, patience=patience
    )
    yield runner
    await runner.close()


def template(directory: Path, text: str) -> PodTemplate:
    file = directory / "pod.yaml"
    file.write_text(text)
    return PodTemplate.read(file, resources={}, node_selector={})


async def test_the_manifest_is_one_that_kubernetes_takes(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(POD))
    read = PodTemplate.read(
        tmp_path / "pod.yaml", resources={"requests": {"memory": "2Gi"}, "limits": {"nvidia.com/gpu": "1"}}, node_selector={"pool": "gpu"}
    )
    with kubernetes_api.cluster(tmp_path, GOOD) as (_, kubeconfig):
        async with runner_of(kubeconfig, template=read) as runner:
            manifest = runner.manifest(replace(WORK, shards=7))
    for version in ("1.34", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(manifest, version, strict=True)
    spec, pod = manifest["spec"], manifest["spec"]["template"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"], spec["backoffLimitPerIndex"]) == ("Indexed", 7, 7, 5)
    assert manifest["metadata"]["annotations"] == {RUN: WORK.id}
    assert pod["restartPolicy"] == "Never"
    assert pod["nodeSelector"] == {"disk": "fast", "pool": "gpu"}
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"nvidia.com/gpu": "1"}}
    assert pod["containers"][0]["args"] == ["bulk-shard", WORK.id]
    assert spec["template"]["metadata"]["labels"]["app"] == "ragstone"


async def test_a_job_that_an_earlier_process_left_is_taken_over_while_it_runs(tmp_path: Path) -> None:
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)"
    with kubernetes_api.cluster(tmp_path, (sys.executable, "-S", "-c", wait)) as (cluster, kubeconfig):
        async with runner_of(kubeconfig) as runner:
            cluster.create(runner.manifest(WORK))
            working = asyncio.create_task(runner.run(WORK))
            async with asyncio.timeout(60):
                while len(cluster.requests) < 3:  # noqa: ASYNC110 - the cluster tells nothing
                    await asyncio.sleep(0.02)
            (tmp_path / "go").touch()
            await working
        assert (len(cluster.made), cluster.jobs) == (1, {})


@pytest.mark.parametrize("shards", [2, 3])
async def test_a_job_that_has_failed_or_is_of_other_shards_makes_room_for_the_new_one(tmp_path: Path, shards: int) -> None:
    with kubernetes_api.cluster(tmp_path, GOOD) as (cluster, kubeconfig):
        async with runner_of(kubeconfig) as runner:
            _, left = cluster.create(runner.manifest(replace(WORK, shards=shards)))
            if shards == WORK.shards:
                cluster.jobs[job_name(WORK.id)] = {
                    **left,
                    "status": {"conditions": [kubernetes_api.condition("Failed", "MaxFailedIndexesExceeded")]},
                }
            await runner.run(WORK)
        assert [job["spec"]["completions"] for job in cluster.made] == [shards, 2]
        assert cluster.jobs == {}


async def test_an_api_server_that_does_not_answer_for_a_while_is_waited_for(tmp_path: Path) -> None:
    with kubernetes_api.cluster(tmp_path, GOOD) as (cluster, kubeconfig):
        async with runner_of(kubeconfig) as runner:
            cluster.answers += [503, 500, 429]
            await runner.run(WORK)
        assert len(cluster.made) == 1
        assert cluster.requests[:4] == [f"POST /apis/batch/v1/namespaces/{kubernetes_api.NAMESPACE}/jobs"] * 4


async def test_one_that_never_answers_is_told(tmp_path: Path) -> None:
    with kubernetes_api.cluster(tmp_path, GOOD) as (_, kubeconfig):
        pass
    async with runner_of(kubeconfig, patience=0.1) as runner:
        with pytest.raises(Unavailable, match="does not answer"):
            await runner.run(WORK)


async def test_a_missing_right_is_told(tmp_path: Path) -> None:
    with kubernetes_api.cluster(tmp_path, GOOD) as (cluster, kubeconfig):
        async with runner_of(kubeconfig) as runner:
            cluster.answers += [403]
            with pytest.raises(Unavailable, match=r"refused a Job .*403.* role") as told:
                await runner.run(WORK)
        assert kubernetes_api.TOKEN not in str(told.value)


async def test_a_job_that_somebody_deletes_is_told(tmp_path: Path) -> None:
    with kubernetes_api.cluster(tmp_path, SLOW) as (cluster, kubeconfig):
        async with runner_of(kubeconfig) as runner:
            working = asyncio.create_task(runner.run(WORK))
            async with asyncio.timeout(60):
                while not cluster.pods:  # noqa: ASYNC110 - the cluster tells nothing
                    await asyncio.sleep(0.02)
            cluster.delete(job_name(WORK.id))
            with pytest.raises(Unavailable, match="was deleted"):
                await working


@pytest.mark.parametrize("text", ["", "spec: {}", "spec: {containers: []}", "spec: {containers: [{name: a}]}", "- 1", "a: [", "spec: 3"])
def test_what_is_no_pod_template_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"bulk\.pod_template"):
        template(tmp_path, text)


def test_a_template_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"bulk\.pod_template"):
        PodTemplate.read(tmp_path / "absent.yaml", resources={}, node_selector={})


@pytest.mark.parametrize("kubeconfig", [None, "absent"])
def test_without_an_account_it_does_not_start(tmp_path: Path, kubeconfig: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidInput, match=r"bulk\.kubeconfig"):
        KubernetesJobs(PodTemplate(POD), namespace="ragstone", kubeconfig=tmp_path / kubeconfig if kubeconfig else None)
