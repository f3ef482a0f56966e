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

from tests.cluster.images import archives, base, names
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
    programs = archives.infrastructure(binaries)
    return _archives(cache, {archives.orchestrator(): _build_orchestrator, programs: partial(_build_programs, binaries=binaries)})


def build_orchestrator(cache: Path) -> list[Path]:
    """The archive of ragstone's own images alone."""
    return _archives(cache, {archives.orchestrator(): _build_orchestrator})


def _archives(cache: Path, wanted: Mapping[archives.Archive, Callable[[Docker], None]]) -> list[Path]:
    folder = cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    if missing := [archive for archive in wanted if not (folder / archive.file).is_file()]:
        with _phase("Docker daemon, start to stop"), running(cache / "docker") as docker:
            for archive in missing:
                wanted[archive](docker)
                _save(docker, archive, folder)
            docker("image", "prune", "--force", "--filter", _KEPT_LAYERS, limit=_SAVE_LIMIT)
    return [folder / archive.file for archive in wanted]


def _build_programs(docker: Docker, binaries: Path) -> None:
    for program, image in archives.programs().items():
        with _phase(f"image {image}"), tempfile.TemporaryDirectory(prefix="ragstone-image-") as folder:
            shutil.copy(binaries / program, folder)
            (Path(folder) / "Dockerfile").write_text(archives.scratch(program))
            docker("build", "--tag", image, folder, environment=_BUILDER, limit=_BUILD_LIMIT)


def _build_orchestrator(docker: Docker) -> None:
    python = names.python_base()
    with _phase(f"base image {python}"):
        base.ensure_base(docker, python)
        builder = base.ensure_builder(docker, python)
    options = ["--network=host", *(f"--build-arg={name}" for name in _PROXIES if name in os.environ)]
    settings = {"BUILDER_IMAGE": builder, "IMAGE_OPTIONS": " ".join(options), "IMAGE_REGISTRY": "", "PYTHON_IMAGE": "", "PIP_INDEX_URL": ""}
    for image, with_model in ((names.ORCHESTRATOR, ""), (names.ORCHESTRATOR_MODEL, "1")):
        with _phase(f"image {image}"):
            environment = {**os.environ, **docker.environment, **_BUILDER, **settings, "WITH_MODEL": with_model}
            run([names.REPOSITORY / "scripts" / "images.sh", "build"], environment=environment, limit=_BUILD_LIMIT)
    with _phase(f"image {names.ORCHESTRATOR_NEXT}"):
        newer = f"FROM {names.ORCHESTRATOR}\nLABEL org.opencontainers.image.version={names.NEXT_VERSION}\n"
        docker("build", "--tag", names.ORCHESTRATOR_NEXT, "-", environment=_BUILDER, stdin=newer)


def _save(docker: Docker, archive: archives.Archive, folder: Path) -> None:
    """Writes the archive whole or not at all, and removes the one that it replaces."""
    with _phase(f"archive {archive.file}"):
        unfinished = folder / f"{archive.file}.partial"
        docker("save", "--output", unfinished, *archive.images, limit=_SAVE_LIMIT)
        for old in folder.glob(f"{archive.name}-*.tar"):
            old.unlink()
        unfinished.rename(folder / archive.file)


@contextmanager
def _phase(name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"  images: {name}: {time.monotonic() - started:.1f} s", flush=True)
