"""Staged bytes as files: durable, never half there, within the directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ragstone.adapters.file_staging import FileStaging
from ragstone.domain.documents import checksum
from ragstone.domain.errors import InternalError, StorageFull, Unavailable


def _files(directory: Path) -> list[str]:
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]


async def test_a_full_disk_is_said_so_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = FileStaging(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            await staging.put("j1", b"abc")
    assert _files(tmp_path) == []
    assert await staging.put("j1", b"abc") == checksum(b"abc")


async def test_other_trouble_of_the_disk_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    staging = FileStaging(tmp_path)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Unavailable):
        await staging.put("j1", b"abc")


async def test_bytes_and_names_are_synced_before_put_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    digest = await FileStaging(tmp_path).put("j1", b"abc")
    assert {path.stat().st_ino for path in (tmp_path, tmp_path / "j1", tmp_path / "j1" / digest)} <= synced


async def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    digest = await FileStaging(tmp_path).put("j1", b"abc")
    (tmp_path / ".half").write_bytes(b"ab")
    (tmp_path / ".doomed").mkdir()
    (tmp_path / ".doomed" / "x").touch()
    staging = FileStaging(tmp_path)
    assert _files(tmp_path) == [f"j1/{digest}"]
    assert await staging.get("j1", digest) == b"abc"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "x\0", "x" * 200])
async def test_names_never_lead_out_of_the_directory(tmp_path: Path, name: str) -> None:
    staging = FileStaging(tmp_path)
    for call in (staging.put(name, b"abc"), staging.get(name, "0" * 64), staging.get("j1", name), staging.discard(name)):
        with pytest.raises(InternalError):
            await call
