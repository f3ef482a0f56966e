"""What `make test COVERAGE=1` does not count: adapters that only a server can run which no Python package holds, and what another environment runs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["report"]["omit"]
WITHOUT_PACKAGE = ("lakefs", "qdrant_server")  # how the names of their adapters begin; NATS, MongoDB's protocol and MLflow are packages
BENTOML = {
    f"src/ragstone/{name}.py" for name in ("cli/serving_bento", "cli/serving_embedding", "services/embedding/bento")
}  # .venv-bento's processes run it


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_only_adapters_of_servers_that_are_no_packages_are_left_out(pattern: str) -> None:
    files = list(ROOT.glob(pattern))
    assert files, "it is the name of nothing"
    if pattern in BENTOML:
        return
    for file in files:
        assert file.parent == ROOT / "src" / "ragstone" / "adapters"
        assert file.name.startswith(WITHOUT_PACKAGE), f"{file.name} can be run without a server, or with one that is a package: it counts"
