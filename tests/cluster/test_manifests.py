"""Every manifest of every profile and of k8s/, accepted by a real API server that has the CRDs: a dry run on the server's side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.charts.helm import Case, cases
from tests.cluster.figures import record
from tests.cluster.shell import ClusterError

ROOT = Path(__file__).parents[2]
NAMESPACE = "ragstone"
Run = Callable[..., str]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_api_server_takes_every_manifest(case: Case, charts: Path, helm: Run, kubectl: Run) -> None:
    options = ["--namespace", NAMESPACE, "--values", str(case.file)]
    rendered = helm("template", "dry-run", str(charts / case.chart), *options)
    wanted = [one for one in yaml.safe_load_all(rendered) if one]
    for name in {
        one["spec"]["serviceAccountName"] for one in wanted if one["kind"] == "Pod"
    }:  # a pod needs its account even when it is only tried
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}}
        kubectl("apply", "--filename", "-", stdin=yaml.safe_dump(account))
    refused = [told for one in wanted if (told := _refusal(kubectl, one))] if _refusal(kubectl, *wanted) else []  # all at once is faster
    record(f"manifests taken, {case.name}", len(wanted) - len(refused), "manifests")
    record(f"manifests refused, {case.name}", len(refused), "manifests", "; ".join(refused)[:300])
    assert wanted
    assert refused == []


def test_the_api_server_takes_what_a_fresh_cluster_gets(kubectl: Run) -> None:
    files = sorted(
        path for path in (ROOT / "k8s").rglob("*.yaml") if all(_is_manifest(one) for one in yaml.safe_load_all(path.read_text()) if one)
    )
    assert files
    for file in files:
        kubectl("apply", "--dry-run=server", "--server-side", "--force-conflicts", "--filename", str(file), limit=120.0)


def _refusal(kubectl: Run, *manifests: object) -> str:
    try:
        kubectl("apply", "--dry-run=server", "--namespace", NAMESPACE, "--filename", "-", stdin=yaml.safe_dump_all(manifests), limit=180.0)
    except ClusterError as error:
        return str(error)
    return ""


def _is_manifest(document: object) -> bool:
    return isinstance(document, dict) and "apiVersion" in document and not str(document["apiVersion"]).startswith("kustomize.config.k8s.io")
