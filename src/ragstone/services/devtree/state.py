"""What a tree keeps in `servers/` of the data directory from one start to the next: which servers, their ports and secrets."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.adapters.data_directory import SERVERS
from ragstone.domain.errors import DataDirectoryError, InvalidInput
from ragstone.services.devtree.programs import SHARED

FILE = "profile.json"
_FIELD = "data_dir"


class State:
    """In a folder that only its owner may enter. A start uses the servers and the ports of the first one, for the data lie there."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / SERVERS
        self.servers: list[str] | None = None  # None until the first start
        self._ports: dict[str, int] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder is this process's alone. Raises `DataDirectoryError` when another tree has it, or the directory can't be used."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.folder / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise DataDirectoryError(f"the data directory can't be used ({reason}); check its path and rights.", field=_FIELD) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.read()
            yield
        except BlockingIOError:
            raise DataDirectoryError("the profile runs for this data directory already; stop that one.", field=_FIELD) from None
        finally:
            os.close(lock)

    def choose(self, servers: list[str]) -> None:
        """Remembers which servers hold the data."""
        self.servers = servers
        self._write()

    def directory(self, name: str) -> Path:
        """A folder below, made if need be."""
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def port(self, name: str, *, pair: bool = False) -> int:
        """The port of before, else a free one. `pair`: the next one, too. Raises `InvalidInput` when somebody else listens there now."""
        if name not in self._ports:
            self._ports[name] = _free(pair)
            self._write()
        for port in (self._ports[name], self._ports[name] + 1)[: 1 + pair]:
            if not is_free(port):
                raise InvalidInput(
                    f"{name}: somebody else listens on 127.0.0.1:{port}; end that, or give it another port in {self.folder / FILE}.",
                    field="port",
                )
        return self._ports[name]

    def secret(self, name: str) -> Path:
        """A file with a random secret, made once, that only its owner may read."""
        path = self.directory("secrets") / name
        if not path.exists():
            write_private(path, secrets.token_hex(20))
        return path

    def read(self) -> None:
        """What an earlier start wrote. Raises `DataDirectoryError`."""
        try:
            kept = json.loads((self.folder / FILE).read_text("utf-8"))
            self.servers, self._ports = list(kept["servers"]), {str(name): int(port) for name, port in kept["ports"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise DataDirectoryError(
                f"{self.folder / FILE} can't be read; mend it, or name another data directory.", field=_FIELD
            ) from None

    def _write(self) -> None:
        write_private(self.folder / FILE, json.dumps({"servers": self.servers or [], "ports": self._ports}, indent=1) + "\n")


def ensure_reached(data_dir: Path, configured: Collection[str]) -> None:
    """Raises `DataDirectoryError` when servers hold this directory's data that are not among those `configured`: what is embedded would look empty."""
    state = State(data_dir)
    if not state.folder.is_dir():
        return
    state.read()
    if lacking := [server for server in state.servers or () if server in SHARED and server not in configured]:
        raise DataDirectoryError(
            f"the data of this directory are held by {', '.join(lacking)}; start them with `ragstone up --profile dev`, and wait until that is ready.",
            field=_FIELD,
        )


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, mode 0600."""
    part = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _free(pair: bool) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if not pair or is_free(port + 1):
            return port


def is_free(port: int) -> bool:
    """Whether nobody listens there on 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
        return True
