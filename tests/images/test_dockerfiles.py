"""Rules that every Dockerfile of ours keeps, beside those of hadolint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.dockerfile import Stage, read

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("images/*/Dockerfile"))
SETTINGS = ("PIP_", "UV_", "INDEX", "PROXY", "CERT", "TOKEN", "PASSWORD", "SECRET", "KEY", "BUILDER_IMAGE")
every_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=[path.parent.name for path in DOCKERFILES])


def shipped(path: Path) -> Stage:
    """What a build without a target gives."""
    return read(path)[1][-1]


@every_dockerfile
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_dockerfile
def test_bases_come_from_arguments_or_earlier_stages(path: Path) -> None:
    before, stages = read(path)
    arguments = {each.arguments.partition("=")[0] for each in before if each.name == "ARG"}
    known = {f"${{{name}}}" for name in arguments} | {"scratch"}
    for stage in stages:
        assert stage.base in known, f"FROM {stage.base} pins a base that nobody can replace."
        known.add(stage.name)


@every_dockerfile
def test_default_bases_have_exact_tags(path: Path) -> None:
    before, _ = read(path)
    defaults = [each.arguments.partition("=")[2] for each in before if each.name == "ARG"]
    for image in (value for value in defaults if not value.startswith("$")):
        assert ":" in image.rpartition("/")[2], f"{image} has no tag."
        assert not image.endswith(":latest")


@every_dockerfile
def test_both_builders_can_build_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "# syntax=" not in text
    for stage in read(path)[1]:
        assert not any("--" in run.split(" ", 1)[0] for run in stage.all("RUN")), "the classic builder knows no RUN --mount"
        assert not any("--link" in copy or "<<" in copy for copy in stage.all("COPY"))


@every_dockerfile
def test_nothing_is_added_from_afar(path: Path) -> None:
    assert not any(stage.all("ADD") for stage in read(path)[1]), "ADD fetches and unpacks: use COPY"


@every_dockerfile
def test_the_image_runs_as_a_numeric_user_without_a_shell(path: Path) -> None:
    stage = shipped(path)
    assert stage.all("USER") == ["65532:65532"]
    assert not stage.all("RUN")
    assert not stage.all("SHELL")
    assert not stage.all("HEALTHCHECK")
    for form in (*stage.all("ENTRYPOINT"), *stage.all("CMD")):
        assert isinstance(json.loads(form), list)
    assert stage.all("ENTRYPOINT")


@every_dockerfile
def test_no_setting_of_the_build_reaches_the_image(path: Path) -> None:
    stage = shipped(path)
    for declared in (*stage.all("ARG"), *stage.all("ENV")):
        assert not any(word in declared.upper() for word in SETTINGS), declared


@every_dockerfile
def test_labels_say_what_the_image_is(path: Path) -> None:
    (labels,) = shipped(path).all("LABEL")
    for name in ("title", "description", "licenses", "version", "revision", "created", "source", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


@every_dockerfile
def test_a_change_of_the_code_rebuilds_no_dependencies(path: Path) -> None:
    installing = [stage for stage in read(path)[1] if any("--require-hashes" in run for run in stage.all("RUN"))]
    assert installing
    for stage in installing:
        names = [each.name + " " + each.arguments for each in stage.instructions]
        last = max(i for i, text in enumerate(names) if "--require-hashes" in text)
        assert not any(text.startswith("COPY src") or "COPY ." in text for text in names[:last])


@every_dockerfile
def test_everything_from_the_index_is_hashed(path: Path) -> None:
    for stage in read(path)[1]:
        for run in stage.all("RUN"):
            for command in (part for part in run.split("&&") if "pip install" in part or "pip wheel" in part):
                assert "--require-hashes" in command or "--no-index" in command, command


def test_the_model_services_begin_with_the_same_stages() -> None:
    """So that a builder makes them once for both, and the services' largest layer lies once on a node."""
    embedding, generation = (read(ROOT / "images" / name / "Dockerfile")[1] for name in ("embedding", "generation"))
    assert [stage.name for stage in embedding[:2]] == ["dependencies", "package"]
    assert embedding[:2] == generation[:2]
    assert [shipped(ROOT / "images" / name / "Dockerfile").all("COPY")[0] for name in ("embedding", "generation")] == [
        "--from=dependencies /opt/ragstone /opt/ragstone"
    ] * 2


def test_a_site_can_replace_the_base_of_every_stage_that_installs() -> None:
    """A package index with credentials, or a certificate authority, comes with it (docs/images.md)."""
    for path in DOCKERFILES:
        _, stages = read(path)
        own = {stage.name for stage in stages}
        bases = {stage.base for stage in stages if any("--require-hashes" in run for run in stage.all("RUN"))} - own
        assert bases <= {"${BUILDER_IMAGE}", "${VLLM_BUILDER_IMAGE}"}, path
