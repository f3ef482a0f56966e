"""The image of MongoDB's stand-in: SecantusDB behind `mongod`'s options, from the development lock."""

from __future__ import annotations

import importlib.metadata
import re
from importlib.util import find_spec
from pathlib import Path

from tests.cluster.images.dockerd import Docker

PROGRAM = Path(__file__).with_name("mongod.py")
_LOCK = Path(__file__).parents[4] / "requirements" / "dev.txt"
_SERVER = "secantusdb"
_LIMIT = 600.0  # seconds
_DOCKERFILE = """FROM {builder} AS packages
COPY requirements.txt .
RUN python3 -m venv /opt/mongod && /opt/mongod/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.txt
FROM {python}
COPY --from=packages /opt/mongod /opt/mongod
COPY mongod /usr/local/bin/mongod
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mongod"]
"""


def available() -> bool:
    """Whether SecantusDB is installed beside this Python, as `make env-dev` does."""
    return find_spec("secantus") is not None


def inputs() -> dict[str, bytes | Path]:
    """What the image is made of, by name."""
    return {"mongod": PROGRAM, "mongod requirements": requirements().encode(), "mongod Dockerfile": _DOCKERFILE.encode()}


def build(docker: Docker, context: Path, image: str, python: str, builder: str) -> None:
    """Builds it from a new folder. `builder`: the image whose pip finds packages here; `python`: the one to run on."""
    context.mkdir()
    program = context / "mongod"
    program.write_bytes(PROGRAM.read_bytes())
    program.chmod(0o755)
    (context / "requirements.txt").write_text(requirements())
    (context / "Dockerfile").write_text(_DOCKERFILE.format(builder=builder, python=python))
    docker("build", "--network=host", "--tag", image, context, environment={"DOCKER_BUILDKIT": "0"}, limit=_LIMIT)


def requirements() -> str:
    """The server and what it needs, as the lock has them."""
    wanted: set[str] = set()
    waiting = [_SERVER]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in wanted:
            wanted.add(name)
            needed = importlib.metadata.requires(name) or []
            waiting += [_name(line) for line in needed if "extra ==" not in line]
    blocks = re.split(r"^(?=[a-z0-9])", _LOCK.read_text("utf-8"), flags=re.MULTILINE)
    return "".join(block for block in blocks if _name(block) in wanted)


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found[0] if found else ""
