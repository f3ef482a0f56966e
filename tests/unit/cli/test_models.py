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
from ragstone.cli import models
from ragstone.cli.output import Output
from ragstone.cli.pull import ensure_model, pull
from ragstone.settings.load import load_settings
from tests.unit.cli.conftest import Shell

CONTENT = b"weights"
PRESET = Preset("tiny", "x/tiny", "a" * 40, "For tests", "MIT", (ModelFile(WEIGHTS, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),))


class Source:
    """Serves `CONTENT`, and waits for `goes_on` in the middle."""

    name = "a test"

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.begun = threading.Event()

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
        on_progress(PullProgress(self.name, WEIGHTS, 1, len(CONTENT)))
        self.begun.set()
        self.goes_on.wait(10)
        on_progress(PullProgress(self.name, WEIGHTS, len(CONTENT), len(CONTENT)))
        (folder / WEIGHTS).write_bytes(CONTENT)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The only source of the only preset."""
    source = Source()
    store = ModelStore(tmp_path / "models", sources=lambda preset: [source], presets={"tiny": PRESET})
    monkeypatch.setattr("ragstone.bootstrap.model_store", lambda settings: store)
    monkeypatch.setenv("RAGSTONE_MODEL", "tiny")
    return source


async def test_a_model_is_listed_pulled_and_verified(shell: Shell, source: Source, tmp_path: Path) -> None:
    assert "tiny   not here" in (await shell(models.list_)).out
    pulled = (await shell(models.pull, as_json=True)).json
    assert (pulled["source"], pulled["digest"]) == ("a test", hashlib.sha256(CONTENT).hexdigest())
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


async def test_a_missing_model_is_fetched_once_and_said(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    await ensure_model(load_settings(), Output())
    assert "not here yet; fetching it" in capsys.readouterr().err
    await ensure_model(load_settings(), Output())
    assert capsys.readouterr().err == ""


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
