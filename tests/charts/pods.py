"""The pods that manifests would make, whatever controller makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.charts.helm import Manifest

REPLICATED = ("Deployment", "StatefulSet", "ReplicaSet")
CONTROLLERS = (*REPLICATED, "DaemonSet", "Job")
HOOK = "helm.sh/hook"


@dataclass(frozen=True)
class PodTemplate:
    """A pod as a controller would make it, with the object that it comes from."""

    owner: Manifest
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def is_test(self) -> bool:
        return HOOK in self.owner["metadata"].get("annotations", {})

    @property
    def is_served(self) -> bool:
        """Runs until it is stopped (so probes, disruption budgets and spreading are about it)."""
        return self.owner["kind"] not in ("Job", "CronJob") and not self.is_test

    @property
    def replicas(self) -> int:
        return int(self.owner["spec"].get("replicas", 1)) if self.owner["kind"] in REPLICATED else 1

    @property
    def claim_templates(self) -> list[str]:
        """Names of the volumes for which a StatefulSet makes a claim for each pod."""
        return [each["metadata"]["name"] for each in self.owner["spec"].get("volumeClaimTemplates", [])]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return list(self.spec["containers"])

    @property
    def all_containers(self) -> list[dict[str, Any]]:
        """Init and ephemeral containers too."""
        return [*self.spec.get("initContainers", []), *self.containers, *self.spec.get("ephemeralContainers", [])]

    def volumes(self, kind: str) -> Iterator[dict[str, Any]]:
        """The sources of that kind, also those inside projected volumes."""
        for volume in self.spec.get("volumes", []):
            for source in (volume, *volume.get("projected", {}).get("sources", [])):
                if kind in source:
                    yield source[kind]


def pods(objects: Iterable[Manifest]) -> list[PodTemplate]:
    """The pod template of every object that makes pods."""
    return [_pod(each, template) for each in objects if (template := _template(each)) is not None]


def _template(manifest: Manifest) -> dict[str, Any] | None:
    kind, spec = manifest["kind"], manifest.get("spec") or {}
    if kind == "Pod":
        return manifest
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    elif kind not in CONTROLLERS:
        return None
    template: dict[str, Any] = spec["template"]
    return template


def _pod(owner: Manifest, template: dict[str, Any]) -> PodTemplate:
    about = template.get("metadata") or {}
    return PodTemplate(owner, about.get("labels") or {}, about.get("annotations") or {}, template["spec"])
