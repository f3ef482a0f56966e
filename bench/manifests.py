"""The charts without a cluster: what a policy scan finds and nobody explains, and network edges that are not the documented ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.rows import Row, row
from tests.charts.edges import DOCUMENT, documented, open_edges
from tests.charts.helm import Helm, profiles
from tests.charts.pods import pods
from tests.charts.policy import exemptions, scan

_NAMESPACES = ("ragstone-gateway", "monitoring", "edge")


async def rows(data: Path) -> list[Row]:
    """Needs the environment of the policy scan (`make env-policy`)."""
    with tempfile.TemporaryDirectory() as rendered, tempfile.TemporaryDirectory() as assembled:
        helm = Helm(Path(assembled))
        findings = scan(helm, Path(rendered))
        explained = exemptions()
        unexplained = [finding for finding in findings if not any(exemption.covers(finding) for exemption in explained)]
        open_, documented_ = 0, 0
        differences = 0
        for case in profiles():
            render = helm.case(case)
            components = {pod.labels["app.kubernetes.io/name"] for pod in pods(render.objects)}
            wanted = {
                edge for one in documented(DOCUMENT.read_text("utf-8")) if {one.source, one.target} & components for edge in one.edges
            }
            found = open_edges(render, _NAMESPACES)
            differences += len(found ^ wanted)
            open_, documented_ = open_ + len(found), documented_ + len(wanted)
    return [
        row("policy scan: findings that nobody explains", len(unexplained), "findings", "==", 0.0, len(findings), f"checkov; {len(explained)} exceptions, each with its reason"),
        row("network edges that differ from the documented ones", differences, "edges", "==", 0.0, documented_, f"{open_} open, {documented_} documented, computed over every profile"),
    ]  # fmt: skip
