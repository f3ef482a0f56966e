"""What the scenarios share: charts as they would be packaged, releases to install, refusals, waits and measurements."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.charts.helm import all_charts, metadata
from tests.cluster.bed import Bed
from tests.cluster.images.names import NEXT_VERSION
from tests.cluster.installing import GATEWAY, KEYS_SECRET, ROOT, Release
from tests.cluster.shell import ClusterError
from tests.cluster.waits import wait_for

_HOST = "ragstone.test"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with the data sets (`RAGSTONE_BENCH_DATA`)."""
    found = Path(os.environ.get("RAGSTONE_BENCH_DATA", ROOT.parent / "shared" / "data"))
    if not (found / "fastapi-docs").is_dir():
        pytest.skip("the fastapi-docs data set is not here: RAGSTONE_BENCH_DATA names the folder that holds it")
    return found


@pytest.fixture(scope="session")
def charts(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """charts/ with each chart's dependencies beside it, as `helm dependency build` puts them."""
    folder = tmp_path_factory.mktemp("charts") / "charts"
    shutil.copytree(ROOT / "charts", folder, ignore=shutil.ignore_patterns("*.tgz"))
    for chart in all_charts():
        if metadata(chart).get("dependencies"):
            bed.helm("dependency", "build", folder / chart)
    return folder


@pytest.fixture(scope="session")
def new_release(bed: Bed, charts: Path, model_index: dict[str, str]) -> Callable[[str, str], Release]:
    """A release by name and namespace; nothing is installed yet."""

    def made(name: str, namespace: str) -> Release:
        host = f"{namespace}.{_HOST}"
        egress = [{"to": [{"ipBlock": {"cidr": f"{bed.index_address}/32"}}]}] if bed.index_address else []
        orchestrator = {
            "apiKeys": {"existingSecret": KEYS_SECRET},
            "httpRoute": {"enabled": True, "parentRefs": [GATEWAY], "hostnames": [host]},
            "extraEnv": [{"name": variable, "value": value} for variable, value in model_index.items()],
            "networkPolicy": {"extraEgress": egress},
        }
        overlay = {"orchestrator": orchestrator}
        return Release(name, namespace, host, bed.gateway_url, charts, bed.kubectl, bed.helm, bed.kubectl.command(), overlay, NEXT_VERSION)

    return made


@pytest.fixture(scope="session")
def refusal(bed: Bed) -> Callable[..., str]:
    """What kubectl says when it refuses; a command that is taken fails the test."""

    def refused(*words: str, stdin: str | None = None) -> str:
        with pytest.raises(ClusterError) as caught:
            bed.kubectl(*words, stdin=stdin)
        return str(caught.value)

    return refused


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """The first true result of a probe, within a limit in seconds."""

    def found(probe: Callable[[], Any], description: str, limit: float) -> Any:
        seen: list[Any] = []

        def look() -> bool:
            seen[:] = [probe()]
            return bool(seen[0])

        wait_for(description, look, limit, why=lambda: [f"the last look gave {seen}"], pause=1.0)
        return seen[0]

    return found


@pytest.fixture(scope="session")
def working_set(bed: Bed) -> Callable[[str, str], int]:
    """Bytes that a pod holds by the kubelet's own count, which evictions and `kubectl top` go by; 0 while it has none."""

    def measured(namespace: str, pod: str) -> int:
        [node] = bed.kubectl.json("get", "nodes")["items"]
        summary = json.loads(bed.kubectl("get", f"--raw=/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"))
        found = [one for one in summary["pods"] if one["podRef"]["namespace"] == namespace and one["podRef"]["name"] == pod]
        return int(found[0].get("memory", {}).get("workingSetBytes", 0)) if found else 0

    return measured
