"""The continuous delivery files: correct by actionlint, safe by zizmor, and thin: what they do is in the Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = Path(sys.executable).parent
every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    return found


def test_actionlint_finds_nothing() -> None:
    done = subprocess.run([TOOLS / "actionlint", "-shellcheck=", "-pyflakes=", *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    done = subprocess.run([TOOLS / "zizmor", "--offline", "--quiet", ROOT / ".github"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_workflow
def test_actions_are_pinned_by_commit_and_name_their_version(path: Path) -> None:
    for line in path.read_text("utf-8").splitlines():
        if "uses:" in line:
            assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@every_workflow
def test_jobs_end_and_may_do_no_more_than_they_need(path: Path) -> None:
    whole = yaml.safe_load(path.read_text("utf-8"))
    assert whole["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in whole
    for name, job in jobs(path).items():
        assert job["timeout-minutes"] <= 120, name
        if path.stem != "release":
            assert "permissions" not in job, "only a release may write anywhere"


@every_workflow
def test_the_makefile_has_every_target(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = [
        target for job in jobs(path).values() for step in job["steps"] for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    ]
    assert used
    assert set(used) <= targets


def test_a_release_publishes_every_image_that_a_chart_pulls_but_for_those_on_others() -> None:
    """MLflow's and vLLM's are built by whoever wants them (docs/images.md): one doubles what we publish, the other stands on an upstream image of many GiB."""
    matrix = jobs(ROOT / ".github" / "workflows" / "release.yml")["images"]["strategy"]["matrix"]
    built = {path.parent.name for path in ROOT.glob("images/*/Dockerfile")}
    assert set(matrix["image"]) == built - {"mlflow", "generation-vllm"}
    assert {"image": "generation", "with-model": "1"} in matrix["exclude"]
    assert jobs(ROOT / ".github" / "workflows" / "ci.yml")["image"]["strategy"]["matrix"]["image"] == matrix["image"]
