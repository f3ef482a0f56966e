"""Which servers can run here: their programs and the clients to talk to them, and in plain words what is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ragstone.settings.model import Settings

MONGO, LAKEFS, QDRANT, NATS, MLFLOW = "MongoDB", "lakeFS", "Qdrant", "NATS", "MLflow"
SHARED = (MONGO, LAKEFS, QDRANT, NATS)  # with all of these several processes work over the same stores
_CLIENTS = {MONGO: "pymongo", LAKEFS: "lakefs_sdk", QDRANT: "qdrant_client", NATS: "nats", MLFLOW: "mlflow"}
_PROGRAMS = {MONGO: ("mongod", "secantusd-py"), LAKEFS: ("lakefs",), QDRANT: ("qdrant",), NATS: ("nats-server",), MLFLOW: ("mlflow",)}
_INSTEAD = {
    MONGO: "the catalog is SQLite in the data directory",
    LAKEFS: "documents are kept in Git repositories in the data directory",
    QDRANT: "the index is Qdrant Edge, in the process",
    NATS: "jobs are queued in the process",
    MLFLOW: "runs and releases are recorded beside a SQLite catalog, and nowhere with MongoDB",
}


@dataclass(frozen=True, slots=True)
class Found:
    """`programs`: by server. `missing`: a sentence for each server that can't run here."""

    programs: Mapping[str, Path]
    missing: Mapping[str, str]


def find(mlflow: Path | None = None) -> Found:
    """Looks beside this Python and on PATH. `mlflow`: where its program is, if elsewhere. Blocking."""
    programs: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for server, names in _PROGRAMS.items():
        candidates = [mlflow] if server == MLFLOW and mlflow is not None else [path for name in names for path in _places(name)]
        program = next((path for path in candidates if server != MLFLOW or _serves(path)), None)
        if program is None:
            what = "`mlflow` with a server in it (--mlflow names one)" if server == MLFLOW else " or ".join(f"`{name}`" for name in names)
            missing[server] = f"{server}: there is no {what} on PATH; {_INSTEAD[server]}."
        elif find_spec(_CLIENTS[server]) is None:
            missing[server] = f"{server}: its client is not installed (pip install 'ragstone[cluster]'); {_INSTEAD[server]}."
        else:
            programs[server] = program.absolute()  # it is started elsewhere
    return Found(programs, missing)


def configured(settings: Settings) -> frozenset[str]:
    """Servers that the settings name."""
    embedded = {MONGO: "sqlite", LAKEFS: "git", QDRANT: "edge", NATS: "in_process", MLFLOW: "none"}
    kinds = {
        MONGO: settings.catalog.kind,
        LAKEFS: settings.versions.kind,
        QDRANT: settings.index.kind,
        NATS: settings.queue.kind,
        MLFLOW: settings.tracking.kind,
    }
    return frozenset(server for server, kind in kinds.items() if kind != embedded[server])


def _places(name: str) -> list[Path]:
    beside, on_path = Path(sys.executable).with_name(name), shutil.which(name)
    return [*([beside] if beside.exists() else []), *([Path(on_path)] if on_path else [])]


def _serves(program: Path) -> bool:
    """Whether this `mlflow` is more than the client, whose command has the same name."""
    python = program.resolve().with_name("python")
    return has(program, "mlflow", "flask", "sqlalchemy") if python.exists() else program.exists()


def has(program: Path, *modules: str) -> bool:
    """Whether the Python beside a program has these."""
    python = program.resolve().with_name("python")
    if not python.exists():
        return False
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules})))"
    return subprocess.run([python, "-I", "-c", code], capture_output=True, check=False).returncode == 0  # noqa: S603 - the Python beside a program that is about to be run
