"""Checkov finds nothing in the charts that is not explained, and every explanation is about something that it finds."""

from __future__ import annotations

import pytest

from tests.charts.helm import Helm
from tests.charts.policy import CHECKOV, Exemption, Finding, exemptions, scan

pytestmark = pytest.mark.xdist_group("policy")


@pytest.fixture(scope="module")
def findings(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    assert CHECKOV.exists(), "Checkov is not there: `make env-policy` installs it"
    return scan(helm, tmp_path_factory.mktemp("manifests"))


def test_every_finding_is_explained(findings: list[Finding]) -> None:
    explained = exemptions()
    assert [str(finding) for finding in findings if not any(each.covers(finding) for each in explained)] == []


def test_every_exception_is_needed(findings: list[Finding]) -> None:
    assert [each for each in exemptions() if not any(each.covers(finding) for finding in findings)] == []


def test_an_exception_says_why_and_names_what_it_is_for() -> None:
    for each in exemptions():
        assert each.check.startswith("CKV")
        assert each.resources not in ("*", "*/*")
        assert len(each.reason.split()) > 8


def test_an_exception_covers_its_check_and_its_resources_only() -> None:
    exemption = Exemption("CKV_1", "Pod/*-test", "")
    covered = [("CKV_1", "Pod/a-test"), ("CKV_2", "Pod/a-test"), ("CKV_1", "Pod/a"), ("CKV_1", "Deployment/a-test")]
    assert [exemption.covers(Finding(check, resource, "case", "")) for check, resource in covered] == [True, False, False, False]
