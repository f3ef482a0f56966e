"""Writes the measured figures of bench/results/*.json into the README, between its two marks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures:begin -->\n", "<!-- figures:end -->"


def figure(value: float) -> str:
    """Four significant digits, no exponent: 1284.4 -> 1,284; 0.73951 -> 0.7395."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of one result file (a list of name, value, unit, op, bar, holds, n, note)."""
    lines = ["| what | measured | bar | holds | n | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        bar = "reported" if row["bar"] is None else f"{row['op']} {figure(row['bar'])}"
        holds = "yes" if row["holds"] else "**no**"
        cells = (row["name"], f"{figure(row['value'])} {row['unit']}".strip(), bar, holds, f"{row['n']:,}", row["note"])
        if row["n"] == 0:  # could not be measured; the note says why
            cells = (row["name"], "skipped", bar, "", "", row["note"])
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def figures(results: Path) -> str:
    """The text between the marks: one table a result file."""
    files = sorted(results.glob("*.json"))
    parts = [f"`make bench-{file.stem}`:\n\n{table(json.loads(file.read_text(encoding='utf-8')))}\n" for file in files]
    return "\n".join(parts) or "Not measured yet.\n"


def main() -> None:
    """Rewrites README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"README.md lacks the marks {BEGIN.strip()} and {END}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + BEGIN + figures(ROOT / "bench" / "results") + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
