"""vLLM on this machine's CPU, behind the service, with a small model: `make test-vllm`."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers.generation_service import Service, serving
from tests.servers.reporting import skip_missing

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-vllm"
PYTHON = VENV / "bin" / "python"
_PATIENCE = 900.0  # seconds for a start: a minute where nothing else runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them need an environment of gigabytes: only where they are asked for."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that has vLLM."""
    if not (VENV / "vllm-environment").exists():
        skip_missing("vLLM", "no .venv-vllm; `make test-vllm` makes it")
    return PYTHON


@pytest.fixture(scope="session")
def model(python: Path) -> Path:
    """SmolLM2-135M-Instruct as safetensors, made once from the GGUF file of a package."""
    made = VENV / "smollm2"
    if not (made / "model.safetensors").exists():
        subprocess.run([python, "-m", "tests.vllm.convert", made], cwd=ROOT, check=True, timeout=_PATIENCE)
    return made


@pytest.fixture(scope="session")
def service(python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service whose engine is up, and the address of its management port."""
    engine = {
        "kind": "vllm",
        "python": str(python),
        "dtype": "float32",  # bfloat16 is five times slower on this processor
        "prefix_caching": True,
        "arguments": {"enforce-eager": True},
    }
    variables = {
        "MODEL": str(model),
        "NAME": "smollm2",
        "CONTEXT_WINDOW": "1024",
        "RUNNING": "2",
        "WAITING": "2",
        "ENGINE": json.dumps(engine),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
        with serving(tmp_path_factory.mktemp("vllm"), variables, "--management-port", "0") as service:
            management = str(service.facts["management"])
            wait_until_ready(management)
            yield service, management


def wait_until_ready(management: str) -> None:
    """Until the engine answers."""
    until = time.monotonic() + _PATIENCE
    while httpx.get(f"{management}/readyz", timeout=30.0).status_code != 200:
        assert time.monotonic() < until, "vLLM did not come up; its words are in service.log"
        time.sleep(1.0)
