"""What the tests compare: manifests of k8s/, kind's configuration, pinned versions, the Dockerfile's last stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.charts.helm import ROOT, Manifest

K8S = ROOT / "k8s"
ADMITTED = {"ragstone.io/gateway": "admitted"}


def documents(path: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def manifest_files() -> list[Path]:
    """Everything in k8s/ that is applied to a cluster."""
    return [
        path
        for path in sorted(K8S.rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        and not path.name.endswith("values.yaml")
        and (path.parent != K8S or path.name == "namespaces.yaml")
    ]


def manifest(kind: str, name: str) -> Manifest:
    found = [each for path in manifest_files() for each in documents(path) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{kind} {name}: {len(found)} in k8s/"
    return found[0]


def kind_config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "kind-config.yaml").read_text(encoding="utf-8"))
    return loaded


def host_ports() -> dict[int, int]:
    """Node port -> port of this machine."""
    return {each["containerPort"]: each["hostPort"] for node in kind_config()["nodes"] for each in node["extraPortMappings"]}


def versions() -> dict[str, str]:
    lines = (K8S / "versions.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def dockerfile_instruction(name: str) -> str:
    """The argument of the last instruction of that name."""
    lines = (ROOT / "images" / "orchestrator" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")][-1]


def entrypoint() -> list[str]:
    loaded: list[str] = json.loads(dockerfile_instruction("ENTRYPOINT"))
    return loaded
