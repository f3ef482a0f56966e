"""Experiment tracker on an MLflow server: one run a key, in an experiment of its name."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.entities import Run as Stored
from mlflow.exceptions import MlflowException

from ragstone.adapters.mlflow import Mlflow, exists
from ragstone.domain.errors import Unavailable
from ragstone.domain.tracking import Run

_KEY, _NAME = "ragstone.key", "mlflow.runName"
_FINISHED = "FINISHED"
_PARAMETER, _TAG = 6000, 5000  # characters that MLflow takes


class MlflowTracker:
    """Implements `ExperimentTracker`. `prefix` comes before the names of experiments.

    MLflow takes a run in several requests; it counts as recorded when it is terminated. Recorders of one experiment take turns (the lock of the relay):
    two that record the same key at the same moment would make two runs.
    """

    def __init__(self, uri: str, prefix: str = "") -> None:
        self._mlflow = Mlflow(uri)
        self._prefix = prefix
        self._experiments: dict[str, str] = {}

    async def record(self, run: Run) -> None:
        experiment = await self._experiment(run.experiment)
        found = await self._mlflow.call(lambda client: _find(client, experiment, run.key), retry=True)
        if found is not None and found.info.status == _FINISHED:
            return
        began, ended = round(run.began_at * 1e3), round(run.ended_at * 1e3)
        if found is None:
            # The key comes with the run itself: whoever finds the run half made completes it.
            tags = {_KEY: run.key[:_TAG]}
            found = await self._mlflow.call(lambda client: client.create_run(experiment, began, tags, run.name))
        identity = found.info.run_id
        metrics = [Metric(name, value, ended, 0) for name, value in run.metrics.items()]
        parameters = [Param(name, value[:_PARAMETER]) for name, value in run.parameters.items()]
        own = [RunTag(name, value[:_TAG]) for name, value in run.tags.items()]
        own += [RunTag("ragstone.began_at", repr(run.began_at)), RunTag("ragstone.ended_at", repr(run.ended_at))]
        await self._mlflow.call(lambda client: client.log_batch(identity, metrics, parameters, own), retry=True)
        await self._mlflow.call(lambda client: client.set_terminated(identity, _FINISHED, ended), retry=True)

    async def runs(self, experiment: str, *, limit: int = 50) -> list[Run]:
        def work(client: MlflowClient) -> list[Stored]:
            known = client.get_experiment_by_name(self._prefix + experiment)
            if known is None:
                return []
            order = ["attributes.start_time DESC"]
            return list(client.search_runs([known.experiment_id], "attributes.status = 'FINISHED'", ViewType.ACTIVE_ONLY, limit, order))

        stored = await self._mlflow.call(work, retry=True)
        return sorted((_run(experiment, one) for one in stored), key=lambda run: (run.began_at, run.key), reverse=True)

    async def check(self) -> None:
        await self._mlflow.call(lambda client: client.search_experiments(max_results=1))

    async def close(self) -> None:
        await self._mlflow.close()

    async def _experiment(self, name: str) -> str:
        """The experiment's id; it is made where there is none."""

        def work(client: MlflowClient) -> str:
            known = client.get_experiment_by_name(self._prefix + name)
            if known is None:
                try:
                    return str(client.create_experiment(self._prefix + name))
                except MlflowException as error:
                    known = client.get_experiment_by_name(self._prefix + name) if exists(error) else None
                    if known is None:
                        raise
            if known.lifecycle_stage != "active":
                raise Unavailable(f"tracking: the experiment {name!r} was deleted in MLflow; restore it there.", field="tracking")
            return str(known.experiment_id)

        if name not in self._experiments:
            self._experiments[name] = await self._mlflow.call(work, retry=True)
        return self._experiments[name]


def _find(client: MlflowClient, experiment: str, key: str) -> Stored | None:
    """The run of this key. It is looked for among all: a key may hold any quote, and MLflow's filters know no escape."""
    quoted = "'" if '"' in key else '"'
    if quoted not in key:
        found = client.search_runs([experiment], f"tags.`{_KEY}` = {quoted}{key[:_TAG]}{quoted}", ViewType.ACTIVE_ONLY, 1)
        return found[0] if found else None
    token: str | None = None
    while True:
        page = client.search_runs([experiment], "", ViewType.ACTIVE_ONLY, 1000, page_token=token)
        for run in page:
            if run.data.tags.get(_KEY) == key[:_TAG]:
                return run
        token = page.token
        if not token:
            return None


def _run(experiment: str, stored: Stored) -> Run:
    tags = {name: value for name, value in stored.data.tags.items() if not name.startswith("mlflow.")}
    return Run(
        experiment,
        tags.pop(_KEY, ""),
        stored.info.run_name or "",
        dict(stored.data.params),
        dict(stored.data.metrics),
        {name: value for name, value in tags.items() if name not in ("ragstone.began_at", "ragstone.ended_at")},
        float(tags.get("ragstone.began_at", stored.info.start_time / 1e3)),
        float(tags.get("ragstone.ended_at", (stored.info.end_time or 0) / 1e3)),
    )
