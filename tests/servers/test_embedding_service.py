"""The embedding service as a process: what is the Bento's own, how it starts, refuses to start, and ends."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers.embedding_service import MISSING, PROGRAM, Service, first_line, serving, start
from tests.servers.reporting import skip_missing
from tests.support.tiny_encoder import make_encoder

pytestmark = [pytest.mark.packaged, pytest.mark.xdist_group("bento")]
TEXTS = ["the red pump stops", "oil " * 100]
_PATIENCE = 120.0  # seconds


@pytest.fixture
def client(embedding_service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=embedding_service.url, timeout=_PATIENCE) as made:
        yield made


def test_the_native_route_gives_vectors_with_the_model_that_made_them(client: httpx.Client, embedding_service: Service) -> None:
    answer = client.post("/embed", json={"texts": TEXTS, "input_type": "query"})
    assert answer.status_code == 200, answer.text
    found, model = answer.json(), embedding_service.facts["model"]
    same = client.post("/v1/embeddings", json={"model": "tiny", "input": TEXTS, "input_type": "query", "encoding_format": "float"}).json()
    assert [pytest.approx(vector, abs=1e-6) for vector in found["vectors"]] == [row["embedding"] for row in same["data"]]
    assert (found["model"]["digest"], found["version"], found["space"]) == (model["digest"], model["version"], model["space"])
    assert (found["input_type"], found["tokens"], found["truncated"]) == ("query", 104, [1])
    assert answer.headers["x-ragstone-space"] == model["space"]
    assert client.post("/embed", json={"texts": TEXTS, "space": model["space"]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"texts": TEXTS, "space": "0123456789abcdef"}, 409, "space"),
        ({"texts": []}, 422, "texts"),
        ({"texts": ["a"] * 10_000}, 413, "texts"),
        ({"texts": ["a", ""]}, 422, "texts"),
        ({"texts": "a"}, 422, "texts"),
        ({"texts": [5]}, 422, "texts.0"),
        ({"texts": ["a" * 8001]}, 413, "texts"),
        ({"texts": ["a" * 2**20]}, 413, "body"),
        ({}, 422, "texts"),
    ],
)
def test_the_native_route_refuses_as_the_others_do(client: httpx.Client, body: dict[str, object], status: int, field: str) -> None:
    answer = client.post("/embed", json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


def test_nothing_else_of_the_bento_is_served_and_no_pickle_is_read(client: httpx.Client) -> None:
    for path in ("/", "/docs.json", "/livez", "/static_content/index.css"):
        assert client.get(path).status_code == 404
    assert client.get("/embed").status_code == 405
    assert client.get("/schema.json").json()["name"] == "ragstone-embedding"
    refused = client.post("/embed", content=b"\x80\x04.", headers={"Content-Type": "application/vnd.bentoml+pickle"})
    assert refused.status_code == 415


def test_the_management_port_has_metrics_with_units(embedding_service: Service, client: httpx.Client) -> None:
    client.post("/embed", json={"texts": TEXTS}).raise_for_status()
    exposed = httpx.get(f"{embedding_service.facts['management']}/metrics", timeout=_PATIENCE).text
    for name in ("ragstone_embedding_batch_texts_bucket", "ragstone_embedding_batch_wait_seconds_sum", "ragstone_embedding_tokens_total"):
        assert name in exposed
    assert "bentoml_" not in exposed


@pytest.fixture
def program() -> None:
    if not PROGRAM.exists():
        skip_missing("BentoML", MISSING)


@pytest.mark.usefixtures("program")
def test_it_does_not_start_with_a_model_that_is_none_and_says_why(tmp_path: Path) -> None:
    """Beside one another, as each start takes long."""
    altered, missing, pickled, provider = (make_encoder(tmp_path / name / "tiny") for name in ("altered", "missing", "pickled", "provider"))
    for folder in (altered, missing):
        (folder / "ragstone-model.json").write_text(json.dumps({"name": "tiny", "files": {"tokenizer.json": "00" * 32}}))
    (missing / "tokenizer.json").unlink()
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    cases = {
        altered: ({}, "is not the file that"),
        missing: ({}, "tokenizer.json"),
        pickled: ({}, "pickled weights"),
        provider: ({"RAGSTONE_EMBEDDER__KIND": "onnx", "RAGSTONE_EMBEDDER__PROVIDER": "CUDAExecutionProvider"}, "embedder.provider"),
    }
    running = {model: start(model.parent, {"RAGSTONE_MODEL": str(model), **variables}) for model, (variables, _) in cases.items()}
    for model, process in running.items():
        with pytest.raises(RuntimeError, match=cases[model][1]):
            first_line(process, model.parent)
        assert process.wait(_PATIENCE) == 1


async def test_a_signal_lets_running_requests_end(tmp_path: Path) -> None:
    model = make_encoder(tmp_path / "tiny")
    with serving(tmp_path, {"RAGSTONE_MODEL": str(model)}) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=_PATIENCE) as client:
            await client.get("/readyz")
            body = {"texts": ["oil " * 15] * 2000}
            asked = [asyncio.ensure_future(client.post("/embed", json=body)) for _ in range(4)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            service.process.send_signal(signal.SIGTERM)
            assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 4
        assert await asyncio.to_thread(service.process.wait, _PATIENCE) == 0
