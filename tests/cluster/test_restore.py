"""A backup taken through the ingress is restored into a new claim in another namespace, as docs/charts.md says, and answers as before."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.installing import HANDBOOK, QUESTION, QUOTED, ROOT, Release

BACKUP = "/var/lib/ragstone/backup.tar.gz"
POD = "ragstone-restore"


@pytest.fixture
def source(new_release: Callable[[str, str], Release]) -> Iterator[Release]:
    release = new_release("ragstone", "ragstone-source")
    release.make_namespace()
    release.install()
    release.until_ready(60.0)
    yield release
    release.uninstall()


@pytest.fixture
def target(new_release: Callable[[str, str], Release]) -> Iterator[Release]:
    release = new_release("ragstone", "ragstone-target")
    release.make_namespace()
    yield release
    release.uninstall()


def test_a_backup_of_the_running_pod_is_restored_into_a_new_claim(source: Release, target: Release, tmp_path: Path) -> None:
    api = source.api()
    for version in ("v1", "v2"):
        api.ingest("handbook", HANDBOOK / version)
    file = tmp_path / "ragstone.tar.gz"
    file.write_bytes(api.call("POST", "/v1/backup", timeout=120.0).raise_for_status().content)
    before = [api.passages("handbook", QUESTION, position) for position in ("#1", "#2")]

    _restore(target, file)
    target.install("--set", "orchestrator.data.existingClaim=ragstone-restored")
    target.until_ready(60.0)

    restored = target.api()
    assert [restored.passages("handbook", QUESTION, position) for position in ("#1", "#2")] == before
    assert QUOTED in restored.ask("handbook", QUESTION)["answer"]["text"]


def _restore(release: Release, file: Path) -> None:
    place = ("--namespace", release.namespace)
    release.kubectl("apply", *place, "--filename", str(ROOT / "k8s" / "restore" / "restore.yaml"))
    release.kubectl("wait", *place, "--for=condition=Ready", f"pod/{POD}", "--timeout=60s", limit=90.0)
    copy = f"import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, open({BACKUP!r}, 'wb'))"
    command = [*release.command, "exec", *place, "--stdin", POD, "--", "/opt/ragstone/bin/python", "-c", copy]
    with file.open("rb") as content:
        subprocess.run(command, stdin=content, check=True, timeout=60)
    release.kubectl("exec", *place, POD, "--", "ragstone", "restore", BACKUP, limit=120.0)
    release.kubectl("exec", *place, POD, "--", "/opt/ragstone/bin/python", "-c", f"import os; os.unlink({BACKUP!r})")
    release.kubectl("delete", *place, "pod", POD, "--wait", limit=60.0)
