"""Release registry on an MLflow server: a registered model a collection, a version a release, aliases as MLflow's own."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from ragstone.adapters import codecs
from ragstone.adapters.mlflow import Mlflow, exists, missing
from ragstone.adapters.sqlite_releases import moved_meanwhile, no_alias, no_release
from ragstone.domain.names import check_alias_name
from ragstone.domain.releases import Alias, RegisteredRelease, Release

_ID, _BODY, _PRINCIPAL = "ragstone.release_id", "ragstone.release", "ragstone.principal"
_PAGE = 1000


class MlflowReleaseRegistry:
    """Implements `ReleaseRegistry`. `prefix` comes before the names of registered models.

    MLflow moves an alias without looking at where it points: two who move the same one at the same moment may both succeed, and the later one counts.
    """

    def __init__(self, uri: str, prefix: str = "ragstone.") -> None:
        self._mlflow = Mlflow(uri)
        self._prefix = prefix

    async def register(self, release: Release, principal: str) -> RegisteredRelease:
        def work(client: MlflowClient) -> RegisteredRelease:
            model = self._prefix + release.collection
            try:
                client.create_registered_model(model)
            except MlflowException as error:
                if not exists(error):
                    raise
            tags = {_ID: release.id, _BODY: codecs.RELEASE.dump(release), _PRINCIPAL: principal}
            if known := _find(client, model, release.id):
                return _registered(known)
            # The source is where a model's files are; a release has none, so it names itself.
            client.create_model_version(model, f"ragstone://{release.collection}/{release.id}", tags=tags)
            made = _find(client, model, release.id)  # the first one, when two registered it at a time
            if made is None:
                raise no_release(release.collection, release.id)
            return _registered(made)

        return await self._mlflow.call(work)

    async def release(self, collection: str, release_id: str) -> RegisteredRelease:
        return _registered(await self._version(collection, release_id))

    async def releases(self, collection: str, *, before: int | None = None, limit: int = 50) -> list[RegisteredRelease]:
        def work(client: MlflowClient) -> list[ModelVersion]:
            return _versions(client, self._prefix + collection)

        found = [_registered(version) for version in await self._mlflow.call(work, retry=True)]
        return [one for one in reversed(found) if before is None or one.number < before][:limit]

    async def move_alias(self, collection: str, name: str, release_id: str, *, expected: str | None) -> Alias:
        check_alias_name(name)
        version = await self._version(collection, release_id)
        points_at = {alias.name: alias.release_id for alias in await self.aliases(collection)}
        if points_at.get(name) != expected:
            raise moved_meanwhile(name, points_at.get(name))
        await self._mlflow.call(
            lambda client: client.set_registered_model_alias(self._prefix + collection, name, version.version), retry=True
        )
        return Alias(collection, name, release_id, int(version.version))

    async def drop_alias(self, collection: str, name: str) -> None:
        if any(alias.name == name for alias in await self.aliases(collection)):
            await self._mlflow.call(lambda client: client.delete_registered_model_alias(self._prefix + collection, name), retry=True)

    async def alias(self, collection: str, name: str) -> Alias:
        for alias in await self.aliases(collection):
            if alias.name == name:
                return alias
        raise no_alias(collection, name)

    async def aliases(self, collection: str) -> list[Alias]:
        def work(client: MlflowClient) -> tuple[RegisteredModel | None, list[ModelVersion]]:
            try:
                model = client.get_registered_model(self._prefix + collection)
            except MlflowException as error:
                if missing(error):
                    return None, []
                raise
            return model, _versions(client, self._prefix + collection)

        model, versions = await self._mlflow.call(work, retry=True)
        if model is None:
            return []
        releases = {version.version: version.tags[_ID] for version in versions}
        found = [Alias(collection, name, releases[version], int(version)) for name, version in model.aliases.items() if version in releases]
        return sorted(found, key=lambda alias: alias.name)

    async def close(self) -> None:
        await self._mlflow.close()

    async def _version(self, collection: str, release_id: str) -> ModelVersion:
        found = await self._mlflow.call(lambda client: _find(client, self._prefix + collection, release_id), retry=True)
        if found is None:
            raise no_release(collection, release_id)
        return found


def _find(client: MlflowClient, model: str, release_id: str) -> ModelVersion | None:
    return next((version for version in _versions(client, model) if version.tags[_ID] == release_id), None)


def _versions(client: MlflowClient, model: str) -> list[ModelVersion]:
    """Versions that are releases, oldest first; people may have put others there."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{model}'", _PAGE, page_token=token)
        found += [version for version in page if _ID in version.tags and _BODY in version.tags]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def _registered(version: ModelVersion) -> RegisteredRelease:
    return RegisteredRelease(
        codecs.RELEASE.load(version.tags[_BODY]), int(version.version), version.tags.get(_PRINCIPAL, ""), version.creation_timestamp / 1e3
    )
