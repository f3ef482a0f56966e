"""The core's behaviour suite over embedded and over networked adapters, in one run of pytest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from bench.rows import Row, row, skipped

_NAME = "behaviour suite: tests that fail, over embedded and networked adapters"
_ROOT = Path(__file__).resolve().parents[1]


async def rows(data: Path) -> list[Row]:
    """Failures and passes. Where a server is missing half of the claim is not tried, so the row is skipped."""
    return await asyncio.to_thread(_rows)


def _rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "-m",
            "",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            "tests/behaviour",
        ]
        done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if not report.exists():
            raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}")
        suite = ElementTree.parse(report).getroot().find("testsuite")
    if suite is None:
        raise RuntimeError("pytest wrote no test suite into its report")
    total, left_out = int(suite.attrib["tests"]), suite.findall("testcase/skipped")
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    if failed:
        print(done.stdout[-8000:], file=sys.stderr)
    if left_out and not failed:
        return [skipped(_NAME, f"{left_out[0].attrib['message']}; the other {total - len(left_out)} tests pass", "==", 0)]
    worlds = sorted({case.attrib["name"].partition("[")[2].rstrip("]") for case in suite.findall("testcase")})
    return [row(_NAME, failed, "tests", "==", 0, total, note=f"over {', '.join(worlds)}; {len(left_out)} left out")]
