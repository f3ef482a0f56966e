"""The archives of images (`docker save`), each named by a hash of everything that goes into it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.cluster.images import base, names
from tests.cluster.shell import ClusterError

# Static programs that become images FROM scratch: Debian has no CoreDNS and no Traefik, and a sandbox needs a program that waits.
_SCRATCH = 'FROM scratch\nCOPY {program} /{program}\nUSER 65532:65532\nENTRYPOINT ["/{program}"]\n'


@dataclass(frozen=True, eq=False)
class Archive:
    """One file of images. `inputs` holds content by name."""

    name: str
    images: Sequence[str]
    inputs: Mapping[str, bytes | Path]

    @cached_property
    def file(self) -> str:
        """Its name, which changes with any input and with any name of an image."""
        digest = hashlib.sha256(repr(sorted(self.images)).encode())
        for name, content in sorted(self.inputs.items()):
            digest.update(f"\0{name}\0{_digest(content)}".encode())
        return f"{self.name}-{digest.hexdigest()[:16]}.tar"


def orchestrator(repository: Path = names.REPOSITORY) -> Archive:
    """ragstone's own image: as it is, with the model baked in, and under the next version."""
    images = (names.ORCHESTRATOR, names.ORCHESTRATOR_MODEL, names.ORCHESTRATOR_NEXT)
    return Archive("orchestrator", images, _of_the_code(repository, "orchestrator"))


def services(repository: Path = names.REPOSITORY) -> Archive:
    """The model services, whose dependencies are one layer."""
    return Archive("services", (names.EMBEDDING, names.GENERATION), _of_the_code(repository, "embedding", "generation"))


def _of_the_code(repository: Path, *images: str) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {str(path.relative_to(repository)): path for path in context_files(repository)}
    for part in (".dockerignore", "scripts/images.sh", *(f"images/{image}/Dockerfile" for image in images)):
        files[part] = repository / part
    files["base"] = repr((names.python_base(), base.SUITE, base.INCLUDED)).encode()
    return files


def mlflow(repository: Path = names.REPOSITORY) -> Archive:
    """MLflow's server."""
    files: dict[str, bytes | Path] = {
        part: repository / part for part in ("requirements/mlflow.txt", "images/mlflow/Dockerfile", "scripts/images.sh")
    }
    files["base"] = repr((names.python_base(), base.SUITE, base.INCLUDED)).encode()
    return Archive("mlflow", (names.MLFLOW,), files)


def infrastructure(binaries: Path) -> Archive:
    """What a cluster needs besides, of the programs in `binaries`. Raises `ClusterError` when one is missing."""
    images = programs()
    files: dict[str, bytes | Path] = {program: binaries / program for program in images}
    if missing := [str(path) for path in files.values() if isinstance(path, Path) and not path.is_file()]:
        raise ClusterError(f"{', '.join(missing)} is missing: build it first (python -m tests.cluster build).")
    return Archive("infrastructure", tuple(images.values()), files | {"Dockerfile": scratch("").encode()})


def programs() -> Mapping[str, str]:
    """Image by program."""
    return {"coredns": names.COREDNS, "pause": names.PAUSE, "traefik": names.traefik()}


def scratch(program: str) -> str:
    """The Dockerfile of one static program."""
    return _SCRATCH.format(program=program)


def context_files(repository: Path) -> Iterable[Path]:
    """The files that `.dockerignore`, an allow-list, lets into a build."""
    lines = (repository / ".dockerignore").read_text("utf-8").splitlines()
    for pattern in (line.removeprefix("!") for line in lines if line.startswith("!")):
        for found in sorted(repository.glob(pattern)):
            for path in [found] if found.is_file() else sorted(found.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    yield path


def _digest(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
