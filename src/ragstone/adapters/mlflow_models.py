"""Model registry on an MLflow server: its own registry of models, files as artifacts of a run a version, aliases as MLflow's own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion as Stored
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException

from ragstone.adapters import codecs
from ragstone.adapters.directory_models import changed_meanwhile, check_expected, file_gone, no_alias, no_model, no_version, too_large
from ragstone.adapters.mlflow import Mlflow, exists, missing
from ragstone.adapters.model_files import file_digest
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.domain.names import check_alias_name
from ragstone.domain.registered_models import ModelContent, ModelFile, ModelReference, ModelVersion, check_model_name

_DIGEST, _BODY, _PRINCIPAL = "ragstone.model_digest", "ragstone.model", "ragstone.principal"
_KIND, _LICENCE, _SPACE = "ragstone.kind", "ragstone.licence", "ragstone.space"  # for people who look at MLflow's pages
_EXPERIMENT, _FOLDER = "ragstone.models", "model"
_PAGE = 1000
_BODY_CHARACTERS = 100_000  # that MLflow takes in a tag
_TRANSFER = 3_600.0  # seconds for one file

T = TypeVar("T")


class MlflowModelRegistry:
    """Implements `ModelRegistry`. `prefix` comes before the names of registered models.

    A version's files are uploaded before it is made: what was cut short is a run without a version, which nobody asks for. MLflow moves an alias without
    looking at where it points: two who move the same one at the same moment may both succeed, and the later one counts.
    """

    def __init__(self, uri: str, prefix: str = "") -> None:
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
        self._mlflow = Mlflow(uri, "models")
        self._transfers = Mlflow(uri, "models", timeout=_TRANSFER)
        self._prefix = prefix

    async def register(self, name: str, content: ModelContent, folder: Path | None, principal: str) -> ModelVersion:
        model = self._prefix + check_model_name(name)
        body = codecs.MODEL_CONTENT.dump(content)
        if len(body) > _BODY_CHARACTERS:
            raise InvalidInput("model: it has more files than MLflow can list of one version; merge its weights into fewer.", field="model")
        if (known := await self._mlflow.call(lambda client: _find(client, model, content.digest), retry=True)) is not None:
            return await self.version(ModelReference(name, number=int(known.version)))
        run = await self._mlflow.call(lambda client: _new_run(client, self._prefix + _EXPERIMENT, name))
        for file in content.files:
            if folder is None:
                raise InvalidInput("model: its files are not said to be anywhere.", field="model")
            await self._upload(run, folder / file.path, file)
        tags = {_DIGEST: content.digest, _BODY: body, _PRINCIPAL: principal, _KIND: content.kind, _LICENCE: content.licence[:1000]}
        if content.identity is not None:
            tags[_SPACE] = content.identity.space

        def work(client: MlflowClient) -> Stored:
            try:
                client.create_registered_model(model)
            except MlflowException as error:
                if not exists(error):
                    raise
            source = f"{client.get_run(run).info.artifact_uri}/{_FOLDER}"
            own = client.create_model_version(model, source, run, tags=tags, await_creation_for=0)
            client.set_terminated(run, "FINISHED")
            first = _find(client, model, content.digest)
            if first is None:
                raise Unavailable("models: MLflow does not show the version that it made; try again.", field="models")
            if first.version != own.version:  # two registered it at a time
                client.delete_model_version(model, own.version)
            return first

        made = await self._mlflow.call(work)
        return await self.version(ModelReference(name, number=int(made.version)))

    async def version(self, reference: ModelReference) -> ModelVersion:
        name = reference.name
        model, stored = await self._all(name)
        if not stored:
            raise no_model(name)
        number = reference.number
        if reference.alias is not None:
            number = next((at for alias, at in model.items() if alias == reference.alias), None)
            if number is None:
                raise no_alias(name, reference.alias)
        found = next((each for each in stored if int(each.version) == number), None)
        if found is None:
            raise no_version(name, number)
        return _version(name, found, model)

    async def versions(self, name: str, *, limit: int = 50) -> list[ModelVersion]:
        aliases, stored = await self._all(name)
        return [_version(name, each, aliases) for each in reversed(stored[-limit:])]

    async def move_alias(self, name: str, alias: str, number: int, *, expected: int | None = None) -> ModelVersion:
        check_alias_name(alias)
        version = await self.version(ModelReference(name, number=number))
        aliases, _ = await self._all(name)
        check_expected(name, alias, aliases.get(alias, 0), expected)
        await self._mlflow.call(
            lambda client: client.set_registered_model_alias(self._prefix + name, alias, str(version.number)), retry=True
        )
        return await self.version(ModelReference(name, number=number))

    async def drop_alias(self, name: str, alias: str) -> None:
        aliases, _ = await self._all(name)
        if alias in aliases:
            await self._mlflow.call(lambda client: client.delete_registered_model_alias(self._prefix + name, alias), retry=True)

    async def fetch(self, version: ModelVersion, file: ModelFile, target: Path) -> None:
        path = f"{_FOLDER}/{file.path}"

        def work(client: MlflowClient) -> None:
            run = client.get_model_version(self._prefix + version.name, str(version.number)).run_id or ""
            listed = client.list_artifacts(run, str(PurePosixPath(path).parent))
            found = next((each for each in listed if each.path == path), None)
            if found is None:
                raise file_gone(version, file)
            if (found.file_size or 0) > file.size:  # before a byte of it is here
                raise too_large(version, file)
            with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=target.parent) as scratch:
                shutil.move(client.download_artifacts(run, path, scratch), target)

        await self._transfer(work, file_gone(version, file))

    async def close(self) -> None:
        await self._transfers.close()
        await self._mlflow.close()

    async def _upload(self, run: str, source: Path, file: ModelFile) -> None:
        def work(client: MlflowClient) -> None:
            client.log_artifact(run, str(source), str((PurePosixPath(_FOLDER) / file.path).parent))
            if not source.is_file() or file_digest(source) != file.sha256:  # after it was read: what was sent is what was checked
                raise changed_meanwhile(file)

        if not await asyncio.to_thread(source.is_file):
            raise changed_meanwhile(file)
        await self._transfers.call(work)

    async def _transfer(self, work: Callable[[MlflowClient], T], gone: NotFound) -> T:
        try:
            return await self._transfers.call(work)
        except MlflowException as error:
            if missing(error):
                raise gone from error
            raise

    async def _all(self, name: str) -> tuple[dict[str, int], list[Stored]]:
        """Aliases and versions of a name, oldest first; none of either where the name is not used."""
        model = self._prefix + check_model_name(name)

        def work(client: MlflowClient) -> tuple[dict[str, int], list[Stored]]:
            try:
                aliases = client.get_registered_model(model).aliases
            except MlflowException as error:
                if missing(error):
                    return {}, []
                raise
            return {alias: int(number) for alias, number in aliases.items()}, _versions(client, model)

        return await self._mlflow.call(work, retry=True)


def _new_run(client: MlflowClient, experiment: str, name: str) -> str:
    known = client.get_experiment_by_name(experiment)
    if known is None:
        try:
            client.create_experiment(experiment)
        except MlflowException as error:
            if not exists(error):
                raise
        known = client.get_experiment_by_name(experiment)
    if known is None or known.lifecycle_stage != "active":
        raise Unavailable(f"models: the experiment {experiment!r} was deleted in MLflow; restore it there.", field="models")
    return str(client.create_run(known.experiment_id, run_name=name).info.run_id)


def _find(client: MlflowClient, model: str, digest: str) -> Stored | None:
    return next((version for version in _versions(client, model) if version.tags[_DIGEST] == digest), None)


def _versions(client: MlflowClient, model: str) -> list[Stored]:
    """Versions that ragstone registered, oldest first; people may have put others there."""
    found: list[Stored] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{model}'", _PAGE, page_token=token)
        found += [version for version in page if _DIGEST in version.tags and _BODY in version.tags]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def _version(name: str, stored: Stored, aliases: dict[str, int]) -> ModelVersion:
    number = int(stored.version)
    try:
        content = codecs.MODEL_CONTENT.load(stored.tags[_BODY])
    except ValueError as error:
        raise InvalidInput(
            f"model: the record of models:/{name}/{number} can't be read; register the model again.", field="model"
        ) from error
    if content.digest != stored.tags[_DIGEST]:
        raise InvalidInput(f"model: the record of models:/{name}/{number} was altered: its digest is another one.", field="model")
    own = tuple(sorted(alias for alias, at in aliases.items() if at == number))
    return ModelVersion(name, number, content, stored.tags.get(_PRINCIPAL, ""), stored.creation_timestamp / 1e3, own)
