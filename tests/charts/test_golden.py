"""Every case's render is the one that is kept: a change of a template shows in the diff of golden/ (`make charts-golden` writes it anew)."""

from __future__ import annotations

import difflib

import pytest

from tests.charts import golden
from tests.charts.helm import Case, Helm

pytestmark = pytest.mark.xdist_group("charts")


@pytest.mark.parametrize("case", golden.cases(), ids=lambda case: case.name)
def test_the_render_is_the_kept_one(helm: Helm, case: Case) -> None:
    path = golden.path_of(case)
    assert path.exists(), f"no kept render of {case.name}: `make charts-golden` writes it"
    kept, now = path.read_text(encoding="utf-8").splitlines(), helm.case(case).text.splitlines()
    difference = "\n".join(difflib.unified_diff(kept, now, "kept", "now", lineterm="", n=2))
    assert not difference, f"{case.name} renders differently; if that is meant, `make charts-golden`:\n{difference}"


def test_nothing_is_kept_that_no_case_renders() -> None:
    assert golden.stale() == []


@pytest.mark.parametrize("case", golden.cases(), ids=lambda case: case.name)
def test_rendering_again_gives_the_same_bytes(helm: Helm, case: Case) -> None:
    assert helm.render(case.chart, case.values).files == helm.case(case).files
