"""What building images says when it can't, and what it does not do twice."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import images, packages
from tests.cluster.images import archives, base, dockerd, stores
from tests.cluster.shell import ClusterError


class SavingDocker(dockerd.Docker):
    """Saves an empty archive, whatever the images."""

    def __call__(self, *arguments: str | Path, **_: Any) -> str:
        if arguments[0] == "save":
            Path(arguments[2]).write_bytes(b"")
        return ""


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    folder = tmp_path / "binaries"
    folder.mkdir()
    for program in archives.programs():
        (folder / program).write_text(program)
    return folder


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_installed", lambda _: False)


@pytest.mark.usefixtures("missing")
def test_without_apt_the_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ClusterError, match=r"packages docker\.io runc are missing, and there is no apt-get here: use Debian 12"):
        packages.ensure(["docker.io", "runc"])


@pytest.mark.usefixtures("missing")
def test_without_root_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="run `apt-get install runc` as root"):
        packages.ensure(["runc"])


def test_a_daemon_needs_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dockerd, "ensure", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="run this as root"), dockerd.running(tmp_path):
        pass


def test_a_path_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dockerd, "ensure", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ClusterError, match="set RAGSTONE_CLUSTER_CACHE to a shorter one"), dockerd.running(tmp_path / ("x" * 90)):
        pass


def test_what_is_built_is_not_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, binaries: Path) -> None:
    def refused(_: Path) -> None:
        raise AssertionError("no daemon is needed")

    expected = [
        tmp_path / "images" / archive.file for archive in (archives.orchestrator(), archives.services(), archives.infrastructure(binaries))
    ]
    (tmp_path / "images").mkdir()
    for path in expected:
        path.write_bytes(b"")
    monkeypatch.setattr(images, "running", refused)
    monkeypatch.setattr(stores, "programs", dict)
    assert images.build_images(tmp_path, binaries) == expected


def test_an_archive_replaces_its_predecessor_alone(tmp_path: Path, binaries: Path) -> None:
    archive = archives.infrastructure(binaries)
    for name in ("infrastructure-old.tar", "orchestrator-old.tar"):
        (tmp_path / name).write_bytes(b"")
    images._save(SavingDocker(), archive, tmp_path / archive.file)
    assert {path.name for path in tmp_path.glob("*.*")} == {archive.file, "orchestrator-old.tar"}


def test_only_the_place_of_packages_is_taken_from_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "global.index-url='https://index.test/simple'\n:env:.default-timeout='60'\nglobal.cert='/here'\nglobal.user='true'\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, said, ""))
    assert base.pip_settings() == "index-url = https://index.test/simple\ntimeout = 60\n"


def test_the_mirror_is_the_one_that_apt_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "run", lambda _: f"{base.SUITE}-updates http://a.test/\n{base.SUITE} http://b.test/debian/\n")
    assert base._mirror() == ["http://b.test/debian/"]
    monkeypatch.setattr(base, "run", lambda _: "trixie http://b.test/debian/\n")
    assert base._mirror() == []
