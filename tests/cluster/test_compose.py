"""compose.yaml as `docker compose config` reads it: schema, variables, secrets, dependencies, networks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.bed import Bed
from tests.cluster.layout import Layout
from tests.cluster.shell import ClusterError, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy with its secrets made."""
    for part in ("compose.yaml", "scripts", "charts"):
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, tmp_path / part)
    subprocess.run([tmp_path / "scripts" / "compose_secrets.sh"], check=True, capture_output=True)
    return tmp_path


def config(bed: Bed, file: Path) -> str:
    """The project as Compose understands it. Raises `ClusterError` with what is wrong."""
    if bed.name != "local":
        return run(["docker", "compose", "--file", file, "--profile", "*", "config"])
    return run([Layout.default().cache / "bin" / "all" / "compose", file])


def test_compose_takes_the_file(bed: Bed, project: Path) -> None:
    understood = yaml.safe_load(config(bed, project / "compose.yaml"))
    assert set(understood["services"]) == set(yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"])
    published = {port["published"] for service in understood["services"].values() for port in service.get("ports", [])}
    assert published == {"8000", "8001", "5000", "9001", "8081"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("mem_limit: 1g", "mem_limit: [1]"),
        ("condition: service_healthy", "condition: service_fine"),
        ("networks: [stores, front]", "networks: [nowhere]"),
        ("secrets: [nats-config]", "secrets: [nobodys]"),
    ],
)
def test_a_mistake_is_told(bed: Bed, project: Path, right: str, wrong: str) -> None:
    file = project / "compose.yaml"
    text = file.read_text("utf-8")
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    with pytest.raises(ClusterError):
        config(bed, file)
