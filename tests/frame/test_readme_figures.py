"""The script that writes measured figures into the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import readme_figures


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"before\n{readme_figures.BEGIN}stale\n{readme_figures.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(readme_figures, "ROOT", tmp_path)
    return tmp_path


def test_figures_replace_what_stood_between_the_marks(repository: Path) -> None:
    rows = [
        {"name": "ratio", "value": 0.73951, "unit": "", "op": ">=", "bar": 0.735, "holds": True, "n": 809, "note": "a | b"},
        {"name": "memory", "value": 1284.4, "unit": "MiB", "op": "report", "bar": None, "holds": True, "n": 1, "note": ""},
        {"name": "slow", "value": 4, "unit": "ms", "op": "<=", "bar": 2, "holds": False, "n": 10, "note": ""},
        {"name": "gone", "value": 0, "unit": "", "op": ">=", "bar": 1, "holds": False, "n": 0, "note": "no `qdrant`"},
    ]
    (repository / "bench" / "results" / "core.json").write_text(json.dumps(rows), encoding="utf-8")
    readme_figures.main()
    readme_figures.main()
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert "| ratio | 0.7395 | >= 0.735 | yes | 809 | a \\| b |" in text
    assert "| memory | 1,284 MiB | reported | yes | 1 |  |" in text
    assert "| slow | 4 ms | <= 2 | **no** | 10 |  |" in text
    assert "| gone | skipped | >= 1 |  |  | no `qdrant` |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text


def test_a_readme_without_marks_is_left_alone(repository: Path) -> None:
    (repository / "README.md").write_text("plain", encoding="utf-8")
    with pytest.raises(SystemExit):
        readme_figures.main()
    assert (repository / "README.md").read_text(encoding="utf-8") == "plain"
