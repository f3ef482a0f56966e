"""The container images of the cluster tests, built by a Docker daemon of our own and kept as archives in the cache directory."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.cluster.images import archives, base, names, stores
from tests.cluster.images.dockerd import Docker, running
from tests.cluster.shell import run

_BUILD_LIMIT = 1800.0  # seconds
_SAVE_LIMIT = 300.0
_BUILDER = {"DOCKER_BUILDKIT": "0"}  # the classic builder is in every Docker; BuildKit needs a plugin of its own in newer clients
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_KEPT_LAYERS = "until=24h"


def build_images(cache: Path, binaries: Path) -> list[Path]:
    """Archives of all images, built where an input has changed. `binaries` holds coredns, pause and traefik, linked statically.

    Raises `ClusterError` when something is missing or a build fails.
    """
    wanted: dict[archives.Archive, Callable[[Docker], None]] = {
        archives.orchestrator(): _build_orchestrator,
        archives.services(): _build_services,
        archives.infrastructure(binaries): partial(_build_programs, binaries=binaries),
    }
    if lacking := stores.missing():
        print(f"  images: no dev profile without {', '.join(lacking)}, which are not on PATH", flush=True)
    else:
        wanted |= {stores.archive(): _build_stores, archives.mlflow(): _build_mlflow}
    return _with_own_daemon(cache, wanted)


def build_own(cache: Path) -> list[Path]:
    """The archives of ragstone's own images alone."""
    return _with_own_daemon(cache, {archives.orchestrator(): _build_orchestrator, archives.services(): _build_services})


def build_with_docker(cache: Path) -> list[Path]:
    """The same archives, and MLflow's, made by the machine's Docker, which pulls base images and reaches a package index: what kind loads."""
    wanted: dict[archives.Archive, Callable[[], None]] = {
        archives.orchestrator(): lambda: _build_versions(Docker(), {}),
        archives.services(): lambda: _build_by_script(Docker(), {}, "embedding", "generation"),
        archives.mlflow(): lambda: _build_by_script(Docker(), {}, "mlflow"),
    }
    files = {archive: _folder(cache) / archive.file for archive in wanted}
    for archive, file in files.items():
        if not file.is_file():
            wanted[archive]()
            _save(Docker(), archive, file)
    return list(files.values())


def _with_own_daemon(cache: Path, wanted: Mapping[archives.Archive, Callable[[Docker], None]]) -> list[Path]:
    files = {archive: _folder(cache) / archive.file for archive in wanted}
    if missing := [archive for archive, file in files.items() if not file.is_file()]:
        with _phase("Docker daemon, start to stop"), running(cache / "docker") as docker:
            for archive in missing:
                wanted[archive](docker)
                _save(docker, archive, files[archive])
            docker("image", "prune", "--force", "--filter", _KEPT_LAYERS, limit=_SAVE_LIMIT)
    return list(files.values())


def _folder(cache: Path) -> Path:
    folder = cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _build_programs(docker: Docker, binaries: Path) -> None:
    for program, image in archives.programs().items():
        with _phase(f"image {image}"), tempfile.TemporaryDirectory(prefix="ragstone-image-") as folder:
            shutil.copy(binaries / program, folder)
            (Path(folder) / "Dockerfile").write_text(archives.scratch(program))
            docker("build", "--tag", image, folder, environment=_BUILDER, limit=_BUILD_LIMIT)


def _build_stores(docker: Docker) -> None:
    python, builder = _bases(docker)
    with _phase("images of the stores"), tempfile.TemporaryDirectory(prefix="ragstone-image-") as folder:
        stores.build(docker, Path(folder), python, builder)


def _build_mlflow(docker: Docker) -> None:
    _build_by_script(docker, _build_settings(docker), "mlflow")


def _build_services(docker: Docker) -> None:
    _build_by_script(docker, _build_settings(docker), "embedding", "generation")


def _build_by_script(docker: Docker, settings: Mapping[str, str], *images: str) -> None:
    """As `make images IMAGE=...` does."""
    plain = _plain(docker, settings) | {"WITH_MODEL": ""}
    for image in images:
        with _phase(f"image {image}"):
            run([names.REPOSITORY / "scripts" / "images.sh", "build", image], environment=plain, limit=_BUILD_LIMIT)


def _build_orchestrator(docker: Docker) -> None:
    _build_versions(docker, _build_settings(docker))


def _build_settings(docker: Docker) -> dict[str, str]:
    """What scripts/images.sh needs here: a builder that finds packages."""
    _, builder = _bases(docker)
    options = ["--network=host", *(f"--build-arg={name}" for name in _PROXIES if name in os.environ)]
    return {**_BUILDER, "BUILDER_IMAGE": builder, "IMAGE_OPTIONS": " ".join(options)}


def _bases(docker: Docker) -> tuple[str, str]:
    python = names.python_base()
    with _phase(f"base image {python}"):
        base.ensure_base(docker, python)
        return python, base.ensure_builder(docker, python)


def _plain(docker: Docker, settings: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "IMAGE_REGISTRY": "", "PYTHON_IMAGE": "", **docker.environment, **settings}


def _build_versions(docker: Docker, settings: Mapping[str, str]) -> None:
    """As `make images` does, without and with the model, and once more under the next version."""
    plain = _plain(docker, settings)
    for image, with_model in ((names.ORCHESTRATOR, ""), (names.ORCHESTRATOR_MODEL, "1")):
        with _phase(f"image {image}"):
            run([names.REPOSITORY / "scripts" / "images.sh", "build"], environment=plain | {"WITH_MODEL": with_model}, limit=_BUILD_LIMIT)
    with _phase(f"image {names.ORCHESTRATOR_NEXT}"):
        newer = f"FROM {names.ORCHESTRATOR}\nLABEL org.opencontainers.image.version={names.NEXT_VERSION}\n"
        docker("build", "--tag", names.ORCHESTRATOR_NEXT, "-", stdin=newer, environment=settings)


def _save(docker: Docker, archive: archives.Archive, file: Path) -> None:
    """Writes the archive whole or not at all, and removes the one that it replaces."""
    with _phase(f"archive {file.name}"):
        unfinished = file.with_suffix(".partial")
        docker("save", "--output", unfinished, *archive.images, limit=_SAVE_LIMIT)
        for old in file.parent.glob(f"{archive.name}-*.tar"):
            old.unlink()
        unfinished.rename(file)


@contextmanager
def _phase(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"  images: {name}: {time.monotonic() - started:.1f} s", flush=True)
