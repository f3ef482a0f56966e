"""A backup as one stream of bytes: a tar archive, compressed with gzip, the manifest first."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.adapters.backup_manifest import CONTENT, MANIFEST, MANIFEST_LIMIT, Manifest, StoredFile, parse
from ragstone.adapters.sparse_files import BLOCK, blocks
from ragstone.domain.errors import InvalidInput

_PIECE = 2**18  # bytes of the archive handed out at a time
_LEVEL = 1  # of compression: text and vectors hardly gain from more, and holes vanish anyway
_GZIP = 31  # zlib's window bits for a gzip header
_TAR = tarfile.BLOCKSIZE


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
        yield _header(CONTENT + file.path, file.size)
        yield from blocks(folder / file.path)
        yield _padding(file.size)
    yield bytes(2 * _TAR)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _TAR)


class Archive:
    """An archive that is being read, once, from its beginning to its end."""

    def __init__(self, tar: tarfile.TarFile, stream: gzip.GzipFile) -> None:
        self._tar = tar
        self._stream = stream
        self.manifest = parse(self._read_manifest())

    def files(self, read: Callable[[int], None] = lambda _: None) -> Iterator[tuple[StoredFile, Iterator[bytes]]]:
        """Every file in the manifest's order with its content, which must be read to its end: there its size and SHA-256 are checked.

        `read` is told how many bytes came. Raises `InvalidInput` for anything that is not as the manifest says.
        """
        for file in self.manifest.files:
            member = self._next()
            if member is None or member.name != CONTENT + file.path or not member.isreg() or member.size != file.size:
                raise InvalidInput(f"The backup is damaged: {file.path[:200]!r} is not where the manifest says.", field="file")
            yield file, self._content(member, file, read)
        if self._next() is not None:
            raise InvalidInput("The backup holds files that its manifest does not name; it is damaged.", field="file")
        while rest := self._stream.read(BLOCK):  # to the end of the compressed stream, where its own checksum is
            if any(rest):
                raise InvalidInput("The backup goes on after its end; it is damaged.", field="file")

    def _content(self, member: tarfile.TarInfo, file: StoredFile, read: Callable[[int], None]) -> Iterator[bytes]:
        source = self._tar.extractfile(member)
        digest = hashlib.sha256()
        while source is not None and (block := source.read(BLOCK)):
            digest.update(block)
            read(len(block))
            yield block
        if digest.hexdigest() != file.sha256:
            raise InvalidInput(f"The backup is damaged: {file.path[:200]!r} has another SHA-256 than the manifest says.", field="file")

    def _read_manifest(self) -> bytes:
        member = self._next()
        if member is None or member.name != MANIFEST or not member.isreg() or member.size > MANIFEST_LIMIT:
            raise InvalidInput("This is no backup of ragstone's: it does not begin with a manifest.", field="file")
        source = self._tar.extractfile(member)
        return source.read() if source is not None else b""

    def _next(self) -> tarfile.TarInfo | None:
        return self._tar.next()


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive in a file. Raises `InvalidInput` for what is none, is cut short, or is damaged."""
    try:
        with path.open("rb") as file, gzip.GzipFile(fileobj=file) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as tar:
            yield Archive(tar, stream)
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as error:
        raise InvalidInput(
            "This is no backup of ragstone's, or it is cut short or damaged; use another copy of it.", field="file"
        ) from error
