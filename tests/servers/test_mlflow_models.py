"""Models on a real MLflow server: what was tampered with there, what others put there, and what holds while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from ragstone.adapters.model_content import read_content
from ragstone.adapters.model_downloads import ModelDownloads
from ragstone.domain.errors import Forbidden, InvalidInput, NotFound, Unavailable
from ragstone.domain.registered_models import ModelContent, ModelReference, ModelVersion
from tests.servers.nats import free_port
from tests.support.tiny_encoder import make_encoder

if TYPE_CHECKING:  # six seconds of imports
    from mlflow import MlflowClient

    from ragstone.adapters.mlflow_models import MlflowModelRegistry

    New = Callable[[str], MlflowModelRegistry]

pytestmark = [pytest.mark.packaged, pytest.mark.xdist_group("mlflow")]
CHAMPION = ModelReference("tiny", alias="champion")


@pytest.fixture
def prefix() -> str:
    return f"{uuid4().hex}."


@pytest.fixture
def new(prefix: str) -> New:
    """Makes a registry at an address."""
    from ragstone.adapters.mlflow_models import MlflowModelRegistry  # noqa: PLC0415

    return lambda uri: MlflowModelRegistry(uri, prefix)


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    """Somebody else's."""
    from mlflow import MlflowClient  # noqa: PLC0415

    return MlflowClient(mlflow_uri, mlflow_uri)


async def registered(registry: MlflowModelRegistry, folder: Path) -> ModelVersion:
    root, entry, files = read_content(folder, "embedder")
    made = await registry.register("tiny", ModelContent("embedder", "MIT", root.name, entry, files), root, "ada")
    return await registry.move_alias("tiny", "champion", made.number)


async def test_a_file_that_is_another_one_on_the_server_is_refused_and_named(
    mlflow_uri: str, prefix: str, new: New, client: MlflowClient, tmp_path: Path
) -> None:
    registry = new(mlflow_uri)
    folder = make_encoder(tmp_path / "minilm")
    await registered(registry, folder)
    (tmp_path / "evil").mkdir()
    config = (folder / "config.json").read_bytes()
    for content, message in (
        (config.replace(b"gelu", b"relu"), r"config\.json of models:/tiny/1 is not the file that was registered"),
        (config + b" ", r"config\.json of models:/tiny/1 is larger than the file that was registered"),
    ):
        (tmp_path / "evil" / "config.json").write_bytes(content)
        run = client.get_model_version(f"{prefix}tiny", "1").run_id or ""
        await asyncio.to_thread(client.log_artifact, run, str(tmp_path / "evil" / "config.json"), "model")
        with pytest.raises(Forbidden, match=message):
            await ModelDownloads(registry, tmp_path / "cache").local(CHAMPION, "embedder")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and path.suffix == "" and path.name != "seen"]
    await registry.close()


async def test_a_record_that_was_altered_is_refused(mlflow_uri: str, prefix: str, new: New, client: MlflowClient, tmp_path: Path) -> None:
    registry = new(mlflow_uri)
    made = await registered(registry, make_encoder(tmp_path / "minilm"))
    evil = made.content.files[0].sha256
    body = client.get_model_version(f"{prefix}tiny", "1").tags["ragstone.model"]
    for value, message in ((body.replace(evil, "0" * 64), "was altered"), ("{", "can't be read")):
        client.set_model_version_tag(f"{prefix}tiny", "1", "ragstone.model", value)
        with pytest.raises(InvalidInput, match=message):
            await registry.version(CHAMPION)
    await registry.close()


async def test_versions_that_others_made_are_none_of_ours(
    mlflow_uri: str, prefix: str, new: New, client: MlflowClient, tmp_path: Path
) -> None:
    registry = new(mlflow_uri)
    client.create_registered_model(f"{prefix}tiny")
    client.create_model_version(f"{prefix}tiny", "s3://bucket/elsewhere")
    client.set_registered_model_alias(f"{prefix}tiny", "champion", "1")
    with pytest.raises(NotFound):
        await registry.version(CHAMPION)
    made = await registered(registry, make_encoder(tmp_path / "minilm"))
    assert made.number == 2
    assert [one.number for one in await registry.versions("tiny")] == [2]
    client.set_registered_model_alias(f"{prefix}tiny", "champion", "1")
    with pytest.raises(NotFound, match="has no version 1"):
        await registry.version(CHAMPION)
    await registry.close()


async def test_what_was_fetched_before_serves_while_the_server_is_away(mlflow_uri: str, new: New, tmp_path: Path) -> None:
    registry = new(mlflow_uri)
    await registered(registry, make_encoder(tmp_path / "minilm"))
    there = await ModelDownloads(registry, tmp_path / "cache").local(CHAMPION, "embedder")
    await registry.close()
    away = new(f"http://127.0.0.1:{free_port()}")
    found = await ModelDownloads(away, tmp_path / "cache").local(CHAMPION, "embedder")
    assert (found.path, found.version, found.as_last_seen) == (there.path, there.version, True)
    with pytest.raises(Unavailable):
        await ModelDownloads(away, tmp_path / "elsewhere").local(CHAMPION, "embedder")
    await away.close()


async def test_a_registration_that_was_cut_short_leaves_no_version(mlflow_uri: str, new: New, tmp_path: Path) -> None:
    registry = new(mlflow_uri)
    folder = make_encoder(tmp_path / "minilm")
    root, entry, files = read_content(folder, "embedder")
    content = ModelContent("embedder", "MIT", root.name, entry, files)
    began = asyncio.Event()
    upload = registry._upload

    async def slow(*arguments: object) -> None:
        await upload(*arguments)  # type: ignore[arg-type]
        began.set()
        await asyncio.Event().wait()

    registry._upload = slow  # type: ignore[method-assign,assignment]
    registering = asyncio.create_task(registry.register("tiny", content, root, "ada"))
    await began.wait()
    registering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await registering
    registry._upload = upload  # type: ignore[method-assign]
    assert await registry.versions("tiny") == []
    assert (await registry.register("tiny", content, root, "ada")).number == 1
    await registry.close()
