"""The lock files: complete hashes, no address, and one version of everything."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = sorted((Path(__file__).parents[2] / "requirements").glob("*.txt"))


def pins(lock: Path) -> dict[str, str]:
    """Requirement line (name, version, marker) by name and marker."""
    joined = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split("--hash")[0].strip() for line in joined.splitlines() if re.match(r"[a-z0-9]", line)]
    return {re.sub(r"==\S+", "", line): line for line in lines}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_address_and_no_machine_path(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|@ |(^|\s)/", text)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_pinned_and_hashed(lock: Path) -> None:
    joined = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    requirements = [line for line in joined.splitlines() if line and not line.lstrip().startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_run_time_and_development_locks_agree() -> None:
    by_name = {lock.stem: pins(lock) for lock in LOCKS}
    # mlflow, policy and sbom: a server and tools with environments of their own
    assert set(by_name) == {"bento", "build", "cluster", "dev", "embedded", "mlflow", "policy", "sbom"}
    assert by_name["embedded"].items() <= by_name["cluster"].items() <= by_name["dev"].items()
    run_time, bento = ({pin.split(" ;")[0] for pin in by_name[lock].values()} for lock in ("embedded", "bento"))
    assert {pin for pin in run_time if not pin.startswith("opentelemetry-")} <= bento  # BentoML asks for a set of those of its own


def test_locks_satisfy_what_the_project_declares() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        "embedded": project["project"]["dependencies"],
        "cluster": project["project"]["dependencies"] + project["project"]["optional-dependencies"]["cluster"],
        "bento": project["project"]["dependencies"]
        + project["project"]["optional-dependencies"]["bento"]
        + project["project"]["optional-dependencies"]["llama"],
        "dev": project["project"]["dependencies"]
        + project["project"]["optional-dependencies"]["dev"]
        + project["project"]["optional-dependencies"]["llama"],
        "build": project["build-system"]["requires"],
    }
    for lock, requirements in declared.items():
        text = (root / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        for requirement in map(Requirement, requirements):
            versions = re.findall(rf"^{re.escape(canonicalize_name(requirement.name))}==(\S+)", text, re.MULTILINE)
            assert versions, f"{requirement.name} is not in {lock}.txt: make lock"
            assert all(requirement.specifier.contains(version) for version in versions), f"{requirement} in {lock}.txt: make lock"
