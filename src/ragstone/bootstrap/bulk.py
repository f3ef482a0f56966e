"""Bulk work: its stage, its runner, and the program of one shard."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

from ragstone.adapters.container import usable_cpus
from ragstone.adapters.dependency import Dependency
from ragstone.adapters.file_bulk_stage import FileBulkStage
from ragstone.adapters.process_runner import Command, ProcessRunner
from ragstone.bootstrap.models import embedding_model, further_models
from ragstone.bootstrap.secrets import secret_of
from ragstone.domain.errors import Unavailable
from ragstone.ports.bulk_runner import BulkRunner
from ragstone.ports.bulk_stage import BulkStage
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.settings import bulk_runners, stores
from ragstone.settings.model import Settings
from ragstone.use_cases.bulk import BulkSettings
from ragstone.use_cases.bulk_shard import work_shard
from ragstone.use_cases.platform import Connection

PROGRAM: tuple[str, ...] = (sys.executable, "-m", "ragstone.cli.main")
DIRECTORY = "bulk"  # in the data directory


def bulk_parts(settings: Settings, connections: list[Connection]) -> tuple[BulkStage | None, BulkRunner | None]:
    """Stage and runner of the settings; none of both where nothing is embedded in bulk, and the stage alone for an API. A client that is opened is added to `connections`."""
    match settings.bulk:
        case _ if settings.role == "api":
            return bulk_stage(settings, connections), None
        case bulk_runners.NoBulk():
            return None, None
        case bulk_runners.ProcessBulk() as processes:
            cores = usable_cpus()
            variables = {"RAGSTONE_THREADS": str(processes.threads or max(1, cores // min(processes.shards, cores)))}
            return bulk_stage(settings, connections), ProcessRunner(_command(settings), variables=variables, retries=processes.retries)
        case bulk_runners.KubernetesBulk() as cluster:
            from ragstone.adapters.kubernetes_jobs import KubernetesJobs, PodTemplate  # noqa: PLC0415 - its client is an extra

            template = PodTemplate.read(cluster.pod_template, resources=cluster.resources, node_selector=cluster.node_selector)
            runner = KubernetesJobs(
                template,
                namespace=cluster.namespace,
                parallelism=cluster.parallelism,
                retries=cluster.retries,
                kubeconfig=cluster.kubeconfig,
                timeout=cluster.timeout,
                look=cluster.look,
            )
            return bulk_stage(settings, connections), runner


def bulk_settings(settings: Settings) -> BulkSettings | None:
    """What the use cases want to know; None where nothing is embedded in bulk."""
    chosen = settings.bulk
    return None if isinstance(chosen, bulk_runners.NoBulk) else BulkSettings(chosen.shards, chosen.least, chosen.window)


def bulk_stage(settings: Settings, connections: list[Connection]) -> BulkStage:
    """In MongoDB where the catalog is there, else in the data directory. A client that is not in `connections` is made, and added."""
    match settings.catalog:
        case stores.SqliteCatalog():
            return FileBulkStage(settings.data_dir / DIRECTORY)
        case stores.MongoCatalog() as mongo:
            from ragstone.adapters.mongo import MongoDatabase  # noqa: PLC0415
            from ragstone.adapters.mongo_bulk_stage import MongoBulkStage  # noqa: PLC0415
            from ragstone.adapters.mongo_errors import translated  # noqa: PLC0415

            database = next((known for known in connections if isinstance(known, MongoDatabase)), None)
            if database is None:
                database = MongoDatabase(secret_of("catalog.uri", mongo.uri, mongo.uri_file), mongo.database, pool=4)
                connections.append(database)
            return MongoBulkStage(database, Dependency("bulk", timeout=6 * mongo.timeout, concurrency=4, translate=translated))


async def run_shard(settings: Settings, run_id: str, shard: int, models: Sequence[EmbeddingModel] | None = None) -> int:
    """Works one shard off, with the model of the settings that the run asks for; returns how many texts it embedded.

    `models`: loaded already. Raises `NotFound` for a run that is over, `Unavailable` when none of the models is the run's.
    """
    connections: list[Connection] = []
    stage = bulk_stage(settings, connections)
    try:
        wanted = (await stage.run(run_id)).model
        async for model in _models(settings, models):
            if model.identity == wanted:
                return await work_shard(stage, run_id, shard, model)
        raise Unavailable(
            f"The bulk work is for {wanted.name} (digest {wanted.digest[:12]}), which is neither `model` nor one of `further_models` here.",
            field="model",
        )
    finally:
        for connection in connections:
            await connection.close()


async def _models(settings: Settings, loaded: Sequence[EmbeddingModel] | None) -> AsyncIterator[EmbeddingModel]:
    """The further ones are loaded only when the first is not the one."""
    if loaded is not None:
        for model in loaded:
            yield model
        return
    yield await asyncio.to_thread(embedding_model, settings)
    for model in await asyncio.to_thread(further_models, settings):
        yield model


def _command(settings: Settings) -> Command:
    directory, model = str(settings.data_dir.resolve()), settings.model
    nice = settings.bulk.nice if isinstance(settings.bulk, bulk_runners.ProcessBulk) else 0

    def command(run_id: str, shard: int) -> Sequence[str]:
        return (*PROGRAM, "bulk-shard", run_id, str(shard), "--data-dir", directory, "--model", model, "--nice", str(nice), "--while-stdin")

    return command
