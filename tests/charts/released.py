"""The profiles' renders at each released version, and what an upgrade from one of them may not change.

Kubernetes refuses a change of these fields, so an upgrade would fail half way; an object that is gone under its old name is deleted by
Helm, and a claim or a Service with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from ragstone import __version__
from tests.charts.helm import Helm, Manifest, profiles

DIRECTORY = Path(__file__).parent / "released"
IMMUTABLE = {
    "Deployment": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "StatefulSet": ("spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"),
    "Job": ("spec",),
    "Service": ("spec.type", "spec.clusterIP", "spec.ipFamilyPolicy", "spec.ipFamilies"),
    "PersistentVolumeClaim": (
        "spec.accessModes",
        "spec.storageClassName",
        "spec.volumeMode",
        "spec.volumeName",
        "spec.selector",
        "spec.dataSource",
    ),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
}
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


def current() -> Path:
    return DIRECTORY / __version__


def is_stored() -> bool:
    return current().exists()


def write(helm: Helm) -> list[Path]:
    current().mkdir(parents=True)
    written = []
    for case in profiles():
        path = current() / f"{case.name}.yaml"
        path.write_text(helm.case(case).text, encoding="utf-8")
        written.append(path)
    return written


def forbidden_changes(before: list[Manifest], after: list[Manifest]) -> list[str]:
    """Why Kubernetes would refuse the upgrade, or lose an object by it."""
    now = {_key(each): each for each in after}
    found = []
    for old in before:
        if "helm.sh/hook" in (old["metadata"].get("annotations") or {}) or old["kind"] == "Job":
            continue  # a job that does something else has another name, and nothing is lost with the old one
        new = now.get(_key(old))
        if new is None:
            found.append(f"{' '.join(_key(old))} is gone")
        else:
            found += [f"{' '.join(_key(old))}: {change}" for change in _changes(old, new)]
    return found


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _changes(old: Manifest, new: Manifest) -> Iterator[str]:
    for path in IMMUTABLE.get(old["kind"], ()):
        if (was := _at(old, path)) != (now := _at(new, path)):
            yield f"{path} was {was} and is {now}"
    if old["kind"] == "PersistentVolumeClaim":
        was, now = (_at(each, "spec.resources.requests.storage") for each in (old, new))
        if quantity(now) < quantity(was):
            yield f"its size was {was} and is {now}: claims only grow"
    if (
        old["kind"] in ("ConfigMap", "Secret")
        and old.get("immutable")
        and (old.get("data"), True) != (new.get("data"), new.get("immutable"))
    ):
        yield "it is marked immutable and changes"


def _at(manifest: Manifest, path: str) -> Any:
    value: Any = manifest
    for key in path.split("."):
        value = (value or {}).get(key)
    return value


def quantity(text: str | float) -> Decimal:
    """A Kubernetes quantity as a number ("500m" is 0.5)."""
    words = str(text)
    digits = words.rstrip("KMGTPEikm")
    suffix = words.removeprefix(digits)
    return Decimal(digits) * (Decimal("0.001") if suffix == "m" else UNITS.get(suffix, 1))
