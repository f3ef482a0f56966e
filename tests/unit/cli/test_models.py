"""`ragstone models`, and the model fetched when a command needs it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path

import pytest

from ragstone.adapters.model_presets import WEIGHTS, ModelFile, Preset
from ragstone.adapters.model_sources import OnProgress, PullProgress
from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.bootstrap.models import embedding_model
from ragstone.cli import models
from ragstone.cli.output import Output
from ragstone.cli.pull import ensure_model, pull
from ragstone.domain.errors import InvalidInput
from ragstone.settings.load import load_settings
from tests.support.chat_server import chat_server
from tests.support.embedding_server import serving
from tests.support.tiny_encoder import make_encoder
from tests.unit.cli.conftest import Shell


class Source:
    """Serves a tiny encoder, and waits for `goes_on` in the middle."""

    name = "a test"

    def __init__(self, folder: Path) -> None:
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in make_encoder(folder).rglob("*") if path.is_file()}
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.begun = threading.Event()

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
        on_progress(PullProgress(self.name, WEIGHTS, 1, 2))
        self.begun.set()
        self.goes_on.wait(10)
        on_progress(PullProgress(self.name, WEIGHTS, 2, 2))
        for path, content in self.files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The only source of the only preset."""
    source = Source(tmp_path / "upstream")
    files = tuple(ModelFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in source.files.items())
    preset = Preset("tiny", "x/tiny", "a" * 40, "For tests", "MIT", files)
    store = ModelStore(tmp_path / "models", sources=lambda preset: [source], presets={"tiny": preset})
    monkeypatch.setattr("ragstone.bootstrap.models.model_store", lambda settings: store)
    monkeypatch.setenv("RAGSTONE_MODEL", "tiny")
    return source


async def test_a_model_is_listed_pulled_and_verified(shell: Shell, source: Source, tmp_path: Path) -> None:
    assert "tiny   not here" in (await shell(models.list_)).out
    pulled = (await shell(models.pull, as_json=True)).json
    assert (pulled["source"], pulled["digest"]) == ("a test", hashlib.sha256(source.files[WEIGHTS]).hexdigest())
    [graph] = (tmp_path / "models" / "graphs").iterdir()  # so that whoever serves needs to write nothing there
    built = graph.stat().st_mtime_ns
    OnnxEmbedder(Path(pulled["path"]), graphs=graph.parent).close()
    assert (await shell(models.pull)).status == 0
    assert graph.stat().st_mtime_ns == built
    [listed] = (await shell(models.list_, as_json=True)).json["models"]
    assert listed["installed"]
    assert (await shell(models.verify, "tiny")).status == 0
    (Path(pulled["path"]) / WEIGHTS).write_bytes(b"other")
    wrong = await shell(models.verify, as_json=True)
    assert (wrong.status, wrong.json["ok"]) == (1, False)
    assert "WRONG" in (await shell(models.verify)).out
    unknown = await shell(models.pull, "huge")
    assert unknown.problem is not None
    assert unknown.problem["status"] == 404


async def test_the_files_alone_are_pulled_for_who_needs_the_tokenizer(shell: Shell, source: Source, tmp_path: Path) -> None:
    assert (await shell(models.pull, files_only=True)).status == 0
    assert [listed["installed"] for listed in (await shell(models.list_, as_json=True)).json["models"]] == [True]
    assert not list((tmp_path / "models").glob("graphs/*"))


async def test_a_cache_that_keeps_no_graph_is_told_of(shell: Shell, source: Source, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "graphs").touch()
    ran = await shell(models.pull)
    assert ran.problem is not None
    assert "RAGSTONE_MODELS" in ran.problem["detail"]


async def test_a_missing_model_is_fetched_once_and_said(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    await ensure_model(load_settings(), Output())
    assert "not here yet; fetching it" in capsys.readouterr().err
    await ensure_model(load_settings(), Output())
    assert capsys.readouterr().err == ""


async def test_for_a_model_on_a_server_its_tokenizer_is_fetched(
    source: Source, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAGSTONE_MODEL", "none-of-this-name")
    for name, value in {"KIND": "ragstone", "BASE_URL": "http://127.0.0.1:1/v1", "MODEL": "m", "TOKENIZER": "tiny"}.items():
        monkeypatch.setenv(f"RAGSTONE_EMBEDDER__{name}", value)
    await ensure_model(load_settings(), Output())
    assert "Fetched tiny" in capsys.readouterr().err


async def test_an_interrupted_transfer_leaves_nothing(source: Source, tmp_path: Path) -> None:
    source.goes_on.clear()
    task = asyncio.create_task(pull(load_settings(), "tiny", Output(quiet=True)))
    await asyncio.to_thread(source.begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    source.goes_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []


async def test_the_fingerprint_of_a_servers_model_is_printed(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_encoder(tmp_path / "tiny")
    model = OnnxEmbedder(folder, graphs=tmp_path / "graphs")
    async with chat_server(serving(model)) as server:
        refused = await shell(models.probe_)
        assert refused.problem is not None
        assert refused.problem["field"] == "embedder.kind"
        for name, value in {
            "KIND": "openai",
            "BASE_URL": server.base_url,
            "MODEL": "tiny",
            "REVISION": "1",
            "TOKENIZER": str(folder),
        }.items():
            monkeypatch.setenv(f"RAGSTONE_EMBEDDER__{name}", value)
        told = (await shell(models.probe_, as_json=True)).json
        assert (told["model"], told["dimension"]) == ("tiny", 16)
        assert (await shell(models.probe_)).out == told["probe"] + "\n"
        monkeypatch.setenv("RAGSTONE_EMBEDDER__PROBE", told["probe"])
        await asyncio.to_thread(embedding_model, load_settings())
        monkeypatch.setenv("RAGSTONE_EMBEDDER__PROBE", "0" * 64)
        assert (await shell(models.probe_, as_json=True)).json == told  # also where another was expected
        with pytest.raises(InvalidInput, match=r"embedder\.probe"):
            await asyncio.to_thread(embedding_model, load_settings())
