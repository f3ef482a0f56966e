"""The images that the cluster tests run, by name."""

from __future__ import annotations

import re
from pathlib import Path

from ragstone import __version__

REPOSITORY = Path(__file__).parents[3]
DOCKERFILE = REPOSITORY / "images" / "orchestrator" / "Dockerfile"

VERSION = __version__
NEXT_VERSION = f"{VERSION.rpartition('.')[0]}.{int(VERSION.rpartition('.')[2]) + 1}"  # the same content under a newer label, to upgrade to
ORCHESTRATOR = f"ragstone/orchestrator:{VERSION}"
ORCHESTRATOR_MODEL = f"{ORCHESTRATOR}-model"
ORCHESTRATOR_NEXT = f"ragstone/orchestrator:{NEXT_VERSION}"
EMBEDDING = f"ragstone/embedding:{VERSION}"
GENERATION = f"ragstone/generation:{VERSION}"
MLFLOW = f"ragstone/mlflow:{VERSION}"

COREDNS = "ragstone.test/coredns:1"
PAUSE = "ragstone.test/pause:1"


def traefik() -> str:
    """The image that the gateway's manifest asks for."""
    return _only(r"image: (\S*traefik\S*)", REPOSITORY / "k8s" / "gateway" / "traefik.yaml")


def python_base() -> str:
    """The base image that the Dockerfile starts from."""
    return _only(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE)


def _only(pattern: str, file: Path) -> str:
    found = re.findall(pattern, file.read_text("utf-8"), re.MULTILINE)
    if len(found) != 1:
        raise ValueError(f"{file} has {len(found)} lines like {pattern}, not one.")
    return str(found[0])
