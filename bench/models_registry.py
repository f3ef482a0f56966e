"""A model version moved by its alias while clients ask: does a request fail, and does each answer name the version that made it.

An MLflow server, the embedding service as a process of its own, which follows the alias of an embedder and of a reranker, and clients that never pause.
The rerankers of two versions have other weights, so that their scores tell which one made an answer, whatever it says. The embedder's versions have the
same weights, since one of another space would be refused; what they name is compared with when the service said that it changed over.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.rows import Row, row, skipped
from ragstone.adapters.mlflow_models import MlflowModelRegistry
from ragstone.adapters.model_content import read_content
from ragstone.adapters.model_presets import DEFAULT
from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_reranker import OnnxReranker
from ragstone.domain.registered_models import ModelContent, ModelKind
from ragstone.ports.model_registry import ModelRegistry
from tests.servers import embedding_service, mlflow
from tests.support.tiny_cross_encoder import make_cross_encoder

MOVES, CLIENTS = 10, 8
POLL = 0.5  # seconds
PATIENCE = 120.0  # seconds for one change, on a busy machine
BETWEEN = 1.0  # seconds of load after each
NAME = "model version moved by alias under load, 10 times: failed requests, and answers that name another version than made them"
QUESTION, TEXTS = "red pump", ["the red pump stops", "oil flows", "cold water", "a blue valve"]


@dataclass
class Seen:
    """What clients met. `only`: the version that a request which begins now has to be answered by, None while an alias moves."""

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    only: str | None = "1"


async def rows(data: Path) -> list[Row]:
    """Needs no data set; pulls the default model where it is missing."""
    for program, why in (
        (embedding_service.PROGRAM, embedding_service.MISSING),
        (mlflow.ENVIRONMENT, "no .venv-mlflow; `make env-mlflow` makes it"),
    ):
        if not program.exists():
            return [skipped(NAME, why, "==", 0)]
    store = ModelStore()
    await asyncio.to_thread(store.pull, DEFAULT)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "mlflow").mkdir()
        with mlflow.serving(home / "mlflow") as (uri, _):
            registry = MlflowModelRegistry(uri)
            try:
                return await _measured(home, uri, registry, store)
            finally:
                await registry.close()


async def _measured(home: Path, uri: str, registry: ModelRegistry, store: ModelStore) -> list[Row]:
    model = await asyncio.to_thread(store.path, DEFAULT)
    embedder = OnnxEmbedder(model, graphs=store.graphs)
    identity = embedder.identity
    await asyncio.to_thread(embedder.close)
    scores: dict[str, float] = {}
    for version in ("1", "2"):
        copy = home / f"copy-{version}" / "minilm"
        await asyncio.to_thread(shutil.copytree, model, copy)
        (copy / "NOTES.md").write_text(f"Version {version}.\n")
        await _registered(registry, "embedder", "minilm", copy, identity=identity)
        judge = make_cross_encoder(home / f"judge-{version}" / "judge", seed=int(version))
        await _registered(registry, "reranker", "judge", judge)
        ranker = OnnxReranker(judge, graphs=home / "graphs", threads=1)
        scores[version] = (await ranker.score(QUESTION, TEXTS))[0]
        await ranker.close()
    variables = {
        "RAGSTONE_MODEL": "models:/minilm@champion",
        "RAGSTONE_MODELS": str(home / "cache"),
        "RAGSTONE_DATA_DIR": str(home / "data"),
        "RAGSTONE_RERANKER": json.dumps({"kind": "onnx", "model": "models:/judge@champion"}),
        "RAGSTONE_TRACKING": json.dumps({"kind": "mlflow", "uri": uri}),
        "RAGSTONE_MODEL_REGISTRY__POLL_SECONDS": str(POLL),
    }
    await _move(registry, 1)
    with embedding_service.serving(home, variables) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=60.0) as client:
            return await _under_load(client, registry, identity.name, scores)


async def _under_load(client: httpx.AsyncClient, registry: ModelRegistry, name: str, scores: Mapping[str, float]) -> list[Row]:
    seen, ended, waits = Seen(), asyncio.Event(), list[float]()

    async def ask(number: int) -> None:
        route = "/v1/embeddings" if number % 2 else "/rerank"
        body = {"model": name, "input": TEXTS} if number % 2 else {"query": QUESTION, "texts": TEXTS, "raw_scores": True}
        while not ended.is_set():
            began, only = time.perf_counter(), seen.only
            try:
                answer = await client.post(route, json=body)
            except httpx.HTTPError as error:
                seen.wrong.append(f"{route}: {error!r}")
                continue
            seen.slowest = max(seen.slowest, time.perf_counter() - began)
            seen.answers += 1
            if (wrong := _wrong(route, answer, scores, only)) is not None:
                seen.wrong.append(wrong)

    clients = [asyncio.create_task(ask(number)) for number in range(CLIENTS)]
    for move in range(MOVES):
        number = 2 - move % 2
        began, seen.only = time.perf_counter(), None
        await _move(registry, number)
        await _changed_over(client, number)
        waits.append(time.perf_counter() - began)
        seen.only = str(number)
        await asyncio.sleep(BETWEEN)
    ended.set()
    await asyncio.gather(*clients)
    note = f"{CLIENTS} clients, embedder and reranker moved together; {max(waits):.1f} s from the move to the change at most (polled every {POLL:g} s); slowest answer {seen.slowest:.2f} s"
    if seen.wrong:
        note += "; " + "; ".join(seen.wrong[:3])
    return [row(NAME, len(seen.wrong), f"of {seen.answers:,}", "==", 0, n=seen.answers, note=note)]


def _wrong(route: str, answer: httpx.Response, scores: Mapping[str, float], only: str | None) -> str | None:
    """What is wrong with an answer: its status, that it names no version, or one that did not or should not have made it."""
    if answer.status_code != httpx.codes.OK:
        return f"{route}: {answer.status_code} {answer.text[:200]}"
    named = answer.headers.get("X-Ragstone-Model-Version", "")
    if named not in scores or only not in (None, named):
        return f"{route}: names the version {named!r}, and {only or 'a registered one'} serves"
    if route == "/rerank":
        score = next(float(each["score"]) for each in answer.json() if each["index"] == 0)
        return (
            None
            if math.isclose(score, scores[named], abs_tol=1e-4)
            else f"{route}: a score of {score}, and version {named} gives {scores[named]}"
        )
    body = answer.json()
    return None if body["ragstone"]["version"] == named and len(body["data"]) == len(TEXTS) else f"{route}: {body['ragstone']}"


async def _registered(registry: ModelRegistry, kind: ModelKind, name: str, folder: Path, **more: object) -> None:
    root, entry, files = await asyncio.to_thread(read_content, folder, kind)
    await registry.register(name, ModelContent(kind, "Apache-2.0", root.name, entry, files, **more), root, "bench")  # type: ignore[arg-type]


async def _move(registry: ModelRegistry, number: int) -> None:
    for name in ("minilm", "judge"):
        await registry.move_alias(name, "champion", number)


async def _changed_over(client: httpx.AsyncClient, number: int) -> None:
    """Until the service says that both models are this version."""
    wanted = [f'ragstone_model_version{{model="models:/{name}@champion"}} {float(number)}' for name in ("minilm", "judge")]
    async with asyncio.timeout(PATIENCE):
        while True:
            shown = (await client.get("/metrics")).text
            if all(line in shown for line in wanted):
                return
            await asyncio.sleep(POLL / 5)
