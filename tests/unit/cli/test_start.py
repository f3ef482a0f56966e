"""A process of a cluster waits for its embedding server; one that is everything says at once that there is none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ragstone.cli import start
from ragstone.cli.output import Output
from ragstone.domain.errors import InvalidInput, RagstoneError, Unavailable
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.settings.model import Settings
from tests.fakes.embedding_model import HashingEmbeddingModel

AWAY = Unavailable("http://embedding/v1 does not answer.", field="embedder")


class LateServer:
    """In place of `embedding_model`: there at the last of several calls."""

    def __init__(self, *errors: RagstoneError) -> None:
        self.errors = list(errors)

    def __call__(self, _: Settings) -> EmbeddingModel:
        if self.errors:
            raise self.errors.pop(0)
        return HashingEmbeddingModel()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", model=str(tmp_path))


async def loaded(settings: Settings, server: LateServer, monkeypatch: pytest.MonkeyPatch) -> EmbeddingModel:
    monkeypatch.setattr(start, "embedding_model", server)
    monkeypatch.setattr(start, "_PAUSE", 0.0)
    return await (await start.load_model(settings, Output()))


@pytest.mark.parametrize("role", ["api", "worker"])
async def test_a_process_of_a_cluster_waits_for_a_server_that_comes_later(
    role: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = await loaded(settings.model_copy(update={"role": role}), LateServer(AWAY, AWAY), monkeypatch)
    assert isinstance(model, HashingEmbeddingModel)
    told = " ".join(capsys.readouterr().err.split())
    assert told == "http://embedding/v1 does not answer. It is waited for, up to 240 s."


async def test_it_does_not_wait_for_ever(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_PATIENCE", 0.05)
    with pytest.raises(Unavailable):
        await loaded(settings.model_copy(update={"role": "api"}), LateServer(*[AWAY] * 1_000_000), monkeypatch)


async def test_one_process_for_everything_says_at_once_that_there_is_no_server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        await loaded(settings, LateServer(AWAY), monkeypatch)


async def test_what_is_wrong_with_the_settings_is_said_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = InvalidInput("embedder.model: another one is served.", field="embedder.model")
    with pytest.raises(InvalidInput):
        await loaded(settings.model_copy(update={"role": "worker"}), LateServer(AWAY, wrong), monkeypatch)


async def test_loading_has_begun_when_the_caller_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread, while the event loop is kept busy by imports."""
    began = threading.Event()

    def begin(_: Settings) -> EmbeddingModel:
        began.set()
        return HashingEmbeddingModel()

    monkeypatch.setattr(start, "embedding_model", begin)
    loading = await start.load_model(settings, Output())
    assert began.wait(60.0)  # the loop does not run meanwhile
    await loading
