"""No version changes what Kubernetes lets nobody change, against each released version's render."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts import released
from tests.charts.helm import Helm, Manifest, profiles
from tests.charts.released import forbidden_changes, quantity

pytestmark = pytest.mark.xdist_group("charts")
STORED = sorted(released.DIRECTORY.glob("*/*.yaml"))

DEPLOYMENT: Manifest = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 1}}
CLAIM: Manifest = {
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "c"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
}


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_upgrade_from_a_released_version_changes_no_immutable_field(helm: Helm, path: Path) -> None:
    case = next((case for case in profiles() if case.name == path.stem), None)
    assert case is not None, f"the profile {path.stem} of {path.parent.name} is gone: those who installed it can't upgrade"
    before = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert forbidden_changes(before, helm.case(case).objects) == []


def test_the_version_of_this_tree_is_stored() -> None:
    assert released.is_stored(), "`python -m tests.charts released` stores this version's render"


def changed(manifest: Manifest, *path: str, to: Any) -> Manifest:
    copied = copy.deepcopy(manifest)
    place = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return copied


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (DEPLOYMENT, changed(DEPLOYMENT, "spec", "selector", to={"matchLabels": {"a": "c"}}), "spec.selector was"),
        (DEPLOYMENT, changed(DEPLOYMENT, "metadata", "name", to="other"), "Deployment d is gone"),
        (CLAIM, changed(CLAIM, "spec", "accessModes", to=["ReadWriteMany"]), "spec.accessModes was"),
        (CLAIM, changed(CLAIM, "spec", "storageClassName", to="fast"), "spec.storageClassName was None and is fast"),
        (CLAIM, changed(CLAIM, "spec", "resources", "requests", "storage", to="9Gi"), "claims only grow"),
        (
            {"kind": "ConfigMap", "metadata": {"name": "m"}, "immutable": True, "data": {}},
            {"kind": "ConfigMap", "metadata": {"name": "m"}},
            "marked immutable",
        ),
    ],
)
def test_a_change_that_is_refused(old: Manifest, new: Manifest, expected: str) -> None:
    (found,) = forbidden_changes([old], [new])
    assert expected in found


def test_changes_that_are_let_through() -> None:
    grown = changed(CLAIM, "spec", "resources", "requests", "storage", to="1Ti")
    scaled = changed(DEPLOYMENT, "spec", "replicas", to=3)
    test = changed(DEPLOYMENT, "metadata", to={"name": "t", "annotations": {"helm.sh/hook": "test"}})
    assert forbidden_changes([DEPLOYMENT, CLAIM, test], [scaled, grown]) == []


def test_quantities() -> None:
    assert [int(quantity(text)) for text in ("10", "1Gi", "2k", 3)] == [10, 2**30, 2000, 3]
    assert quantity("500m") * 2 == 1
