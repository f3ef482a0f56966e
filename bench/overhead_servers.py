"""The two servers of bench/overhead.py: ours over stub engines, and a bare FastAPI route that gives the same body.

`python -m bench.overhead_servers ours|bare DIRECTORY` prints its port and serves until it is ended. `bare` reads the body that `ours` left.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI

from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.cli.serving import listen
from ragstone.domain.answers import Usage
from ragstone.domain.generation import GeneratedText, GenerationEvent, GenerationFinished, GenerationRequest, GeneratorIdentity
from ragstone.domain.retrieval import Candidate, Vectors
from ragstone.domain.spaces import ModelIdentity
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.services.orchestrator.app import create_app
from ragstone.services.orchestrator.memory import settle
from ragstone.services.orchestrator.schemas.requests import QueryBody
from ragstone.services.orchestrator.schemas.responses import QueryResponse
from ragstone.settings.model import Settings
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, assemble
from ragstone.use_cases.prompts import Prompts
from tests.fakes.dead_letters import InMemoryDeadLetters
from tests.fakes.document_acls import InMemoryAcls
from tests.fakes.document_parser import ParagraphParser
from tests.fakes.job_queue import InMemoryJobQueue
from tests.fakes.staging import InMemoryStaging
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.fakes.version_store import InMemoryVersionStore

DIMENSION = 384
QUESTION = {"collection": "handbook", "question": "How is a fire in the engine room fought?"}


class StubEmbedder:
    """One vector for everything, at once."""

    identity = ModelIdentity("stub", "1", "0" * 64, DIMENSION, "mean", 256)
    special_tokens = 2

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.full((len(texts), DIMENSION), DIMENSION**-0.5, np.float32)

    embed_queries = embed_passages

    async def check(self) -> None:
        pass

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [text.count(" ") + 1 for text in texts]


class StubIndex(InMemoryVectorIndex):
    """The first search is a real one; afterwards its result is given again, at once."""

    _found: list[Candidate] | None = None

    async def search(self, index: str, seq: int, gaps: Collection[int], **question: Any) -> list[Candidate]:
        if self._found is None:
            self._found = await super().search(index, seq, gaps, **question)
        return self._found


class StubGenerator:
    """One cited sentence, at once."""

    identity = GeneratorIdentity("stub", "stub", "1")
    context_window = 8192
    reads_prompt = False  # as the default one

    def count_tokens(self, text: str) -> int:
        return text.count(" ") + 1

    async def check(self) -> None:
        """Always there."""

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        yield GeneratedText(request.passages[0].chunk.text.partition(".")[0] + ". [1]")
        yield GenerationFinished(Usage(100, 20))


def _uploads() -> tuple[Upload, ...]:
    """The demo's handbook in both versions: real text, and about as many chunks as a search takes candidates."""
    handbook = Path(__file__).parents[1] / "examples" / "handbook"
    files = sorted(file for file in handbook.glob("v*/**/*") if file.suffix in (".md", ".txt"))
    return tuple(Upload(file.relative_to(handbook).as_posix(), file.read_bytes(), "text/plain") for file in files)


async def _ours(directory: Path) -> None:
    embedder = EmbeddingCache(StubEmbedder())  # as bootstrap does
    adapters = Adapters(
        catalog=SqliteCatalog(directory / "ragstone.db"),
        versions=InMemoryVersionStore(),
        index=StubIndex(),
        staging=InMemoryStaging(),
        queue=InMemoryJobQueue(),
        parser=ParagraphParser(),
        embedder=StubEmbedder(),
        interactions=SqliteInteractionLog(directory / "ragstone.db"),
        dead_letters=InMemoryDeadLetters(),
        acls=InMemoryAcls(),
    )
    platform = assemble(adapters, Answering(embedder, StubGenerator(), Prompts(), Calibrations()), Limits(), "bench")
    await platform.start()
    await platform.collections.create("handbook")
    job = await platform.ingest.submit("handbook", IngestRequest(_uploads()))
    await platform.ingest.wait(job.id, 60)
    await _serve(create_app(platform, Settings(data_dir=directory)))
    await platform.close()


async def _bare(directory: Path) -> None:
    answer = json.loads((directory / "answer.json").read_bytes())
    app = FastAPI()

    @app.post("/query", response_model=QueryResponse, response_model_exclude_unset=True)
    async def query(body: QueryBody) -> Any:
        return answer

    await _serve(app)


async def _serve(app: FastAPI) -> None:
    """As `ragstone up` does with nothing but its locked dependencies; but a connection may rest while the other server has its turn."""
    settle()
    listening = listen("127.0.0.1", 0)
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=60)
    await uvicorn.Server(config).serve([listening])


if __name__ == "__main__":
    asyncio.run({"ours": _ours, "bare": _bare}[sys.argv[1]](Path(sys.argv[2])))
