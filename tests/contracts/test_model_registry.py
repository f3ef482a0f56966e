"""What every model registry promises."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from ragstone.adapters.directory_models import DirectoryModelRegistry
from ragstone.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from ragstone.domain.registered_models import GeneratorReference, ModelContent, ModelFile, ModelReference, ModelVersion
from ragstone.domain.spaces import ModelIdentity
from ragstone.ports.model_registry import ModelRegistry
from tests.fakes.model_registry import InMemoryModelRegistry

IDENTITY = ModelIdentity("tiny", "r1", "d" * 64, 16, "mean", 20, "query: ", "passage: ")
REMOTE = ModelContent("generator", "MIT", reference=GeneratorReference("http://127.0.0.1:8080/v1", "llama", "2026-11"))


@pytest.fixture(params=["memory", "directory", pytest.param("mlflow", marks=[pytest.mark.packaged, pytest.mark.xdist_group("mlflow")])])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ModelRegistry]:
    adapter: ModelRegistry
    if request.param == "mlflow":
        from ragstone.adapters.mlflow_models import MlflowModelRegistry  # noqa: PLC0415 - six seconds of imports

        adapter = MlflowModelRegistry(request.getfixturevalue("mlflow_uri"), prefix=f"{uuid4().hex}.")
    else:
        adapter = DirectoryModelRegistry(tmp_path / "registry") if request.param == "directory" else InMemoryModelRegistry()
    yield adapter
    await adapter.close()


def written(folder: Path, files: dict[str, bytes]) -> ModelContent:
    """An embedder of these files in `folder`."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    listed = tuple(ModelFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in sorted(files.items()))
    return ModelContent("embedder", "Apache-2.0", folder.name, "", listed, IDENTITY)


async def test_a_version_comes_back_whole_with_its_files(
    registry: ModelRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = written(tmp_path / "tiny", {"config.json": b"{}", "1_Pooling/config.json": b'{"a": 1}', "model.safetensors": bytes(70_000)})
    made = await registry.register("tiny", content, tmp_path / "tiny", "ada")
    assert (made.name, made.number, made.content, made.principal, made.aliases) == ("tiny", 1, content, "ada", ())
    assert abs(made.created_at - time.time()) < 600
    assert await registry.version(ModelReference("tiny", number=1)) == made
    assert await registry.versions("tiny") == [made]
    assert capsys.readouterr() == ("", "")  # where commands print JSON
    (tmp_path / "here").mkdir()
    for file in content.files:
        target = tmp_path / "here" / file.path.replace("/", "-")
        await registry.fetch(made, file, target)
        assert target.read_bytes() == (tmp_path / "tiny" / file.path).read_bytes()
    assert len(list((tmp_path / "here").iterdir())) == len(content.files)  # and nothing beside them


async def test_a_reference_has_no_files(registry: ModelRegistry) -> None:
    made = await registry.register("llama", REMOTE, None, "ada")
    assert (await registry.version(ModelReference("llama", number=1))).content == REMOTE
    assert made.content.digest == REMOTE.digest


async def test_the_same_content_again_is_the_version_of_before(registry: ModelRegistry) -> None:
    first = await registry.register("llama", REMOTE, None, "ada")
    assert await registry.register("llama", REMOTE, None, "bob") == first
    second = await registry.register("llama", replace(REMOTE, licence="Apache-2.0"), None, "bob")
    assert (second.number, second.principal) == (2, "bob")
    assert await registry.register("llama", REMOTE, None, "eve") == first
    assert (await registry.register("other", REMOTE, None, "eve")).number == 1
    assert [one.number for one in await registry.versions("llama")] == [2, 1]
    assert [one.number for one in await registry.versions("llama", limit=1)] == [2]


async def test_a_file_that_is_another_one_or_gone_is_named_and_nothing_is_registered(registry: ModelRegistry, tmp_path: Path) -> None:
    content = written(tmp_path / "tiny", {"config.json": b"{}", "model.safetensors": b"weights"})
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"others!")
    with pytest.raises(InvalidInput, match=r"model\.safetensors"):
        await registry.register("tiny", content, tmp_path / "tiny", "ada")
    (tmp_path / "tiny" / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match=r"model\.safetensors"):
        await registry.register("tiny", content, tmp_path / "tiny", "ada")
    assert await registry.versions("tiny") == []
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"weights")
    assert (await registry.register("tiny", content, tmp_path / "tiny", "ada")).number == 1


async def test_an_alias_moves_and_may_be_compared_with_where_it_points(registry: ModelRegistry) -> None:
    for licence in ("MIT", "BSD-3-Clause"):
        await registry.register("llama", replace(REMOTE, licence=licence), None, "ada")
    champion = ModelReference("llama", alias="champion")
    assert (await registry.move_alias("llama", "champion", 1, expected=0)).aliases == ("champion",)
    assert (await registry.version(champion)).number == 1
    for wrong in (0, 2):
        with pytest.raises(Conflict):
            await registry.move_alias("llama", "champion", 2, expected=wrong)
    assert (await registry.version(champion)).number == 1
    assert (await registry.move_alias("llama", "champion", 2, expected=1)).number == 2
    assert (await registry.move_alias("llama", "staging", 2)).aliases == ("champion", "staging")
    assert [one.aliases for one in await registry.versions("llama")] == [("champion", "staging"), ()]
    await registry.drop_alias("llama", "champion")
    await registry.drop_alias("llama", "champion")
    with pytest.raises(NotFound):
        await registry.version(champion)


async def test_what_there_is_not_is_not_found(registry: ModelRegistry) -> None:
    for reference in (ModelReference("llama", number=1), ModelReference("llama", alias="champion")):
        with pytest.raises(NotFound, match="llama"):
            await registry.version(reference)
    assert await registry.versions("llama") == []
    await registry.drop_alias("llama", "champion")
    made = await registry.register("llama", REMOTE, None, "ada")
    for reference in (ModelReference("llama", number=2), ModelReference("llama", alias="champion")):
        with pytest.raises(NotFound, match="llama"):
            await registry.version(reference)
    with pytest.raises(NotFound):
        await registry.move_alias("llama", "champion", 2)
    with pytest.raises(InvalidInput, match="alias"):
        await registry.move_alias("llama", "latest", made.number)
    for name in ("ragstone.docs", "Llama", "../x", ""):
        with pytest.raises(InvalidInput, match="name"):
            await registry.register(name, REMOTE, None, "ada")


async def test_two_who_register_the_same_get_the_same(registry: ModelRegistry, tmp_path: Path) -> None:
    content = written(tmp_path / "tiny", {"config.json": b"{}"})
    both = await asyncio.gather(*(registry.register("tiny", content, tmp_path / "tiny", name) for name in ("ada", "bob")))
    assert both[0] == both[1]
    assert await registry.versions("tiny") == [both[0]]


async def test_a_file_that_grew_or_is_gone_is_not_brought(registry: ModelRegistry, tmp_path: Path) -> None:
    content = written(tmp_path / "tiny", {"config.json": b"{}"})
    made = await registry.register("tiny", content, tmp_path / "tiny", "ada")
    [file] = content.files
    target = tmp_path / "target"
    with pytest.raises(Forbidden, match=r"config\.json"):
        await registry.fetch(made, replace(file, size=1), target)
    with pytest.raises(NotFound, match=r"absent\.json"):
        await registry.fetch(made, replace(file, path="absent.json"), target)
    assert not target.exists()


def test_files_that_could_leave_their_folder_are_none() -> None:
    for path in ("../x", "/etc/x", "a/../b", "", "a//b", ".hidden", "a\\b"):
        with pytest.raises(InvalidInput):
            ModelFile(path, 1, "0" * 64)
    with pytest.raises(InvalidInput, match="licence"):
        replace(REMOTE, licence=" ")
    assert ModelVersion("a", 3, REMOTE, "ada", 0.0).label == "models:/a/3"
