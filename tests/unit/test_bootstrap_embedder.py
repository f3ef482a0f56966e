"""A whole platform that embeds on a server: documents in, answers out, and what happens when the server is away or serves another model."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.openai_embedder import OpenAIEmbedder
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from tests.api.conftest import BASE, everything
from tests.fakes.platform import fake_platform
from tests.support.chat_server import Call, ChatServer, chat_server
from tests.support.embedding_server import answer, serving
from tests.support.server import running
from tests.support.tiny_encoder import make_encoder

DOCUMENTS = [
    {"path": "pump.txt", "text": "The red pump stops. Hot water flows."},
    {"path": "valve.txt", "text": "A green valve: cold oil flows."},
]
QUESTION = {"collection": "plant", "question": "Which pump stops?"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.adapters.dependency._FIRST_WAIT", 0.001)


class Switched:
    """A server of OpenAI's protocol that can be away, or serve another model. `asked`: the texts of all requests."""

    def __init__(self, folder: Path) -> None:
        self.model = OnnxEmbedder(make_encoder(folder / "tiny"), graphs=folder / "graphs")
        self.other = OnnxEmbedder(make_encoder(folder / "other", seed=2), graphs=folder / "graphs")
        self.serves: OnnxEmbedder | None = self.model
        self.server: ChatServer | None = None

    async def reply(self, call: Call) -> None:
        await (serving(self.serves)(call) if self.serves else answer(call, {}, 503))

    @property
    def asked(self) -> list[str]:
        assert self.server is not None
        return [text for call in self.server.calls for text in call.body["input"]]


@pytest.fixture
async def switched(tmp_path: Path) -> AsyncIterator[Switched]:
    made = Switched(tmp_path)
    async with chat_server(made.reply) as made.server:
        yield made


def settings_for(folder: Path, kind: str, base_url: str, **more: Any) -> Settings:
    embedder = {"kind": kind, "base_url": base_url, "model": "tiny", "tokenizer": str(folder / "tiny"), **more}
    return load_settings(data_dir=folder / "data", models=folder / "models", embedder=embedder)


@asynccontextmanager
async def api_of(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    async with open_platform(settings) as platform:
        transport = httpx.ASGITransport(create_app(platform, settings), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as http:
            yield http, platform


async def ingest(http: httpx.AsyncClient, *documents: dict[str, Any], **options: Any) -> httpx.Response:
    return await http.post("/ingest", json={"collection": "plant", "create": True, "documents": list(documents or DOCUMENTS), **options})


async def test_the_answers_are_those_of_the_same_model_in_this_process(tmp_path: Path) -> None:
    served = OnnxEmbedder(
        make_encoder(tmp_path / "tiny", prompts={"query": "query : ", "passage": "passage : "}), graphs=tmp_path / "graphs"
    )
    async with running(create_app(fake_platform(embedder=served), Settings(data_dir=tmp_path / "server"))) as address:
        remote = settings_for(tmp_path, "ragstone", f"{address}/v1")
        own = load_settings(data_dir=tmp_path / "own", models=tmp_path / "models", model=str(tmp_path / "tiny"))
        answers = []
        for settings in (remote, own):
            async with api_of(settings) as (http, platform):
                assert isinstance(platform.embedder, OpenAIEmbedder) is (settings is remote)
                assert (await ingest(http)).status_code == 200
                found = (await http.post("/query", json=QUESTION)).json()
                collection = (await http.get("/v1/collections/plant")).json()
                metrics = (await http.get("/metrics")).text
                assert (await http.get("/readyz")).status_code == 200
                answers.append(
                    (
                        found["answer"]["text"],
                        [(hit["path"], pytest.approx(hit["score"], abs=1e-5)) for hit in found["passages"]],
                        collection["spaces"],
                        found["release"]["id"],
                    )
                )
        assert answers[0] == answers[1]
        assert 'ragstone_dependency_call_duration_seconds_count{dependency="embedding",outcome="answered"}' in metrics
        async with api_of(load_settings(data_dir=tmp_path / "data", models=tmp_path / "models", model=str(tmp_path / "tiny"))) as (http, _):
            again = (await http.post("/query", json=QUESTION)).json()  # the same space, whoever embeds
        assert again["answer"]["text"] == answers[0][0]


async def test_sentences_go_to_the_server_once(tmp_path: Path, switched: Switched) -> None:
    assert switched.server is not None
    async with api_of(settings_for(tmp_path, "openai", switched.server.base_url, revision="1")) as (http, _):
        await ingest(http)
        assert (await http.post("/query", json=QUESTION)).status_code == 200
        before = len(switched.asked)
        assert any("red pump stops" in text for text in switched.asked)
        assert (await http.post("/query", json=QUESTION)).status_code == 200
        assert len(switched.asked) == before


async def test_while_the_server_is_away_nothing_is_stored_and_afterwards_all_of_it(tmp_path: Path, switched: Switched) -> None:
    assert switched.server is not None
    async with api_of(settings_for(tmp_path, "openai", switched.server.base_url, revision="1")) as (http, platform):
        await ingest(http, DOCUMENTS[0])
        switched.serves = None
        refused = await http.post("/query", json={**QUESTION, "question": "Where does oil flow?"})
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["field"]) == (503, "embedding")
        before = await platform.adapters.catalog.head("plant")
        accepted = await ingest(http, DOCUMENTS[1], wait=False)
        assert accepted.status_code == 202
        assert await platform.adapters.catalog.head("plant") == before
        switched.serves = switched.model
        async with asyncio.timeout(60):
            while (await http.get(accepted.headers["location"])).json()["job"]["state"] != "published":  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.1)
        assert (await http.post("/query", json={**QUESTION, "question": "Where does oil flow?"})).status_code == 200


async def test_another_model_on_the_server_answers_nothing_and_stores_nothing(tmp_path: Path, switched: Switched) -> None:
    assert switched.server is not None
    settings = settings_for(tmp_path, "openai", switched.server.base_url, revision="1")
    async with api_of(settings) as (http, platform):
        await ingest(http, DOCUMENTS[0])
        switched.serves = switched.other
        refused = await http.post("/query", json={**QUESTION, "question": "Where does oil flow?"})
        assert refused.status_code == 503
        assert "gives other vectors than tiny did" in refused.json()["detail"]
        ready = await http.get("/readyz")
        assert (ready.status_code, "other vectors" in ready.json()["detail"]) == (503, True)
        before = await platform.adapters.catalog.head("plant")
        assert (await ingest(http, DOCUMENTS[1], wait=False)).status_code == 202
        await asyncio.sleep(0.3)
        assert await platform.adapters.catalog.head("plant") == before
    with pytest.raises(InvalidInput, match="revision '1'"):
        async with open_platform(settings):
            pass
    renewed = settings_for(tmp_path, "openai", switched.server.base_url, revision="2")
    async with api_of(renewed) as (http, platform):  # said to be another model: what the old one embedded is not compared with it
        state = await everything(platform)
        refused = await http.post("/query", json=QUESTION)
        assert (refused.status_code, "This collection was embedded with tiny" in refused.json()["detail"]) == (503, True)
        assert (await everything(platform))[0] == state[0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"base_url": "http://127.0.0.1:1/v1"}, Unavailable, "cannot be reached"),
        ({"base_url": "ftp://x"}, InvalidInput, "embedder.base_url"),
        ({"tokenizer": "nothing-of-this-name"}, NotFound, "there is no model|There is no"),
        ({"api_key_file": "absent"}, InvalidInput, "embedder.api_key_file"),
        ({"window": 8, "query_prefix": "oil " * 9}, InvalidInput, "leaves none"),
    ],
)
async def test_a_start_without_its_model_is_refused_before_the_platform_is_open(
    more: dict[str, Any], error: type[Exception], words: str, tmp_path: Path, switched: Switched
) -> None:
    assert switched.server is not None
    settings = settings_for(tmp_path, "openai", **{"base_url": switched.server.base_url, "revision": "1", **more})
    with pytest.raises(error, match=words):
        async with open_platform(settings):
            pass


async def test_a_tokenizer_that_does_not_tell_the_window_needs_the_setting(tmp_path: Path, switched: Switched) -> None:
    assert switched.server is not None
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "tokenizer.json").write_bytes((tmp_path / "tiny" / "tokenizer.json").read_bytes())
    more: dict[str, Any] = {"revision": "1", "tokenizer": str(tmp_path / "alone")}
    with pytest.raises(InvalidInput, match=r"embedder\.window"):
        async with open_platform(settings_for(tmp_path, "openai", switched.server.base_url, **more)):
            pass
    async with open_platform(settings_for(tmp_path, "openai", switched.server.base_url, window=18, pooling="cls", **more)) as platform:
        assert (platform.embedder.identity.window, platform.embedder.identity.pooling) == (18, "cls")


async def test_a_process_that_embeds_on_a_server_loads_no_onnx_runtime(tmp_path: Path, switched: Switched) -> None:
    assert switched.server is not None
    program = """
import asyncio, json, sys
from ragstone.bootstrap.platform import open_platform
from ragstone.settings.load import load_settings

async def main():
    settings = load_settings(**json.loads(sys.argv[1]))
    async with open_platform(settings) as platform:
        await platform.embedder.embed_queries(["oil"])
    print(json.dumps([name for name in ("onnxruntime", "onnx", "safetensors") if name in sys.modules]))

asyncio.run(main())
"""
    settings = {
        "data_dir": str(tmp_path / "data"),
        "models": str(tmp_path / "models"),
        "embedder": {
            "kind": "openai",
            "base_url": switched.server.base_url,
            "model": "tiny",
            "revision": "1",
            "tokenizer": str(tmp_path / "tiny"),
        },
    }
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, json.dumps(settings)]
    ran = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == []
