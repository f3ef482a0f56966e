"""The command scripts/why_not_ready.py, with a kubectl that answers what the test says."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import why_not_ready
from scripts.why_not_ready import why
from tests.scripts.test_why_not_ready import NODE, Json, claim, pod, replica_set, the_one, waiting

Kubectl = Callable[..., list[str]]


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    """A kubectl that answers by its first arguments: text, or a message for stderr and status 1."""

    def make(answers: dict[str, str], failures: dict[str, str] | None = None) -> list[str]:
        script = tmp_path / "kubectl"
        script.write_text(
            f"import sys\nsaid = ' '.join(sys.argv[2:])\nfor start, text in {failures or {}!r}.items():\n"
            f"    if said.startswith(start):\n        sys.exit(text)\nfor start, text in {answers!r}.items():\n"
            "    if said.startswith(start):\n        print(text)\n        break\nelse:\n    sys.exit('unexpected: ' + said)\n",
            encoding="utf-8",
        )
        return [sys.executable, "-S", str(script)]

    return make


def listed(*items: Json) -> str:
    return json.dumps({"kind": "List", "items": list(items)})


def test_kubectl_is_asked_for_everything_and_for_the_log(kubectl: Kubectl) -> None:
    status = waiting("CrashLoopBackOff", restarts=1, last={"terminated": {"exitCode": 1}})
    logs = "logs p --namespace=ns --container=orchestrator --tail=20 --previous"
    answers = {"get pods,": listed(pod(status)), "get nodes": listed(NODE), "get storageclasses": listed(), logs: "first\nthe reason\n\n"}
    assert 'it last said "the reason"' in the_one(why("ns", kubectl(answers)))


def test_a_user_who_may_read_the_namespace_only_is_helped_too(kubectl: Kubectl) -> None:
    short = pod(scheduled="False", message="0/1 nodes are available: 1 Insufficient memory.")
    forbidden = 'Error from server (Forbidden): nodes is forbidden: User "u" cannot list resource'
    found = why("ns", kubectl({"get pods,": listed(short, claim("fast"))}, {"get nodes": forbidden, "get storageclasses": forbidden}))
    assert "asks for 1024 MiB of memory and no node has that much free:" in the_one(found)


def test_a_namespace_that_is_missing_or_empty(kubectl: Kubectl) -> None:
    nothing = {"get pods,": listed(), "get nodes": listed(NODE), "get storageclasses": listed()}
    missing = kubectl(nothing, {"get namespace ns": 'Error from server (NotFound): namespaces "ns" not found'})
    assert "There is no namespace ns: make it with `kubectl create namespace ns`" in the_one(why("ns", missing))
    assert "Namespace ns is empty: install the chart" in the_one(why("ns", kubectl({**nothing, "get namespace ns": "namespace/ns"})))


def test_an_api_server_that_does_not_answer(kubectl: Kubectl, tmp_path: Path) -> None:
    refused = "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?"
    assert "127.0.0.1:6443 was refused" in the_one(why("ns", kubectl({}, {"get": f"E1124 some noise\n{refused}"})))
    assert "is not installed or not on the PATH" in the_one(why("ns", [str(tmp_path / "none")]))


def test_kubectl_that_hangs_is_given_up(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why_not_ready, "LIMIT_S", 0)
    assert "no answer within 0 s" in the_one(why("ns", kubectl({"get": ""})))


def test_the_command_exits_3_with_troubles_and_0_without(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = kubectl({"get pods,": listed(pod(phase="Succeeded")), "get nodes": listed(NODE), "get storageclasses": listed()})
    starter = tmp_path / "bin" / "kubectl"
    starter.parent.mkdir()
    starter.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n', encoding="utf-8")
    starter.chmod(0o755)
    monkeypatch.setenv("PATH", f"{starter.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "argv", ["why_not_ready.py", "ns"])
    assert why_not_ready.main() == 0
    assert "Everything in namespace ns is ready" in capsys.readouterr().out
    kubectl({"get pods,": listed(replica_set("x")), "get nodes": listed(NODE), "get storageclasses": listed()})
    assert why_not_ready.main() == 3
    assert "ReplicaSet rs may not make pods" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["why_not_ready.py"])
    assert why_not_ready.main() == 2
