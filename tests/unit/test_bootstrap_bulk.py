"""Bulk work of the settings: stage, runner, and one shard as its program runs it."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ragstone.adapters.file_bulk_stage import FileBulkStage
from ragstone.adapters.kubernetes_jobs import KubernetesJobs
from ragstone.adapters.mongo_bulk_stage import MongoBulkStage
from ragstone.adapters.process_runner import ProcessRunner
from ragstone.bootstrap import bulk
from ragstone.bootstrap.bulk import bulk_parts, bulk_settings, run_shard
from ragstone.cli import bulk as cli
from ragstone.cli.output import Output
from ragstone.cli.session import Flags, Session
from ragstone.domain.bulk import BulkPart, BulkRun
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Connection
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support import kubernetes_api
from tests.support.tiny_encoder import make_encoder

MONGO = {"kind": "mongo", "uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"}


def configured(tmp_path: Path, **settings: Any) -> Settings:
    return load_settings(data_dir=tmp_path / "data", models=tmp_path / "models", **settings)


async def closed(connections: list[Connection]) -> None:
    for connection in connections:
        await connection.close()


def test_unless_it_is_set_up_there_is_none(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    assert bulk_parts(settings, []) == (None, None)
    assert bulk_settings(settings) is None


def test_worker_processes_over_a_data_directory(tmp_path: Path) -> None:
    settings = configured(
        tmp_path, model="/models/own", bulk={"kind": "processes", "shards": 3, "least": 7, "window": 9, "nice": 12, "threads": 2}
    )
    stage, runner = bulk_parts(settings, [])
    assert isinstance(stage, FileBulkStage)
    assert isinstance(runner, ProcessRunner)
    found = bulk_settings(settings)
    assert found is not None
    assert (found.shards, found.least, found.window) == (3, 7, 9)
    command = list(runner._command("01job_space", 2))
    assert command[:2] == [bulk.PROGRAM[0], "-m"]
    assert command[3:] == [
        "bulk-shard",
        "01job_space",
        "2",
        "--data-dir",
        str(tmp_path / "data"),
        "--model",
        "/models/own",
        "--nice",
        "12",
        "--while-stdin",
    ]
    assert runner._environment["RAGSTONE_THREADS"] == "2"


async def test_jobs_over_mongodb(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump({"spec": {"containers": [{"name": "shard", "image": "a:1"}]}}))
    with kubernetes_api.cluster(tmp_path, ("true",)) as (_, kubeconfig):
        chosen = {
            "kind": "kubernetes",
            "pod_template": str(tmp_path / "pod.yaml"),
            "namespace": "ragstone",
            "kubeconfig": str(kubeconfig),
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
            "node_selector": {"pool": "gpu"},
        }
        connections: list[Connection] = []
        stage, runner = bulk_parts(configured(tmp_path, catalog=MONGO, bulk=chosen), connections)
        assert isinstance(stage, MongoBulkStage)
        assert isinstance(runner, KubernetesJobs)
        spec = runner.manifest(BulkRun("01job_space", HashingEmbeddingModel().identity, 3, 0.0))["spec"]["template"]["spec"]
        assert (spec["nodeSelector"], spec["containers"][0]["resources"]["limits"]) == ({"pool": "gpu"}, {"nvidia.com/gpu": "1"})
        await runner.close()
        await closed(connections)


async def test_an_api_only_tells_how_far_others_are(tmp_path: Path) -> None:
    stores = {
        "catalog": MONGO,
        "versions": {
            "kind": "lakefs",
            "endpoint": "http://127.0.0.1:1",
            "access_key_id": "k",
            "secret_access_key": "s",
            "storage_namespace": "local://x",
        },
        "index": {"kind": "qdrant", "url": "http://127.0.0.1:1"},
        "queue": {"kind": "nats", "url": "nats://127.0.0.1:1"},
    }
    connections: list[Connection] = []
    stage, runner = bulk_parts(configured(tmp_path, role="api", **stores), connections)
    again, _ = bulk_parts(configured(tmp_path, role="api", **stores), connections)
    assert isinstance(stage, MongoBulkStage)
    assert isinstance(again, MongoBulkStage)
    assert runner is None
    assert len(connections) == 1  # the client that is there is taken
    await closed(connections)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"kind": "kubernetes", "pod_template": "pod.yaml", "namespace": "ragstone"}, "stage what they embed in MongoDB"),
        ({"kind": "kubernetes", "pod_template": "pod.yaml", "namespace": "Not A Name"}, "namespace"),
        ({"kind": "kubernetes", "namespace": "ragstone"}, "pod_template"),
        ({"kind": "processes", "shards": 0}, "shards"),
        ({"kind": "processes", "nice": 20}, "nice"),
        ({"kind": "threads"}, "kind"),
    ],
    ids=str,
)
def test_settings_that_can_not_be_are_refused(tmp_path: Path, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInput, ValidationError), match=message):
        configured(tmp_path, bulk=chosen)


async def ordered(settings: Settings, model: HashingEmbeddingModel | None = None) -> tuple[FileBulkStage, BulkRun]:
    stage = FileBulkStage(settings.data_dir / "bulk")
    identity = (model or HashingEmbeddingModel()).identity
    run = BulkRun("01job_space", identity, 2, 0.0)
    await stage.order(run, [BulkPart(1, {f"{number:064x}": f"the red pump {number}" for number in range(40)})])
    return stage, run


async def test_a_shard_takes_the_model_that_the_run_asks_for(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    own, other = HashingEmbeddingModel(8), HashingEmbeddingModel(16, revision="2")
    stage, run = await ordered(settings, other)
    assert await run_shard(settings, run.id, 0, [own, other]) == 0
    assert await run_shard(settings, run.id, 1, [own, other]) == 40
    assert (own.embedded_texts, other.embedded_texts) == (0, 40)
    assert [part.rows.shape for part in await stage.vectors(run.id)] == [(40, 16)]
    await stage.order(BulkRun(run.id, HashingEmbeddingModel(4).identity, 2, 0.0), [])
    with pytest.raises(Unavailable, match="neither `model` nor one of `further_models`"):
        await run_shard(settings, run.id, 1, [own, other])
    with pytest.raises(NotFound):
        await run_shard(settings, "01other_space", 1, [own])


async def test_the_command_takes_its_number_from_the_pod_and_ends_well_when_the_work_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = await asyncio.to_thread(make_encoder, tmp_path / "tiny")
    session = Session(Flags(data_dir=tmp_path / "data", model=str(folder)))
    monkeypatch.setenv("RAGSTONE_MODELS", str(tmp_path / "models"))
    said = io.StringIO()
    monkeypatch.setattr("sys.stdout", said)
    session.output = Output(json_mode=True)
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    with pytest.raises(InvalidInput, match="JOB_COMPLETION_INDEX"):
        await cli.shard(session, "01job_space")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    await cli.shard(session, "01job_space", nice=0)
    assert json.loads(said.getvalue()) == {"run": "01job_space", "shard": 1, "embedded": 0}
    assert os.environ["JOB_COMPLETION_INDEX"] == "1"
