"""A backup as one stream of bytes: a tar archive, compressed with gzip, the manifest first.

Read by hand, not with `tarfile`: of an archive from anywhere, nothing is believed, and nothing is held in memory but what has a bound.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.adapters.backup_manifest import CONTENT, MANIFEST, MANIFEST_LIMIT, Manifest, StoredFile, digest_of, parse
from ragstone.adapters.sparse_files import pieces
from ragstone.domain.errors import InvalidInput

Tell = Callable[[int, int], None]  # bytes read, of how many
_PIECE = 2**18  # bytes of the archive handed out at a time
_LEVEL = 1  # of compression: text and vectors hardly gain from more, and holes vanish anyway
_GZIP = 31  # zlib's window bits for a gzip header
_TAR = tarfile.BLOCKSIZE
_EXTENDED = 2**16  # bytes of a header beyond the usual one: a long name, a large size


def pack(folder: Path, manifest: Manifest) -> Iterator[bytes]:
    """The archive of the files that the manifest names."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    waiting = bytearray()
    for block in _tar(folder, manifest):
        waiting += compressor.compress(block)
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + compressor.flush()


def _tar(folder: Path, manifest: Manifest) -> Iterator[bytes]:
    described = manifest.model_dump_json(indent=1).encode()
    yield _header(MANIFEST, len(described)) + described + _padding(len(described))
    for file in manifest.files:
        yield _header(CONTENT + file.path, file.stored)
        with (folder / file.path).open("rb") as source:
            for run in file.runs:
                yield from pieces(source, *run)
        yield _padding(file.stored)
    yield bytes(2 * _TAR)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _TAR)


class Archive:
    """An archive that is being read, once, from its beginning to its end."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        name, size = self._member() or ("", 0)
        if name != MANIFEST or size > MANIFEST_LIMIT:
            raise InvalidInput("This is no backup of ragstone's: it does not begin with a manifest.", field="file")
        self.manifest = parse(self._exactly(size))
        self._exactly(-size % _TAR)

    def files(self, tell: Tell = lambda *_: None) -> Iterator[tuple[StoredFile, Iterator[tuple[int, bytes]]]]:
        """Every file in the manifest's order with its pieces (offset, bytes), which must be read to their end: there the SHA-256 is checked.

        `tell` hears how many bytes came, of how many. Raises `InvalidInput` for anything that is not as the manifest says.
        """
        total, done = sum(file.stored for file in self.manifest.files), 0

        def count(read: int) -> None:
            nonlocal done
            done += read
            tell(done, total)

        for file in self.manifest.files:
            if self._member() != (CONTENT + file.path, file.stored):
                raise InvalidInput(f"The backup is damaged: {file.path[:200]!r} is not where the manifest says.", field="file")
            yield file, self._content(file, count)
        if self._member() is not None:
            raise InvalidInput("The backup holds files that its manifest does not name; it is damaged.", field="file")
        while rest := self._stream.read(_PIECE):  # to the end of the compressed stream, where its own checksum is
            if any(rest):
                raise InvalidInput("The backup goes on after its end; it is damaged.", field="file")

    def _content(self, file: StoredFile, count: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
        digest = digest_of(file.size, file.runs)
        for start, length in file.runs:
            for offset in range(start, start + length, _PIECE):
                piece = self._exactly(min(_PIECE, start + length - offset))
                digest.update(piece)
                yield offset, piece
                count(len(piece))
        self._exactly(-file.stored % _TAR)
        if digest.hexdigest() != file.sha256:
            raise InvalidInput(f"The backup is damaged: {file.path[:200]!r} has another SHA-256 than the manifest says.", field="file")

    def _member(self) -> tuple[str, int] | None:
        """Name and size of the next file, None at the end. Raises `TarError` for what is neither, links included."""
        header = self._exactly(_TAR)
        if not any(header):
            return None
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        more: dict[str, str] = {}
        if info.type == tarfile.XHDTYPE and info.size <= _EXTENDED:
            more = _records(self._exactly(info.size))
            self._exactly(-info.size % _TAR)
            info = tarfile.TarInfo.frombuf(self._exactly(_TAR), "utf-8", "strict")
        if info.type != tarfile.REGTYPE or more.keys() - {"path", "size"}:
            raise tarfile.ReadError("neither a file nor the end")
        return more.get("path", info.name), int(more.get("size", info.size))

    def _exactly(self, count: int) -> bytes:
        if count < 0:
            raise tarfile.ReadError("a negative size")
        content = self._stream.read(count)
        if len(content) < count:
            raise EOFError
        return content


def _records(content: bytes) -> dict[str, str]:
    """The fields of an extended header (POSIX.1-2001, pax): `<length> <name>=<value>`, a line each."""
    found: dict[str, str] = {}
    while content:
        length = int(content.partition(b" ")[0])
        name, _, value = content[:length].partition(b" ")[2].removesuffix(b"\n").partition(b"=")
        found[name.decode()] = value.decode()
        content = content[max(length, 1) :]
    return found


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive in a file. Raises `InvalidInput` for what is none, is cut short, or is damaged."""
    try:
        with path.open("rb") as file, gzip.GzipFile(fileobj=file) as stream:
            yield Archive(stream)
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile, ValueError) as error:
        raise InvalidInput(
            "This is no backup of ragstone's, or it is cut short or damaged; use another copy of it.", field="file"
        ) from error
