"""The file of keys: what it may hold, what happens when it is replaced, and that no key ever shows."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import threading
from pathlib import Path

import pytest

from ragstone.adapters.key_file import KeyFile, new_key
from ragstone.domain.access import Principal, Scope
from ragstone.domain.errors import InvalidInput


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def line(key: str, name: str = "ann", scope: str = "admin") -> str:
    return f"{name}:{scope}:{hashlib.sha256(key.encode()).hexdigest()}"


def put(path: Path, content: str) -> None:
    """A new file in its place: a rewritten one could have the same size and, within a tick of the clock, the same time."""
    draft = path.with_name("draft")
    draft.write_text(content)
    draft.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    put(path, line("one"))
    return path


async def test_comments_blank_lines_and_windows_line_ends_are_taken(path: Path) -> None:
    put(path, f"# keys\r\n\r\n{line('one')}\r\n  {line('two', 'bob', 'read')}  \n")
    keys = KeyFile(path)
    assert await keys.principal("one") == Principal("ann", Scope.ADMIN)
    assert await keys.principal("two") == Principal("bob", Scope.READ)


async def test_two_keys_of_one_principal_make_a_change_of_keys_possible(path: Path) -> None:
    put(path, f"{line('old')}\n{line('new')}\n")
    keys = KeyFile(path)
    assert await keys.principal("old") == await keys.principal("new") == Principal("ann", Scope.ADMIN)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no key"),
        ("# nothing but words\n", "holds no key"),
        (line("one") + "\n" + "ann:admin:s3cret", "line 2"),
        (line("one", scope="root"), "line 1"),
        (line("one", scope="Admin"), "line 1"),
        (line("one", name="a b"), "line 1"),
        (line("one", name=""), "line 1"),
        (line("one", name="a" * 101), "line 1"),
        (line("one").upper(), "line 1"),
        (line("one") + ":x", "line 1"),
        ("s3cret", "line 1"),
        (line(""), "empty key"),
        (line("one") + "\n" + line("one", "bob"), "line 2 holds the same key"),
        ("#" * (2**20 + 1), "more than 1,048,576 bytes"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_what_is_wrong_is_said_without_what_the_line_holds(path: Path, content: str | bytes, words: str) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidInput, match="api_keys_file") as error:
        KeyFile(path)
    assert words in error.value.message
    assert "s3cret" not in error.value.message
    assert error.value.field == "api_keys_file"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "pipe", "."):
        with pytest.raises(InvalidInput, match="api_keys_file"):
            KeyFile(tmp_path / name)


async def test_a_new_version_counts_a_second_later_at_most(path: Path) -> None:
    clock = Clock()
    keys = KeyFile(path, clock)
    put(path, line("two"))
    clock.now = 0.9
    assert await keys.principal("one")
    clock.now = 1.0
    assert await keys.principal("one") is None
    assert await keys.principal("two")


async def test_a_mounted_secret_is_swapped_by_its_symbolic_link(tmp_path: Path) -> None:
    for version, key in (("v1", "one"), ("v2", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "api-keys").write_text(line(key))
        os.utime(tmp_path / version / "api-keys", (1, 1))  # the times tell nothing
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "api-keys").symlink_to("..data/api-keys")
    clock = Clock()
    keys = KeyFile(tmp_path / "api-keys", clock)
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    clock.now = 1.0
    assert await keys.principal("two")
    assert await keys.principal("one") is None


@pytest.mark.parametrize("broken", ["ann:admin:s3cret", "", None])
async def test_a_broken_version_is_logged_once_and_the_one_before_stays(
    path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys = KeyFile(path, clock)
    if broken is None:
        os.unlink(path)
    else:
        put(path, broken)
    for clock.now in (1.0, 2.0, 3.0):
        assert await keys.principal("one")
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "stay in force" in record.getMessage()
    put(path, line("mended"))
    clock.now = 4.0
    assert await keys.principal("mended")
    assert "s3cret" not in caplog.text
    assert hashlib.sha256(b"mended").hexdigest() not in caplog.text


async def test_a_version_that_could_not_be_read_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights change, and tables of open files empty, without the file having another version."""
    clock = Clock()
    keys = KeyFile(path, clock)
    put(path, line("two"))

    def no_descriptor(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", no_descriptor)
        clock.now = 1.0
        assert await keys.principal("one")
    clock.now = 2.0
    assert await keys.principal("two")
    assert await keys.principal("one") is None


async def test_a_rewritten_file_of_the_same_size_and_time_is_read(path: Path) -> None:
    clock = Clock()
    keys = KeyFile(path, clock)
    before = os.stat(path)
    with open(path, "w") as file:  # noqa: ASYNC230 - nothing else runs on this loop
        file.write(line("two"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now = 1.0
    assert await keys.principal("two")
    assert await keys.principal("one") is None


async def test_one_look_runs_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow one that began before a key was withdrawn must not end after the look that saw it."""
    clock, looks, begun, go_on = Clock(), 0, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    keys = KeyFile(path, clock)

    def slow(_: Path) -> None:
        nonlocal looks
        looks += 1
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)

    monkeypatch.setattr("ragstone.adapters.key_file._version", slow)
    clock.now = 1.0
    first = asyncio.create_task(keys.principal("one"))
    await begun.wait()
    clock.now = 9.0
    assert await keys.principal("one")
    assert looks == 1
    go_on.set()
    await first


def test_no_descriptor_is_left_open_for_what_is_no_file(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(InvalidInput):
            KeyFile(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_new_key_is_long_random_and_fits_its_line(tmp_path: Path) -> None:
    made = {new_key("ann", "read") for _ in range(20)}
    assert len({key for key, _ in made}) == 20
    for key, entry in made:
        assert len(key) >= 50
        assert entry.text() == line(key, "ann", "read")
    for name in ("", "a:b", "a b", "-a", "ä"):
        with pytest.raises(InvalidInput, match="name"):
            new_key(name, "read")
