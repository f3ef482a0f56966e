"""scripts/images.sh and scripts/release.sh, with a docker and a helm that only write down what they were asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ragstone import __version__
from tests.charts.helm import UMBRELLA, subcharts

ROOT = Path(__file__).parents[2]
_FAKE = """#!/bin/sh
printf '%s\\n' "$*" >>"$ASKED"
[ "$1" != push ] || printf 'Pushed: registry.test/charts/%s\\nDigest: sha256:%064d\\n' "$(basename "$2" .tgz | sed 's/-\\([0-9]\\)/:\\1/')" 7 >&2
[ "$1" != package ] || cat "$5"/../*/values.yaml >"$4/$(basename "$5")-0.1.0.tgz"
"""


class Recorded:
    """Runs a script; keeps what the fakes were asked."""

    def __init__(self, folder: Path) -> None:
        self._asked = folder / "asked"
        self._path = folder / "bin"
        self._path.mkdir()
        self.repository = folder / "repository"  # a copy: the scripts write below it
        for name in ("charts", "images", "scripts", "src/ragstone/__init__.py"):
            source, target = ROOT / name, self.repository / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        for name in ("docker", "helm"):
            (self._path / name).write_text(_FAKE)
            (self._path / name).chmod(0o755)

    def run(
        self, script: str, *arguments: str, settings: Mapping[str, str] | None = None, tools: bool = True
    ) -> subprocess.CompletedProcess[str]:
        path = f"{self._path}:/usr/bin:/bin" if tools else str(self._path.parent / "none")
        environment = {"PATH": path, "ASKED": str(self._asked), "HOME": os.environ.get("HOME", "/"), **(settings or {})}
        return subprocess.run(
            ["/bin/sh", self.repository / "scripts" / script, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    def asked(self, beginning: str) -> list[str]:
        return [line for line in self._asked.read_text("utf-8").splitlines() if line.startswith(beginning)]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_an_image_is_tagged_with_the_version(recorded: Recorded) -> None:
    assert recorded.run("images.sh", "build").returncode == 0
    (build,) = recorded.asked("build")
    assert f"--tag ragstone/orchestrator:{__version__} " in build
    assert f"--build-arg VERSION={__version__} " in build
    assert "WITH_MODEL" not in build
    assert "BUILDER_IMAGE" not in build


def test_settings_reach_the_build(recorded: Recorded) -> None:
    settings = {
        "IMAGE_REGISTRY": "registry.test/team",
        "WITH_MODEL": "1",
        "PYTHON_IMAGE": "python:test",
        "IMAGE_OPTIONS": "--push --platform=linux/arm64",
    }
    assert recorded.run("images.sh", "build", settings=settings).returncode == 0
    (build,) = recorded.asked("build")
    assert f"--tag registry.test/team/ragstone/orchestrator:{__version__}-model " in build
    for part in ("--build-arg WITH_MODEL=1", "--build-arg PYTHON_IMAGE=python:test", "--push --platform=linux/arm64"):
        assert part in build


def test_another_image_has_a_dockerfile_and_a_name_of_its_own(recorded: Recorded) -> None:
    assert recorded.run("images.sh", "build", "mlflow", settings={"WITH_MODEL": "1"}).returncode == 0
    (build,) = recorded.asked("build")
    assert "--file images/mlflow/Dockerfile " in build
    assert f"--tag ragstone/mlflow:{__version__} " in build
    assert "WITH_MODEL" not in build
    assert recorded.run("images.sh", "build", "embedding", settings={"WITH_MODEL": "1"}).returncode == 0
    build = recorded.asked("build")[-1]
    assert "--file images/embedding/Dockerfile " in build
    assert f"--tag ragstone/embedding:{__version__}-model " in build
    assert "--build-arg WITH_MODEL=1" in build
    assert recorded.run("images.sh", "build", "generation", settings={"WITH_MODEL": "1"}).returncode == 0
    assert f"--tag ragstone/generation:{__version__} " in recorded.asked("build")[-1]
    settings = {"VLLM_IMAGE": "registry.example.org/vllm:1", "VLLM_BUILDER_IMAGE": "builder:1"}
    assert recorded.run("images.sh", "build", "generation-vllm", settings=settings).returncode == 0
    build = recorded.asked("build")[-1]
    assert "--file images/generation-vllm/Dockerfile " in build
    assert f"--tag ragstone/generation:{__version__}-vllm " in build
    assert "--build-arg VLLM_IMAGE=registry.example.org/vllm:1 --build-arg VLLM_BUILDER_IMAGE=builder:1" in build
    done = recorded.run("images.sh", "build", "mongo")
    assert done.returncode == 2
    assert done.stderr == "There is no image 'mongo': orchestrator, embedding, generation, generation-vllm or mlflow.\n"


@pytest.mark.parametrize("image", ["orchestrator", "embedding", "generation"])
def test_each_published_image_has_a_bill_of_materials(recorded: Recorded, image: str) -> None:
    assert recorded.run("images.sh", "sbom", image).returncode == 0
    (build,) = recorded.asked("build")
    assert f"--file images/{image}/Dockerfile " in build
    assert f"--target sbom --tag ragstone/{image}:{__version__}-sbom " in build
    (copied,) = recorded.asked("cp")
    assert copied.endswith(f":/{image}.cdx.json dist/{image}-{__version__}.cdx.json")
    assert f"ragstone/{image} " in (ROOT / "images" / image / "Dockerfile").read_text("utf-8")


def test_an_image_without_a_bill_of_materials_is_named(recorded: Recorded) -> None:
    done = recorded.run("images.sh", "sbom", "mlflow")
    assert (done.returncode, done.stderr) == (2, "There is no bill of materials of 'mlflow': orchestrator, embedding or generation.\n")


@pytest.mark.parametrize("script", ["images.sh", "release.sh"])
def test_an_unknown_task_is_refused_with_the_usage(recorded: Recorded, script: str) -> None:
    done = recorded.run(script, "destroy")
    assert done.returncode == 2
    assert "usage: scripts/" in done.stderr


def test_without_docker_a_sentence_says_what_to_do(recorded: Recorded, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "dirname").symlink_to("/usr/bin/dirname")
    done = recorded.run("images.sh", "build", tools=False)
    assert done.returncode == 2
    assert done.stderr == "docker is missing: install Docker, or a client that speaks to one (DOCKER_HOST).\n"


def test_a_tag_of_another_version_is_refused(recorded: Recorded) -> None:
    assert recorded.run("release.sh", "check-tag", f"v{__version__}").returncode == 0
    done = recorded.run("release.sh", "check-tag", "v99.0.0")
    assert done.returncode == 1
    assert f"tag v{__version__}, or change the version first" in done.stderr


def test_published_charts_are_listed_by_digest(recorded: Recorded) -> None:
    assert recorded.run("release.sh", "publish-charts", "oci://registry.test/charts").returncode == 0
    listed = (recorded.repository / "dist" / "charts" / "published").read_text("utf-8").splitlines()
    assert listed == [f"registry.test/charts/{name}@sha256:{7:064d}" for name in sorted([UMBRELLA, *subcharts()])]


@pytest.mark.parametrize("registry", ["", "registry.test:5000/team"])
def test_published_charts_know_where_the_images_are(recorded: Recorded, registry: str) -> None:
    before = (recorded.repository / "charts" / "orchestrator" / "values.yaml").read_text("utf-8")
    done = recorded.run("release.sh", "publish-charts", "oci://registry.test/charts", settings={"IMAGE_REGISTRY": registry})
    assert done.returncode == 0
    packaged = (recorded.repository / "dist" / "charts" / "ragstone-0.1.0.tgz").read_text("utf-8")
    assert packaged.count(f'registry: "{registry}"\n') == 9, "images of ragstone's own: seven components, and the tools of two"
    assert packaged.count("registry: docker.io\n") == 6, "the stores' images come from where their makers publish them"
    assert (recorded.repository / "charts" / "orchestrator" / "values.yaml").read_text("utf-8") == before


def test_an_image_registry_that_is_none_is_refused(recorded: Recorded) -> None:
    done = recorded.run("release.sh", "publish-charts", "oci://registry.test/charts", settings={"IMAGE_REGISTRY": "a|b"})
    assert done.returncode == 2
    assert "IMAGE_REGISTRY is what stands before the image's name" in done.stderr


def test_charts_go_to_no_other_registry_than_oci(recorded: Recorded) -> None:
    done = recorded.run("release.sh", "publish-charts", "https://charts.test")
    assert done.returncode == 2
    assert "CHART_REGISTRY=oci://REGISTRY/PATH" in done.stderr
