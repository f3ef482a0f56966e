"""Registered models on this machine: fetched once, compared before each use, there without the registry."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from ragstone.adapters.model_downloads import ModelDownloads
from ragstone.domain.errors import Forbidden, InvalidInput, NotFound, StorageFull, TooLarge, Unavailable
from ragstone.domain.registered_models import GeneratorReference, ModelContent, ModelFile, ModelReference, parse_reference
from tests.fakes.model_registry import InMemoryModelRegistry

FILES = {"config.json": b"{}", "onnx/model.onnx": b"weights of some size", "tokenizer.json": b'{"a": 1}'}
CHAMPION = ModelReference("tiny", alias="champion")


async def registered(registry: InMemoryModelRegistry, folder: Path, files: dict[str, bytes] | None = None, entry: str = "") -> ModelContent:
    """A new version, which is the champion."""
    files = files or FILES
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    listed = tuple(ModelFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items())
    content = ModelContent("reranker", "MIT", folder.name, entry, listed)
    made = await registry.register("tiny", content, folder, "ada")
    await registry.move_alias("tiny", "champion", made.number)
    return content


@pytest.fixture
def registry() -> InMemoryModelRegistry:
    return InMemoryModelRegistry()


@pytest.fixture
def downloads(registry: InMemoryModelRegistry, tmp_path: Path) -> ModelDownloads:
    return ModelDownloads(registry, tmp_path / "cache")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_version_is_fetched_once_into_a_folder_of_its_name(
    registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path
) -> None:
    content = await registered(registry, tmp_path / "minilm")
    for reference in (CHAMPION, parse_reference("models:/tiny/1"), CHAMPION):
        found = await downloads.local(reference, "reranker")
        assert found.path == tmp_path / "cache" / content.digest / "minilm"
        assert (found.version.label, found.as_last_seen) == ("models:/tiny/1", False)
    assert contents(found.path) == FILES
    assert registry.fetched == len(FILES)


async def test_what_to_open_may_be_a_file_of_it(registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path) -> None:
    await registered(registry, tmp_path / "minilm", entry="onnx/model.onnx")
    assert (await downloads.local(CHAMPION, "reranker")).path.read_bytes() == FILES["onnx/model.onnx"]


@pytest.mark.parametrize("other", [b"weights of some sizE", b"short", b"weights of some size and more"])
async def test_a_file_that_was_tampered_with_in_the_registry_is_named_and_never_used(
    registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path, other: bytes
) -> None:
    content = await registered(registry, tmp_path / "minilm")
    registry.files["tiny", 1, "onnx/model.onnx"] = other
    for _ in range(2):
        with pytest.raises(Forbidden, match=r"onnx/model\.onnx"):
            await downloads.local(CHAMPION, "reranker")
    assert not (tmp_path / "cache" / content.digest).exists()
    registry.files["tiny", 1, "onnx/model.onnx"] = FILES["onnx/model.onnx"]
    fetched = registry.fetched
    assert contents((await downloads.local(CHAMPION, "reranker")).path) == FILES
    assert registry.fetched - fetched <= 2  # what had come before is not fetched again


async def test_a_file_that_was_tampered_with_here_is_fetched_again_and_without_the_registry_named(
    registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await registered(registry, tmp_path / "minilm")
    found = await downloads.local(CHAMPION, "reranker")
    (found.path / "tokenizer.json").write_bytes(b'{"b": 1}')
    registry.down = True
    with pytest.raises(Forbidden, match=r"tokenizer\.json of models:/tiny/1 in the model cache"):
        await downloads.local(CHAMPION, "reranker")
    registry.down = False
    assert contents((await downloads.local(CHAMPION, "reranker")).path) == FILES
    (found.path / "added_tokens.json").write_bytes(b"{}")  # a file more can change what the others mean
    assert contents((await downloads.local(CHAMPION, "reranker")).path) == FILES
    assert "added_tokens.json of models:/tiny/1 in the model cache is not the file" in caplog.text
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".damaged")]


async def test_without_the_registry_it_is_what_was_seen_last(
    registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await registered(registry, tmp_path / "minilm")
    registry.down = True
    with pytest.raises(Unavailable, match="has not seen the model before"):
        await downloads.local(CHAMPION, "reranker")
    registry.down = False
    await downloads.local(CHAMPION, "reranker")
    await registered(registry, tmp_path / "minilm", FILES | {"config.json": b'{"next": true}'})
    await downloads.look(CHAMPION)  # seen, and not fetched
    registry.down = True
    with pytest.raises(Unavailable):
        await downloads.local(CHAMPION, "reranker")
    registry.down = False
    await downloads.local(CHAMPION, "reranker")
    registry.down = True
    later = ModelDownloads(registry, tmp_path / "cache")
    found = await later.local(CHAMPION, "reranker")
    assert (found.version.label, found.as_last_seen) == ("models:/tiny/2", True)
    assert contents(found.path)["config.json"] == b'{"next": true}'
    assert "models:/tiny/2 is taken" in caplog.text


async def test_what_a_broken_off_transfer_brought_is_kept_and_its_remains_are_not(
    registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path
) -> None:
    content = await registered(registry, tmp_path / "minilm")
    draft = tmp_path / "cache" / f"{content.digest}.partial" / "minilm"
    (draft / ".mlflow-x").mkdir(parents=True)
    (draft / ".mlflow-x" / "config.json").write_bytes(b"{")
    (draft / "config.json").write_bytes(FILES["config.json"])
    (draft / "tokenizer.json").write_bytes(b"{")
    assert contents((await downloads.local(CHAMPION, "reranker")).path) == FILES
    assert registry.fetched == len(FILES) - 1
    assert not draft.exists()


async def test_several_who_ask_at_once_fetch_it_once(registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path) -> None:
    await registered(registry, tmp_path / "minilm")
    others = [ModelDownloads(registry, tmp_path / "cache") for _ in range(3)]
    found = await asyncio.gather(*(each.local(CHAMPION, "reranker") for each in (downloads, *others)))
    assert len({each.path for each in found}) == 1
    assert registry.fetched == len(FILES)


async def test_a_cache_that_was_filled_before_need_not_be_written(
    registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(registry, tmp_path / "minilm")
    await downloads.local(CHAMPION, "reranker")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ragstone.adapters.model_downloads.write_durably", refused)
    await registry.move_alias("tiny", "staging", 1)
    assert contents((await downloads.local(ModelReference("tiny", alias="staging"), "reranker")).path) == FILES


async def test_versions_of_another_kind_too_large_ones_and_unknown_ones_are_refused(
    registry: InMemoryModelRegistry, downloads: ModelDownloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(registry, tmp_path / "minilm")
    with pytest.raises(InvalidInput, match="models:/tiny/1 is of the kind reranker"):
        await downloads.local(CHAMPION, "embedder")
    await registry.register("llama", ModelContent("generator", "MIT", reference=GeneratorReference("http://x", "m", "1")), None, "ada")
    with pytest.raises(InvalidInput, match="runs elsewhere"):
        await downloads.local(ModelReference("llama", number=1), "generator")
    with pytest.raises(TooLarge, match="models:/tiny/1 has 30 bytes"):
        await ModelDownloads(registry, tmp_path / "cache", max_bytes=29).local(CHAMPION, "reranker")
    for text in ("models:/tiny@staging", "models:/tiny/7", "models:/other@champion"):
        with pytest.raises(NotFound):
            await downloads.local(parse_reference(text), "reranker")
    assert registry.fetched == 0
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1}))
    with pytest.raises(StorageFull, match="There is no room for config"):
        await downloads.local(CHAMPION, "reranker")


@pytest.mark.parametrize(
    "text",
    [
        "models:/",
        "models:/a",
        "models:/a/",
        "models:/a/0",
        "models:/a/x",
        "models:/a/1/2",
        "models:/a@latest",
        "models:/A@b",
        "a@b",
        "/a/1",
    ],
)
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_reference(text, "reranker.model")
