"""`ragstone backup` and `ragstone restore`: everything in one file, and back."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ragstone.cli.command import command
from ragstone.cli.output import Output, table, text
from ragstone.cli.progress import bar, size
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name
from ragstone.domain.errors import Conflict, InvalidInput, StorageFull

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ragstone.adapters.backup_manifest import Manifest
    from ragstone.cli.client import Client

T = TypeVar("T")
_FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The backup, a .tar.gz file.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    command(app, "backup")(backup)
    command(app, "restore")(restore)


async def backup(session: Session, file: _FILE) -> None:
    """Write everything to one file, while the server goes on. It is read back and checked, and never written over another file."""
    import asyncio

    from ragstone.adapters.backup_restore import check
    from ragstone.adapters.durable_files import sync_directory

    part = file.with_name(f"{file.name}.part")
    if await asyncio.to_thread(os.path.lexists, file):
        raise Conflict(f"{file}: it is there already; name another file.", field="file")
    with _file_errors(file):
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Conflict(
                f"{part}: another backup is being written there, or one was cut short; remove it, or name another file."
            ) from None
        try:
            async with session.client() as client:
                await _receive(client, descriptor, session.output)
            manifest = await _watched(session.output, "Checking the backup", lambda tell: check(part, tell))
            try:
                os.link(part, file)  # unlike a rename it replaces nothing
            except FileExistsError:
                raise Conflict(f"{file}: it was made meanwhile; name another file.", field="file") from None
            sync_directory(file.parent)
        finally:
            os.close(descriptor)
            part.unlink(missing_ok=True)
    _show(session, manifest, f"Backed up to {file} ({size(file.stat().st_size)}), checked.", file)


async def restore(session: Session, file: _FILE) -> None:
    """Restore a backup into an empty data directory (--data-dir) on this machine: all of it or nothing."""
    from ragstone.adapters.backup_restore import restore as unpack

    if session.flags.server:
        raise InvalidInput(
            "--server: a backup is restored on the machine that has the data directory; name it with --data-dir.", field="server"
        )
    directory = session.settings.data_dir
    with _file_errors(file):
        file.open("rb").close()  # what is wrong with the file is told as the file's
    manifest = await _watched(session.output, "Restoring", lambda tell: unpack(file, directory, tell))
    _show(session, manifest, f"Restored into {directory}.", file)


async def _receive(client: Client, descriptor: int, output: Output) -> None:
    import asyncio
    from contextlib import aclosing

    with bar(output, "Backing up") as shown:
        done = 0
        async with aclosing(client.download("POST", "/v1/backup")) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(_write, descriptor, piece)
                done += len(piece)
                shown.show(done, None, size(done))
        await asyncio.to_thread(os.fsync, descriptor)


def _write(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]


class _Stopped(Exception):
    """The user has stopped it."""


async def _watched(output: Output, title: str, work: Callable[[Callable[[int, int], None]], T]) -> T:
    """What `work` returns, run in a thread, with a bar. Ctrl-C waits until it has cleaned up behind itself."""
    import asyncio
    import threading

    stopped = threading.Event()
    with bar(output, title) as shown:

        def tell(done: int, total: int) -> None:
            if stopped.is_set():
                raise _Stopped
            shown.show(done, total, f"{size(done)} of {size(total)}")

        task = asyncio.ensure_future(asyncio.to_thread(work, tell))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.gather(task, return_exceptions=True)
            raise


@contextmanager
def _file_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{file}: no space is left; name a place with more room.", field="file") from error
        raise InvalidInput(f"{file}: it can't be used ({error.strerror or 'input/output error'}).", field="file") from error


def _show(session: Session, manifest: Manifest, done: str, file: Path) -> None:
    collections = [each.model_dump() for each in manifest.collections]
    document: dict[str, Any] = {
        "file": str(file),
        "size": file.stat().st_size,
        "created_at": manifest.created_at,
        "ragstone": manifest.ragstone,
        "files": len(manifest.files),
        "collections": collections,
    }
    rows = [(one["name"], commit_name(one["position"], one["commit_id"]) if one["commit_id"] else "no commits") for one in collections]
    shown: list[RenderableType] = [
        text(f"{done} It holds what was published at {manifest.created_at}:" if rows else f"{done} It holds no collections.")
    ]
    session.output.result(document, *shown, *([table(("collection", "head"), rows)] if rows else []))
