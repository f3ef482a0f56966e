"""One owner, one format, a clear word when something is wrong."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ragstone.adapters.data_directory import Owner, open_data_directory, owner
from ragstone.adapters.data_formats import FORMAT
from ragstone.domain.errors import DataDirectoryError, RagstoneError, StorageFull

OTHER = """
import sys
from pathlib import Path
from ragstone.adapters.data_directory import open_data_directory
from ragstone.domain.errors import DataDirectoryError
try:
    directory = open_data_directory(Path(sys.argv[1]))
except DataDirectoryError as error:
    print(error.message)
else:
    directory.announce("http://127.0.0.1:1")
    print("open", flush=True)
    sys.stdin.read()
"""


def other_process(path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def refusal(path: Path) -> str:
    with pytest.raises(DataDirectoryError) as refused:
        open_data_directory(path)
    assert refused.value.field == "data_dir"
    assert str(path) not in refused.value.message
    return refused.value.message


def test_a_new_directory_is_laid_out_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    directory = open_data_directory(path)
    assert {entry.name for entry in path.iterdir()} == {"versions", "index", "staging", "spool", "FORMAT", "LOCK"}
    assert (directory.versions, directory.index, directory.staging) == (path / "versions", path / "index", path / "staging")
    assert directory.database == path / "ragstone.db"
    assert (path / "FORMAT").read_text() == f"{FORMAT}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    directory.close()
    open_data_directory(path).close()


def test_an_empty_directory_and_one_that_was_half_made_are_taken(tmp_path: Path) -> None:
    for names in ([], ["LOCK", "versions", ".FORMAT.new"]):
        path = tmp_path / f"{len(names)}"
        path.mkdir()
        for name in names:
            (path / name).mkdir() if name == "versions" else (path / name).touch()
        open_data_directory(path).close()
        assert (path / "FORMAT").read_text() == f"{FORMAT}\n"


def test_a_second_opening_names_the_owner(tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path)
    assert f"in use by process {os.getpid()};" in refusal(tmp_path)
    assert owner(tmp_path) == Owner(os.getpid(), None)
    directory.announce("http://127.0.0.1:8000")
    assert f"in use by process {os.getpid()} at http://127.0.0.1:8000;" in refusal(tmp_path)
    assert owner(tmp_path) == Owner(os.getpid(), "http://127.0.0.1:8000")
    directory.close()
    assert owner(tmp_path) is None
    open_data_directory(tmp_path).close()


def test_another_process_is_kept_out_until_it_ends_even_when_killed(tmp_path: Path) -> None:
    with other_process(tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert owner(tmp_path) == Owner(other.pid, "http://127.0.0.1:1")
        assert f"process {other.pid} at http://127.0.0.1:1" in refusal(tmp_path)
        other.kill()
    assert owner(tmp_path) is None
    directory = open_data_directory(tmp_path)
    assert owner(tmp_path) == Owner(os.getpid(), None)  # the dead owner's URL is gone
    directory.close()


def test_asking_for_the_owner_does_not_keep_one_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_data_directory(tmp_path).close()
    asking = os.open(tmp_path / "LOCK", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)  # as `owner` does for an instant
    monkeypatch.setattr(time, "sleep", lambda _: os.close(asking))
    open_data_directory(tmp_path).close()


def test_an_owner_that_is_not_written_yet_is_still_an_owner(tmp_path: Path) -> None:
    directory = open_data_directory(tmp_path)
    for content in ("", "half", json.dumps([1]), json.dumps({"pid": 1})):
        (tmp_path / "LOCK").write_text(content)
        assert owner(tmp_path) == Owner(None, None)
    assert "another process" in refusal(tmp_path)
    directory.close()


def test_no_directory_has_no_owner(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    assert owner(tmp_path / "absent") is None


def test_a_newer_or_damaged_format_is_refused_untouched(tmp_path: Path) -> None:
    open_data_directory(tmp_path).close()
    (tmp_path / "FORMAT").write_text(f"{FORMAT + 1}\n")
    assert "newer ragstone" in refusal(tmp_path)
    for damaged in ("", "0", "x", "-1"):
        (tmp_path / "FORMAT").write_text(damaged)
        assert "damaged" in refusal(tmp_path)
    assert owner(tmp_path) is None


def test_what_is_not_ours_is_refused_untouched(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "is a file" in refusal(file)
    assert "cannot be used" in refusal(file / "below")
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.doc").touch()
    assert "not empty" in refusal(strange)
    assert [entry.name for entry in strange.iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EACCES, DataDirectoryError), (errno.EROFS, DataDirectoryError), (errno.ENOSPC, StorageFull)]
)
def test_a_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[RagstoneError]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(expected):
        open_data_directory(tmp_path / "data")
