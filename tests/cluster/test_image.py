"""The built image as a pod runs it: read-only, as a numeric user, without network, shell or any trace of the machine that built it."""

from __future__ import annotations

import json
import os
import struct
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragstone import __version__
from tests.cluster.bed import CHOICE
from tests.cluster.images import base, build_orchestrator, build_own_orchestrator, names
from tests.cluster.images.dockerd import CGROUP, Docker, running
from tests.cluster.layout import Layout

EXAMPLES = names.REPOSITORY / "examples"
HARDENED = ("--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
NO_SHELL = tuple(f"--volume=/dev/null:/usr/bin/{shell}:ro" for shell in ("dash", "bash"))
WAIT_UNTIL_READY = """
import time, urllib.request
for _ in range(300):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8642/readyz", timeout=5).status)
        break
    except OSError:
        time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """The Docker that built the images which the cluster runs."""
    if os.environ[CHOICE] == "context":
        pytest.skip("the image was built elsewhere")
    cache = Layout.default().cache
    if os.environ[CHOICE] == "kind":
        build_orchestrator(cache)
        yield Docker()
        return
    (archive,) = build_own_orchestrator(cache)
    with running(cache / "docker") as daemon:
        if not daemon.has(names.ORCHESTRATOR_MODEL):
            daemon("load", "--input", archive, limit=300.0)
        yield daemon
    assert not traces(cache / "docker")


@pytest.fixture
def served(docker: Docker) -> Iterator[str]:
    """A container that runs `ragstone up` of the image with the model, with a volume for data and no shell."""
    name = f"image-test-{uuid.uuid4().hex[:8]}"
    volume = "--tmpfs=/var/lib/ragstone:uid=65532,gid=65532"
    docker("run", "--detach", f"--name={name}", *HARDENED, *NO_SHELL, volume, f"--volume={EXAMPLES}:/examples:ro", names.ORCHESTRATOR_MODEL)
    try:
        assert docker("exec", name, "python3", "-c", WAIT_UNTIL_READY, limit=120.0).strip() == "200", docker("logs", name)
        yield name
    finally:
        docker("rm", "--force", name)


def inspect(docker: Docker, image: str) -> dict[str, Any]:
    (found,) = json.loads(docker("image", "inspect", image))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("image", [names.ORCHESTRATOR, names.ORCHESTRATOR_MODEL])
def test_it_starts_read_only_without_network_as_any_numeric_user(docker: Docker, image: str) -> None:
    for user in ((), ("--user=1000700000:1000700000",)):
        assert docker("run", "--rm", *HARDENED, *NO_SHELL, *user, image, "--version").strip() == f"ragstone {__version__}"


def test_it_runs_as_nobody_in_particular(docker: Docker) -> None:
    config = inspect(docker, names.ORCHESTRATOR)["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/opt/ragstone/bin/ragstone"]
    assert config["Cmd"] == ["up"]
    assert config["StopSignal"] == "SIGTERM"


def test_it_answers_from_the_baked_model_and_stops_when_asked(docker: Docker, served: str) -> None:
    docker("exec", served, "ragstone", "ingest", "/examples/handbook/v1", "--collection", "handbook", limit=300.0)
    answer = docker("exec", served, "ragstone", "ask", "Above which wind speed does Petrel not sail?", "--collection", "handbook", "--json")
    assert "38 knots" in answer
    docker("stop", "--time=30", served)
    assert docker("inspect", "--format={{.State.ExitCode}}", served).strip() == "0"


def test_labels_name_what_was_built(docker: Docker) -> None:
    labels = inspect(docker, names.ORCHESTRATOR)["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.base.name"] == names.python_base()
    assert inspect(docker, names.ORCHESTRATOR_NEXT)["Config"]["Labels"]["org.opencontainers.image.version"] == names.NEXT_VERSION


def test_the_dependencies_are_one_layer_for_all(docker: Docker) -> None:
    plain, baked, newer = (
        inspect(docker, image)["RootFS"]["Layers"] for image in (names.ORCHESTRATOR, names.ORCHESTRATOR_MODEL, names.ORCHESTRATOR_NEXT)
    )
    of_base = len(inspect(docker, names.python_base())["RootFS"]["Layers"])
    assert plain[: of_base + 1] == baked[: of_base + 1]
    assert newer == plain


def test_nothing_of_the_build_machine_is_in_the_image(docker: Docker, tmp_path: Path) -> None:
    settings = [line.partition(" = ")[2] for line in base.pip_settings().splitlines()]
    for image in (names.ORCHESTRATOR, names.ORCHESTRATOR_MODEL):
        history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", image) + json.dumps(inspect(docker, image)["Config"])
        for trace in ("PIP_", "_proxy", "_PROXY", base.BUILDER, *(value for value in settings if "://" in value)):
            assert trace not in history
    trusted = base.authorities().read_bytes()
    for name, content in files(docker, names.ORCHESTRATOR, tmp_path):
        assert name not in {"etc/pip.conf", "root/.config/pip/pip.conf", "root/.pip/pip.conf", "root/.netrc"}
        assert content != trusted or name == "etc/ssl/certs/ca-certificates.crt", f"{name} is the build machine's bundle"
        assert not any(value.encode() in content for value in settings if "://" in value), name
    ours, of_base = (digest_of_bundle(docker, image) for image in (names.ORCHESTRATOR, names.python_base()))
    assert ours == of_base


def test_byte_code_is_there_and_never_compared_with_its_source(docker: Docker, tmp_path: Path) -> None:
    """A read-only image can't make up for byte code that Python finds out of date: every start would compile anew."""
    found: dict[str, bytes] = {}
    for name, content in files(docker, names.ORCHESTRATOR, tmp_path):
        if name.endswith((".py", ".pyc")) and "/site-packages/ragstone/" in name:
            found[name] = content[4:8]
    sources = [Path(name) for name in found if name.endswith(".py")]
    assert len(sources) > 100
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        assert found[str(compiled)] == struct.pack("<L", 0b01), f"{compiled} is not an unchecked, hash-based one (PEP 552)"


def test_only_its_own_directories_are_writable_by_its_user(docker: Docker, tmp_path: Path) -> None:
    with exported(docker, names.ORCHESTRATOR, tmp_path) as archive:
        owned = {member.name for member in archive if member.uid == 65532}
        open_to_all = {
            member.name for member in archive.getmembers() if member.mode & 0o002 and not member.issym() and member.name.startswith("opt/")
        }
    assert owned == {"var/lib/ragstone", "var/cache/ragstone"}
    assert not open_to_all


def traces(directory: Path) -> list[str]:
    """What is left of a daemon that ran in `directory`, but for its files."""
    commands = [path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline") if path.is_file()]
    mounts = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{CGROUP}")]
    return [line for line in (*commands, *mounts) if str(directory) in line] + cgroups


def digest_of_bundle(docker: Docker, image: str) -> str:
    return docker("run", "--rm", "--network=none", "--entrypoint=sha256sum", image, "/etc/ssl/certs/ca-certificates.crt").split()[0]


def exported(docker: Docker, image: str, folder: Path) -> tarfile.TarFile:
    """The whole file system of `image`."""
    container = docker("create", image).strip()
    try:
        docker("export", "--output", folder / "image.tar", container)
    finally:
        docker("rm", container)
    return tarfile.open(folder / "image.tar")


def files(docker: Docker, image: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of `image` that may hold settings: those below /etc, /root and /opt/ragstone up to 1 MiB."""
    with exported(docker, image, folder) as archive:
        for member in archive:
            if member.isfile() and member.size < 2**20 and member.name.startswith(("etc/", "root/", "opt/ragstone/")):
                content = archive.extractfile(member)
                assert content is not None
                yield member.name, content.read()
