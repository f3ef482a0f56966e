"""Images of the stores that the dev profile runs, made of the servers' programs on PATH, with the file names that the charts' commands use.

Each holds its program and the shared libraries that it needs, and nothing else. A registry's images have more in them; what the charts use of them is the
program alone. Where there is no `mongod`, MongoDB's image is a stand-in of it (`mongod/`). They are built only where all are here: less is no dev profile.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.images import mongod, names
from tests.cluster.images.archives import Archive
from tests.cluster.images.dockerd import Docker
from tests.cluster.shell import ClusterError

_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)  # of ldd
_AUTHORITIES = tuple(file for file in (Path("/etc/ssl/certs/ca-certificates.crt"),) if file.exists())  # Qdrant does not start without any
_BUILD_LIMIT = 300.0  # seconds
_DOCKERFILE = 'FROM scratch\nCOPY . /\nENV PATH=/usr/local/bin\nUSER 65532:65532\nENTRYPOINT ["/{program}"]\n'


@dataclass(frozen=True, slots=True)
class Store:
    """A chart whose server is `program` on PATH, and where its image has it."""

    chart: str
    program: str
    place: str  # without the leading slash


STORES = (
    Store("qdrant", "qdrant", "qdrant/qdrant"),
    Store("lakefs", "lakefs", "app/lakefs"),
    Store("mongodb", "mongod", "usr/local/bin/mongod"),
    Store("object-store", "weed", "usr/bin/weed"),
    Store("nats", "nats-server", "usr/local/bin/nats-server"),
)


def image(chart: str) -> str:
    """The reference that a chart's values ask for, as containerd writes it."""
    values = yaml.safe_load((names.REPOSITORY / "charts" / chart / "values.yaml").read_text("utf-8"))["image"]
    registry = f"{values['registry']}/" if values["registry"] else ""
    return f"{registry}{values['repository']}:{values['tag'] or names.VERSION}"


def programs() -> Mapping[Store, Path]:
    """The servers that are here."""
    found = {store: _program(store.program) for store in STORES}
    return {store: path for store, path in found.items() if path is not None}


def missing() -> Sequence[str]:
    """The servers that are not here, nor stood in for."""
    here = {store.program for store in programs()} | ({"mongod"} if mongod.available() else set())
    return [store.program for store in STORES if store.program not in here]


def archive() -> Archive:
    """One file of all of them."""
    files: dict[str, bytes | Path] = {store.program: path for store, path in programs().items()}
    if "mongod" not in files:
        files |= mongod.inputs()
    files |= {"Dockerfile": _DOCKERFILE.encode()} | {str(file): file for file in _AUTHORITIES}
    return Archive("stores", tuple(image(store.chart) for store in STORES), files)


def build(docker: Docker, context: Path, python: str, builder: str) -> None:
    """Builds them all, each from a folder below `context`. `python`, `builder`: base images, for a stand-in."""
    here = programs()
    for store in STORES:
        path = here.get(store)
        if path is None:
            mongod.build(docker, context / store.chart, image(store.chart), python, builder)
            continue
        folder = context / store.chart
        _copy(path, folder / store.place)
        for library in (*_libraries(path), *_AUTHORITIES):
            _copy(library, folder / library.relative_to("/"))
        (folder / "Dockerfile").write_text(_DOCKERFILE.format(program=store.place))
        (folder / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
        docker("build", "--tag", image(store.chart), folder, environment={"DOCKER_BUILDKIT": "0"}, limit=_BUILD_LIMIT)


def _program(name: str) -> Path | None:
    """On PATH, or beside this interpreter, where a package of the Python index puts its programs."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return Path(found).resolve() if found else None


def _libraries(program: Path) -> list[Path]:
    """Shared libraries, the loader among them; none for a static program. Raises `ClusterError` when one is missing here."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    if "not found" in told:
        raise ClusterError(f"{program} needs libraries that are not here: {told.strip()}")
    return [Path(found) for found in _LIBRARY.findall(told)]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)
