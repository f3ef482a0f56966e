"""Checkov's findings on the rendered charts, and the exceptions that are explained in policy-exceptions.yaml.

Checkov pins old versions of what ragstone itself uses, so it has an environment of its own (`make env-policy`).
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tests.charts.golden import cases
from tests.charts.helm import ROOT, Helm

CHECKOV = ROOT / ".venv-policy" / "bin" / "checkov"
EXCEPTIONS = Path(__file__).parent / "policy-exceptions.yaml"
LIMIT_S = 300


@dataclass(frozen=True, order=True)
class Finding:
    """A check that a resource ("Deployment/ragstone-orchestrator", of a case) does not meet."""

    check: str
    resource: str
    case: str
    says: str

    def __str__(self) -> str:
        return f"{self.check} {self.resource} ({self.case}): {self.says}"


@dataclass(frozen=True)
class Exemption:
    """A check that certain resources (a pattern with * for their kind and name) need not meet, and why."""

    check: str
    resources: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        return finding.check == self.check and fnmatchcase(finding.resource, self.resources)


def exemptions() -> list[Exemption]:
    return [Exemption(**each) for each in yaml.safe_load(EXCEPTIONS.read_text(encoding="utf-8"))]


def scan(helm: Helm, directory: Path) -> list[Finding]:
    """All that Checkov finds in every kept render, each in a namespace of its own, so that policies of one are not taken for another's.

    Raises RuntimeError when Checkov does not run, or has not seen every manifest.
    """
    manifests, home, seen = directory / "manifests", directory / "home", 0
    manifests.mkdir()
    home.mkdir()
    for case in cases():
        namespace = case.name
        rendered = helm.render(case.chart, case.values, namespace=namespace)
        seen += len(rendered.objects)
        (manifests / f"{namespace}.yaml").write_text(rendered.text, encoding="utf-8")
    command = [
        str(CHECKOV),
        "--framework=kubernetes",
        f"--directory={manifests}",
        "--output=json",
        "--quiet",
        "--compact",
        "--skip-download",
    ]
    # Nothing of the user's (configuration, keys), nothing left in their home, and no question to the network whether there is a newer one.
    alone = {"HOME": str(home), "PATH": os.environ["PATH"], "CKV_SKIP_PACKAGE_UPDATE_CHECK": "TRUE"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=home, env=alone)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"checkov ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    if report["summary"]["parsing_errors"] or report["summary"]["resource_count"] < seen:
        raise RuntimeError(f"checkov has seen {report['summary']} of {seen} manifests")
    return sorted(_finding(failed) for failed in report["results"]["failed_checks"])


def _finding(failed: dict[str, Any]) -> Finding:
    kind, namespace, name = failed["resource"].split(".")[:3]
    return Finding(failed["check_id"], f"{kind}/{name}", namespace, failed["check_name"])
