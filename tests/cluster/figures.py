"""What the cluster tests measure, for `make bench-kubernetes`: one JSON object a line in the file that RAGSTONE_CLUSTER_FIGURES names."""

from __future__ import annotations

import json
import os
from pathlib import Path

Figures = dict[str, tuple[float, str]]  # value and note by name


def record(name: str, value: float, unit: str, note: str = "") -> None:
    """Prints the figure, and keeps it when a file for figures is named."""
    print(f"figure: {name}: {value:.4g} {unit} {note}".rstrip())
    if file := os.environ.get("RAGSTONE_CLUSTER_FIGURES"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(json.dumps({"name": name, "value": value, "unit": unit, "note": note}) + "\n")


def recorded(file: Path) -> Figures:
    """What was recorded; of several figures of one name the largest."""
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    found: Figures = {}
    for line in lines:
        found[line["name"]] = max(found.get(line["name"], (line["value"], line["note"])), (line["value"], line["note"]))
    return found
