"""The built images as pods run them: read-only, as a numeric user, without network, shell or any trace of the machine that built them."""

from __future__ import annotations

import json
import os
import struct
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ragstone import __version__
from tests.cluster.bed import CHOICE
from tests.cluster.images import base, build_own, build_with_docker, names
from tests.cluster.images.dockerd import CGROUP, Docker, running
from tests.cluster.layout import Layout
from tests.support.tiny_encoder import make_encoder
from tests.support.tiny_llama import WORDS, write_tiny_llama

ALL = (names.ORCHESTRATOR, names.ORCHESTRATOR_MODEL, names.EMBEDDING, names.GENERATION)
EACH = pytest.mark.parametrize("image", [names.ORCHESTRATOR, names.EMBEDDING, names.GENERATION])  # one of each content
EXAMPLES = names.REPOSITORY / "examples"
HARDENED = ("--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
NO_SHELL = tuple(f"--volume=/dev/null:/usr/bin/{shell}:ro" for shell in ("dash", "bash"))
ANY_USER = "--user=1000700000:1000700000"
WAIT_UNTIL_READY = """
import sys, time, urllib.request
for _ in range(900):
    try:
        print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/readyz", timeout=5).status)
        break
    except OSError:
        time.sleep(0.2)
"""
ASK = """
import sys, urllib.request
headers = {"Content-Type": "application/json"}
print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], sys.argv[2].encode(), headers), timeout=60).read().decode())
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """The Docker that built the images which the cluster runs."""
    if os.environ[CHOICE] == "context":
        pytest.skip("the image was built elsewhere")
    cache = Layout.default().cache
    if os.environ[CHOICE] == "kind":
        build_with_docker(cache)
        yield Docker()
        return
    archives = build_own(cache)
    with running(cache / "docker") as daemon:
        for archive, image in zip(archives, (names.ORCHESTRATOR_MODEL, names.GENERATION), strict=True):
            if not daemon.has(image):
                daemon("load", "--input", archive, limit=300.0)
        yield daemon
    assert not traces(cache / "docker")


@pytest.fixture(scope="module")
def exported(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tarfile.TarFile]]:
    """The whole file system of an image, by its name."""
    folder, found = tmp_path_factory.mktemp("exported"), dict[str, tarfile.TarFile]()
    with ExitStack() as opened:

        def of(image: str) -> tarfile.TarFile:
            if image not in found:
                container, file = docker("create", image).strip(), folder / f"{len(found)}.tar"
                docker("export", "--output", file, container, limit=300.0)
                docker("rm", container)
                opened.callback(file.unlink)
                found[image] = opened.enter_context(tarfile.open(file))
            return found[image]

        yield of


@contextmanager
def serving(docker: Docker, image: str, port: int, *options: str) -> Iterator[str]:
    """The name of a container of the image, once what it starts is ready."""
    name = f"image-test-{uuid.uuid4().hex[:8]}"
    docker("run", "--detach", f"--name={name}", *HARDENED, *NO_SHELL, *options, image)
    try:
        assert docker("exec", name, "python3", "-c", WAIT_UNTIL_READY, str(port), limit=300.0).strip() == "200", docker("logs", name)
        yield name
    finally:
        docker("rm", "--force", name)


@pytest.fixture
def served(docker: Docker) -> Iterator[str]:
    """A container that runs `ragstone up` of the image with the model, with a volume for data and no shell."""
    volume = "--tmpfs=/var/lib/ragstone:uid=65532,gid=65532"
    with serving(docker, names.ORCHESTRATOR_MODEL, 8642, volume, f"--volume={EXAMPLES}:/examples:ro") as name:
        yield name


def inspect(docker: Docker, image: str) -> dict[str, Any]:
    (found,) = json.loads(docker("image", "inspect", image))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("image", ALL)
def test_it_starts_read_only_without_network_as_any_numeric_user(docker: Docker, image: str) -> None:
    for user in ((), (ANY_USER,)):
        assert docker("run", "--rm", *HARDENED, *NO_SHELL, *user, image, "--version").strip() == f"ragstone {__version__}"


@pytest.mark.parametrize(
    ("image", "command"), [(names.ORCHESTRATOR, "up"), (names.EMBEDDING, "serve-embedding"), (names.GENERATION, "serve-generation")]
)
def test_it_runs_as_nobody_in_particular(docker: Docker, image: str, command: str) -> None:
    config = inspect(docker, image)["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/opt/ragstone/bin/ragstone"]
    assert config["Cmd"] == [command]
    assert config["StopSignal"] == "SIGTERM"


def test_it_answers_from_the_baked_model_and_stops_when_asked(docker: Docker, served: str) -> None:
    docker("exec", served, "ragstone", "ingest", "/examples/handbook/v1", "--collection", "handbook", limit=300.0)
    answer = docker("exec", served, "ragstone", "ask", "Above which wind speed does Petrel not sail?", "--collection", "handbook", "--json")
    assert "38 knots" in answer
    docker("stop", "--time=30", served)
    assert docker("inspect", "--format={{.State.ExitCode}}", served).strip() == "0"


def test_the_embedding_service_embeds_and_stops_when_asked(docker: Docker, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_encoder(tmp_path / "tiny")
    (tmp_path / "tiny" / "model.safetensors").chmod(0o644)  # written for its owner alone
    asked = '{"model": "tiny", "input": ["a text"]}'
    given = (f"--volume={tmp_path}:/given:ro", "--env=RAGSTONE_MODEL=/given/tiny")
    cache = "--tmpfs=/var/cache/ragstone:uid=1000700000,gid=1000700000"  # for the model's graph
    with serving(docker, names.EMBEDDING, 8644, ANY_USER, cache, *given) as name:
        answer = docker("exec", name, "python3", "-c", ASK, "http://127.0.0.1:8644/v1/embeddings", asked)
        assert len(json.loads(answer)["data"][0]["embedding"]) > 1
        docker("stop", "--time=60", name, limit=90.0)
        assert docker("inspect", "--format={{.State.ExitCode}}", name).strip() == "0"


def test_the_generation_service_answers_and_stops_when_asked(docker: Docker, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    write_tiny_llama(tmp_path / "tiny.gguf")
    asked = '{"model": "tiny", "messages": [{"role": "user", "content": "What is quartz?"}]}'
    model = "--env=RAGSTONE_GENERATION_SERVICE__MODEL=/given/tiny.gguf"
    with serving(docker, names.GENERATION, 8645, ANY_USER, f"--volume={tmp_path}:/given:ro", model) as name:
        answer = docker("exec", name, "python3", "-c", ASK, "http://127.0.0.1:8645/v1/chat/completions", asked)
        assert json.loads(answer)["choices"][0]["message"]["content"] == "".join(WORDS)
        docker("stop", "--time=60", name, limit=90.0)
        assert docker("inspect", "--format={{.State.ExitCode}}", name).strip() == "0"


@EACH
def test_labels_name_what_was_built(docker: Docker, image: str) -> None:
    labels = inspect(docker, image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.base.name"] == names.python_base()


def test_the_newer_image_says_so(docker: Docker) -> None:
    assert inspect(docker, names.ORCHESTRATOR_NEXT)["Config"]["Labels"]["org.opencontainers.image.version"] == names.NEXT_VERSION


def test_the_dependencies_are_one_layer_for_all(docker: Docker) -> None:
    plain, baked, newer = (
        inspect(docker, image)["RootFS"]["Layers"] for image in (names.ORCHESTRATOR, names.ORCHESTRATOR_MODEL, names.ORCHESTRATOR_NEXT)
    )
    of_base = len(inspect(docker, names.python_base())["RootFS"]["Layers"])
    assert plain[: of_base + 1] == baked[: of_base + 1]
    assert newer == plain
    embedding, generation = (inspect(docker, image)["RootFS"]["Layers"] for image in (names.EMBEDDING, names.GENERATION))
    assert embedding[: of_base + 1] == generation[: of_base + 1]


@EACH
def test_nothing_of_the_build_machine_is_in_the_image(docker: Docker, exported: Callable[[str], tarfile.TarFile], image: str) -> None:
    settings = [line.partition(" = ")[2] for line in base.pip_settings().splitlines()]
    for each in (image, *([names.ORCHESTRATOR_MODEL] if image == names.ORCHESTRATOR else [])):
        history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", each) + json.dumps(inspect(docker, each)["Config"])
        for trace in ("PIP_", "_proxy", "_PROXY", base.BUILDER, *(value for value in settings if "://" in value)):
            assert trace not in history
    trusted = base.authorities().read_bytes()
    for name, content in files(exported(image)):
        assert name not in {"etc/pip.conf", "root/.config/pip/pip.conf", "root/.pip/pip.conf", "root/.netrc"}
        assert content != trusted or name == "etc/ssl/certs/ca-certificates.crt", f"{name} is the build machine's bundle"
        assert not any(value.encode() in content for value in settings if "://" in value), name
    ours, of_base = (digest_of_bundle(docker, each) for each in (image, names.python_base()))
    assert ours == of_base


@EACH
def test_byte_code_is_there_and_never_compared_with_its_source(exported: Callable[[str], tarfile.TarFile], image: str) -> None:
    """A read-only image can't make up for byte code that Python finds out of date: every start would compile anew."""
    found: dict[str, bytes] = {}
    for name, content in files(exported(image)):
        if name.endswith((".py", ".pyc")) and "/site-packages/ragstone/" in name:
            found[name] = content[4:8]
    sources = [Path(name) for name in found if name.endswith(".py")]
    assert len(sources) > 100
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        assert found[str(compiled)] == struct.pack("<L", 0b01), f"{compiled} is not an unchecked, hash-based one (PEP 552)"


@pytest.mark.parametrize(
    ("image", "own"),
    [
        (names.ORCHESTRATOR, {"var/lib/ragstone", "var/cache/ragstone"}),
        (names.EMBEDDING, {"var/cache/ragstone"}),
        (names.GENERATION, {"models"}),
    ],
)
def test_only_its_own_directories_are_writable_by_its_user(exported: Callable[[str], tarfile.TarFile], image: str, own: set[str]) -> None:
    members = exported(image).getmembers()
    assert {member.name for member in members if member.uid == 65532} == own
    assert not {member.name for member in members if member.mode & 0o002 and not member.issym() and member.name.startswith("opt/")}


def traces(directory: Path) -> list[str]:
    """What is left of a daemon that ran in `directory`, but for its files."""
    commands = [path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline") if path.is_file()]
    mounts = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{CGROUP}")]
    return [line for line in (*commands, *mounts) if str(directory) in line] + cgroups


def digest_of_bundle(docker: Docker, image: str) -> str:
    return docker("run", "--rm", "--network=none", "--entrypoint=sha256sum", image, "/etc/ssl/certs/ca-certificates.crt").split()[0]


def files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Every file of an image that may hold settings: those below /etc, /root and /opt/ragstone up to 1 MiB."""
    for member in archive.getmembers():
        if member.isfile() and member.size < 2**20 and member.name.startswith(("etc/", "root/", "opt/ragstone/")):
            content = archive.extractfile(member)
            assert content is not None
            yield member.name, content.read()
