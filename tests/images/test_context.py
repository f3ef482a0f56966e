"""What a build may see, and what its archive's key depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cluster.images import archives, names
from tests.cluster.shell import ClusterError

ROOT = Path(__file__).parents[2]
INPUTS = (".dockerignore", "LICENSE", "README.md", "pyproject.toml", "images", "requirements", "scripts/images.sh", "src")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in INPUTS:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return tmp_path


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    folder = tmp_path / "binaries"
    folder.mkdir()
    for program in archives.programs():
        (folder / program).write_text(f"static {program}")
    return folder


def test_the_context_is_an_allow_list() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {"**/__pycache__", "**/*.pyc"} <= set(lines)


def test_the_context_holds_what_is_built_and_nothing_else(repository: Path) -> None:
    (repository / ".git").mkdir()
    (repository / ".env").write_text("SECRET=1")
    cached = repository / "src" / "ragstone" / "__pycache__"
    cached.mkdir()
    (cached / "x.pyc").write_bytes(b"")
    seen = {str(path.relative_to(repository)) for path in archives.context_files(repository)}
    assert {"LICENSE", "README.md", "pyproject.toml", "requirements/cluster.txt", "src/ragstone/__init__.py"} <= seen
    assert {path.split("/")[0] for path in seen} == {"LICENSE", "README.md", "images", "pyproject.toml", "requirements", "src"}
    assert not any(path.endswith(".pyc") for path in seen)


@pytest.mark.parametrize(
    "changed", ["src/ragstone/__init__.py", "requirements/cluster.txt", "images/orchestrator/Dockerfile", ".dockerignore"]
)
def test_any_input_changes_the_key(repository: Path, changed: str) -> None:
    before = archives.orchestrator(repository).file
    (repository / changed).write_bytes((repository / changed).read_bytes() + b"\n# changed\n")
    assert archives.orchestrator(repository).file != before


@pytest.mark.parametrize(
    "changed", ["requirements/bento.txt", "images/embedding/Dockerfile", "images/generation/Dockerfile", "scripts/images.sh"]
)
def test_any_input_changes_the_key_of_the_services(repository: Path, changed: str) -> None:
    before = archives.services(repository).file
    (repository / changed).write_bytes((repository / changed).read_bytes() + b"\n# changed\n")
    assert archives.services(repository).file != before


def test_what_is_not_built_leaves_the_key_alone(repository: Path) -> None:
    before = archives.orchestrator(repository).file
    (repository / "tests").mkdir()
    (repository / "tests" / "test_more.py").write_text("")
    assert archives.orchestrator(repository).file == before


def test_another_binary_changes_the_key(binaries: Path) -> None:
    before = archives.infrastructure(binaries).file
    (binaries / "traefik").write_text("a newer one")
    assert archives.infrastructure(binaries).file != before


def test_a_missing_binary_is_named(binaries: Path) -> None:
    (binaries / "pause").unlink()
    with pytest.raises(ClusterError, match="pause is missing: build it first"):
        archives.infrastructure(binaries)


def test_the_versions_of_the_images_follow_the_package() -> None:
    assert f"ragstone/orchestrator:{names.VERSION}" == names.ORCHESTRATOR
    assert [int(part) for part in names.NEXT_VERSION.split(".")] > [int(part) for part in names.VERSION.split(".")]
