"""The kept renders: one file for each case, as Helm printed it."""

from __future__ import annotations

from pathlib import Path

from tests.charts.helm import UMBRELLA, Case, Helm, ci_cases, profiles

DIRECTORY = Path(__file__).parent / "golden"


def cases() -> list[Case]:
    """What users install: the profiles, and the ways to run the orchestrator and the whole. The profiles show the other charts."""
    return [*profiles(), *ci_cases("orchestrator"), *ci_cases(UMBRELLA)]


def path_of(case: Case) -> Path:
    return DIRECTORY / f"{case.name}.yaml"


def stale() -> list[Path]:
    """Kept renders of cases that no longer exist."""
    wanted = {path_of(case) for case in cases()}
    return sorted(path for path in DIRECTORY.glob("*") if path not in wanted)


def write(helm: Helm) -> list[Path]:
    DIRECTORY.mkdir(exist_ok=True)
    for path in stale():
        path.unlink()
    for case in cases():
        path_of(case).write_text(helm.case(case).text, encoding="utf-8")
    return [path_of(case) for case in cases()]
