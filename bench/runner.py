"""Runs groups of one suite of benchmarks, prints every row, and writes them into bench/results/<suite>.json, in place of what they gave before."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.rows import Row

SOURCES = {
    "scifact": "SciFact in BEIR layout (https://github.com/allenai/scifact, https://github.com/beir-cellar/beir)",
    "fastapi-docs": "the docs/en/docs folders of eight FastAPI releases (https://github.com/fastapi/fastapi)",
    "xquad": "xquad.en.json (https://github.com/google-deepmind/xquad)",
}


def data_directory() -> Path:
    """`RAGSTONE_BENCH_DATA`, by default ../shared/data. Exits with a sentence when a set is missing."""
    data = Path(os.environ.get("RAGSTONE_BENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
    for name, source in SOURCES.items():
        if not (data / name).is_dir():
            sys.exit(
                f"The benchmark data set {name!r} is missing: put {source} there and set RAGSTONE_BENCH_DATA to the folder that holds it."
            )
    return data


def run_group(name: str) -> list[Row]:
    """One group in a process of its own, so that none is slowed by what another left in memory."""
    command = [sys.executable, "-m", "bench.runner", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [Row(**fields) for fields in json.loads(done.stdout)]


def show(console: Console, rows: list[Row]) -> None:
    """A table for people."""
    table = Table("what", "value", "unit", "bar", "holds", "n", "note")
    for row in rows:
        bar = "" if row.bar is None else f"{row.op} {row.bar:g}"
        if row.skipped:
            table.add_row(row.name, "", "", bar, "skipped", "", row.note)
        else:
            table.add_row(row.name, f"{row.value:.4g}", row.unit, bar, "yes" if row.holds else "NO", str(row.n), row.note)
    console.print(table)


def keep(suite: str, groups: Sequence[str], group: str, found: list[Row]) -> None:
    """Puts the rows of a group into the suite's results, in the order of `groups`."""
    results = Path(__file__).parent / "results" / f"{suite}.json"
    results.parent.mkdir(exist_ok=True)
    kept = json.loads(results.read_text(encoding="utf-8")) if results.exists() else []
    fresh = [{**asdict(row), "group": group, "day": time.strftime("%Y-%m-%d", time.gmtime())} for row in found]
    others = [row for row in kept if row.get("group") in groups and row["group"] != group]
    rows = sorted([*others, *fresh], key=lambda row: groups.index(row["group"]))
    results.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def run(suite: str, groups: Sequence[str], arguments: Sequence[str]) -> int:
    """Every group, or only those named in `arguments`; the rows of the others stay in the results as they are, with the day of their own run.

    Returns the exit status: 1 when a row falls short of its bar. One that could not be measured is told, and does not count as falling short.
    """
    data_directory()
    console = Console(stderr=True, width=160)
    wanted = tuple(arguments) or tuple(groups)
    if unknown := set(wanted) - set(groups):
        sys.exit(f"There is no group {sorted(unknown)[0]!r}; there are {', '.join(groups)}.")
    rows = []
    for number, group in enumerate(wanted, start=1):
        console.print(f"[{number}/{len(wanted)}] {group} ...", markup=False)
        began = time.monotonic()
        found = run_group(group)
        rows += found
        show(console, found)
        keep(suite, groups, group, found)
        console.print(f"{group} took {time.monotonic() - began:.0f} s", markup=False)
    if len(wanted) > 1:
        show(console, rows)
    for row in rows:
        if row.skipped:
            console.print(f"skipped: {row.name}: {row.note}", markup=False)
    short = [row.name for row in rows if not row.holds and not row.skipped]
    for name in short:
        console.print(f"falls short: {name}", markup=False)
    return 1 if short else 0


if __name__ == "__main__":  # one group, for `run_group`
    measured = asyncio.run(importlib.import_module(f"bench.{sys.argv[1]}").rows(data_directory()))
    print(json.dumps([asdict(row) for row in measured]))
