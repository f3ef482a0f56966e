"""Shards of bulk work as pods of an Indexed Job on Kubernetes: one Job a run, one index a shard."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from ragstone.domain.bulk import BulkRun
from ragstone.domain.errors import InvalidInput, Unavailable

T = TypeVar("T")
Manifest = dict[str, Any]
RUN, LABEL = "ragstone.dev/bulk-run", "ragstone.dev/bulk"  # annotation with a run's id, and label of what this makes
_TTL = 3600  # seconds that a finished Job stays when whoever made it was killed
_PATIENCE = 120.0  # seconds without an answer of the API server, after which the work waits for its job's next try
_NOT_FOUND, _CONFLICT = 404, 409
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A PodTemplateSpec. Its first container gets the command of a shard as its arguments."""

    manifest: Manifest

    @classmethod
    def read(cls, file: Path, *, resources: Mapping[Any, Mapping[str, str]], node_selector: Mapping[str, str]) -> PodTemplate:
        """Of a YAML file, with these resources and node labels over its own. Raises `InvalidInput` for one that is no pod template."""
        where = "bulk.pod_template"
        try:
            manifest = yaml.safe_load(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidInput(f"{where}: it can't be read as YAML ({type(error).__name__}).", field=where) from error
        try:
            spec = manifest["spec"]
            container = spec["containers"][0]
            if not isinstance(container["image"], str):
                raise TypeError
            for kind, quantities in resources.items():
                container.setdefault("resources", {}).setdefault(kind, {}).update(quantities)
            if node_selector:
                spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **node_selector}
        except (KeyError, IndexError, TypeError, AttributeError):
            raise InvalidInput(f"{where}: it is no pod template with a container and its image.", field=where) from None
        spec["restartPolicy"] = "Never"  # each try is a pod of its own, and counted by the Job
        return cls(manifest)


class KubernetesJobs:
    """Implements `BulkRunner`. `parallelism`: pods at once, 0: one a shard. `retries`: of each shard. `look`, `timeout`: seconds between calls, and of one.

    A Job that an earlier process left is taken over as long as it runs. Needs the right to create, get, list, watch and delete Jobs in the namespace.
    `kubeconfig` None: the account of the pod that this runs in. Raises `InvalidInput` when there is neither.
    """

    def __init__(
        self,
        template: PodTemplate,
        *,
        namespace: str,
        parallelism: int = 0,
        retries: int = 5,
        kubeconfig: Path | None = None,
        timeout: float = 10.0,
        look: float = 2.0,
        patience: float = _PATIENCE,
    ) -> None:
        self._template = template
        self._namespace = namespace
        self._parallelism = parallelism
        self._retries = retries
        self._timeout = timeout
        self._look = look
        self._patience = patience
        self._api = _connected(kubeconfig)
        self._jobs = client.BatchV1Api(self._api)

    async def run(self, run: BulkRun) -> None:
        name = job_name(run.id)
        try:
            await self._made(name, run)
            while not await self._ended(name):  # noqa: ASYNC110 - a watch would end without a word when the API server goes
                await asyncio.sleep(self._look)
        finally:
            await asyncio.shield(self._deleted(name))

    async def close(self) -> None:
        await asyncio.to_thread(self._api.close)

    def manifest(self, run: BulkRun) -> Manifest:
        """The Job of a run."""
        template = deepcopy(self._template.manifest)
        labels = {LABEL: "shard"}
        metadata = template.setdefault("metadata", {})
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        template["spec"]["containers"][0]["args"] = ["bulk-shard", run.id]
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": job_name(run.id), "labels": labels, "annotations": {RUN: run.id}},
            "spec": {
                "completionMode": "Indexed",
                "completions": run.shards,
                "parallelism": min(self._parallelism or run.shards, run.shards),
                "backoffLimitPerIndex": self._retries,
                "maxFailedIndexes": 0,
                "ttlSecondsAfterFinished": _TTL,
                "template": template,
            },
        }

    async def _made(self, name: str, run: BulkRun) -> None:
        """A Job of this run is at work. One that is finished, or being deleted, is waited for to be gone: its name is the new one's."""
        manifest = self.manifest(run)
        while True:
            try:
                await self._patiently(
                    lambda: self._jobs.create_namespaced_job(
                        self._namespace,
                        manifest,  # type: ignore[arg-type]  # a dict is taken too
                        field_validation="Strict",
                        _request_timeout=self._timeout,
                    )
                )
            except ApiException as error:
                if error.status != _CONFLICT:
                    raise _refused(error) from error
            else:
                return
            found = await self._found(name)
            if found is not None and found.metadata.deletion_timestamp is None:
                if _condition(found, "Complete") is None and _condition(found, "Failed") is None and found.spec.completions == run.shards:
                    return  # an earlier process made it
                await self._deleted(name)
            await asyncio.sleep(self._look)

    async def _ended(self, name: str) -> bool:
        """Whether every shard has ended well. Raises `Unavailable` when one has failed for good, or the Job is gone."""
        found = await self._found(name)
        if found is None or found.metadata.deletion_timestamp is not None:
            raise Unavailable("The Job of the bulk work was deleted; it is made again later.", field="bulk", retry_after=5.0)
        if (failed := _condition(found, "Failed")) is not None:
            shards = found.status.failed_indexes or "unknown"
            raise Unavailable(
                f"Shard {shards} of the bulk work failed for good ({failed.reason}: {failed.message}); its pods' logs say why.",
                field="bulk",
                retry_after=5.0,
            )
        return _condition(found, "Complete") is not None

    async def _deleted(self, name: str) -> None:
        """The Job and its pods. A request that fails is told: the Job ends by itself, as the stage is empty."""
        options = client.V1DeleteOptions(propagation_policy="Background")
        try:
            await self._call(lambda: self._jobs.delete_namespaced_job(name, self._namespace, body=options, _request_timeout=self._timeout))
        except ApiException as error:
            if error.status != _NOT_FOUND:
                _log.warning("job %s could not be deleted: %s", name, error.reason)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            _log.warning("job %s could not be deleted: %s", name, type(error).__name__)

    async def _found(self, name: str) -> Any | None:
        try:
            return await self._patiently(lambda: self._jobs.read_namespaced_job(name, self._namespace, _request_timeout=self._timeout))
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise _refused(error) from error

    async def _patiently(self, call: Callable[[], T]) -> T:
        """Again while the API server does not answer, or has too much to do: a rolling upgrade of it is no reason to begin anew."""
        until = time.monotonic() + self._patience
        while True:
            try:
                return await self._call(call)
            except ApiException as error:
                if error.status not in (429, 500, 502, 503, 504) or time.monotonic() >= until:
                    raise
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if time.monotonic() >= until:
                    raise Unavailable(
                        f"The Kubernetes API does not answer ({type(error).__name__}).", field="bulk", retry_after=10.0
                    ) from error
            await asyncio.sleep(self._look)

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.to_thread(call)


def job_name(run_id: str) -> str:
    """A name that Kubernetes takes, whatever the run's id is made of."""
    return f"ragstone-bulk-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def _condition(job: Any, kind: str) -> Any | None:
    return next((held for held in (job.status.conditions or ()) if held.type == kind and held.status == "True"), None)


def _refused(error: ApiException) -> Unavailable:
    return Unavailable(
        f"Kubernetes refused a Job of the bulk work ({error.status} {error.reason}); look at the role of this process's account.",
        field="bulk",
        retry_after=30.0,
    )


def _connected(kubeconfig: Path | None) -> Any:
    own = client.Configuration()
    own.retries = False  # `_patiently` repeats
    try:
        if kubeconfig is not None:
            config.load_kube_config(str(kubeconfig), client_configuration=own)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(client_configuration=own)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise InvalidInput(
            "bulk.kubeconfig: it can't be used, or is not set and this process is in no pod with an account's token.",
            field="bulk.kubeconfig",
        ) from error
    return client.ApiClient(own)
