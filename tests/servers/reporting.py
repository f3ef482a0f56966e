"""Says at the end of a run which servers were used, at which version, and which tests did not run because a server is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import pytest

MISSING = "missing server"  # begins the reason of a skip
_KEY = "ragstone_servers"
_used: dict[str, str] = {}
_left_out: list[str] = []  # ids of tests that were not selected because of their marker


def used(name: str, version: str, where: str) -> None:
    """A fixture hands this server out."""
    _used[name] = f"{version} ({where})"


def skip_missing(name: str, reason: str) -> NoReturn:
    """Skips a test, with a reason that is counted at the end."""
    pytest.skip(f"{MISSING} {name}: {reason}")


def lines(used: dict[str, str], reasons: Iterable[str], left_out: int) -> list[str]:
    """What is told. `reasons`: of all skipped tests; `left_out`: how many were not selected because they need a server that no package holds."""
    told = [f"used: {name} {version}" for name, version in sorted(used.items())]
    missing = Counter(found[1] for reason in reasons if (found := re.search(rf"{MISSING} (.*)", reason)))
    told += [f"missing: {reason}; {count} test{'s' * (count != 1)} skipped" for reason, count in sorted(missing.items())]
    if left_out:
        told.append(
            f"not selected: {left_out} tests of servers that no Python package holds (lakeFS, Qdrant); `make test-servers` runs them"
        )
    return told


@pytest.hookimpl(trylast=True)
def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remembers the tests that need a server."""
    _left_out.extend(item.nodeid for item in items if item.get_closest_marker("servers"))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells the process that will print."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_KEY] = (_used, _left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hears what a worker told; one that died told nothing."""
    used, left_out = getattr(node, "workeroutput", {}).get(_KEY, ({}, []))
    _used.update(used)
    _left_out[:] = left_out  # every worker collects, and deselects, the same


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last words."""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)]
    if told := lines(_used, reasons, len(_left_out)):
        terminalreporter.section("servers")
        for line in told:
            terminalreporter.write_line(line)
