"""`ragstone backup` and `ragstone restore`."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from ragstone.adapters.embedded_backup import FolderCopy
from ragstone.cli import backup as commands
from ragstone.cli.output import Output
from ragstone.cli.session import Flags
from ragstone.domain.uploads import IngestRequest, Upload
from tests.support.world import World, embedded_world
from tests.unit.cli.conftest import Shell


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await embedded_world(tmp_path)
    await world.platform.collections.create("empty")
    await world.platform.collections.create("docs")
    job = await world.platform.ingest.submit("docs", IngestRequest((Upload("a.txt", b"The ferry leaves at nine.", "text/plain"),)))
    await world.platform.ingest.wait(job.id, 20)
    yield world
    await world.end(world.platform)


@pytest.fixture
def shell(world: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(world, capsys)


async def test_a_backup_is_whole_or_not_there_and_is_restored(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    told = (await shell(commands.backup, file, as_json=True)).json
    assert (told["file"], told["size"]) == (str(file), file.stat().st_size)
    assert [(each["name"], each["position"]) for each in told["collections"]] == [("docs", 1), ("empty", None)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not (tmp_path / "b.tar.gz.part").exists()

    before = file.read_bytes()
    again = await shell(commands.backup, file)
    assert (again.status, file.read_bytes()) == (1, before)
    assert "it is there already" in str(again.problem)

    home = tmp_path / "restored" / "data"
    shown = await shell(commands.restore, file, flags=Flags(data_dir=home))
    assert "docs        #1 (" in shown.out
    restored = await embedded_world(tmp_path / "restored")
    _, document = await restored.platform.documents.get("docs", "a.txt")
    assert document.content == b"The ferry leaves at nine."
    await restored.end(restored.platform)
    refused = await shell(commands.restore, file, flags=Flags(data_dir=home))
    assert "empty directory" in str(refused.problem)


async def test_a_stream_that_breaks_off_is_no_backup(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = FolderCopy.stream

    async def broken(copy: FolderCopy) -> AsyncGenerator[bytes, None]:
        async for piece in original(copy):
            yield piece[:1000]
            raise OSError("the disk is gone")

    async def short(copy: FolderCopy) -> AsyncGenerator[bytes, None]:
        yield b"".join([piece async for piece in original(copy)])[:-100]

    for stream in (broken, short):
        monkeypatch.setattr(FolderCopy, "stream", stream)
        ran = await shell(commands.backup, tmp_path / "b.tar.gz")
        assert ran.status == 1
        assert not [entry for entry in os.listdir(tmp_path) if entry.startswith("b.tar.gz")]


async def test_files_that_can_not_be_used_are_told(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz.part").touch()
    problems = {
        "remove it": await shell(commands.backup, tmp_path / "b.tar.gz"),
        "No such file": await shell(commands.backup, tmp_path / "nowhere" / "b.tar.gz"),
        "can't be used": await shell(commands.restore, tmp_path / "nowhere.tar.gz", flags=Flags(data_dir=tmp_path / "new")),
        "no backup of ragstone's": await shell(commands.restore, tmp_path / "b.tar.gz.part", flags=Flags(data_dir=tmp_path / "new")),
        "--server": await shell(commands.restore, tmp_path / "b.tar.gz.part", flags=Flags(server="http://127.0.0.1:1")),
    }
    for words, ran in problems.items():
        assert words in str(ran.problem)
    assert (tmp_path / "b.tar.gz.part").exists()
    assert not (tmp_path / "new").exists()


async def test_an_interrupted_restore_has_cleaned_up_when_it_ends() -> None:
    steps: list[str] = []
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(tell: object) -> None:
        assert callable(tell)
        try:
            while True:
                tell(1, 2)
                loop.call_soon_threadsafe(begun.set)
        finally:
            steps.append("cleaned up")

    task = asyncio.create_task(commands._watched(Output(quiet=True), "Restoring", work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cleaned up"]
