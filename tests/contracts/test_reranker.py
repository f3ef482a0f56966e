"""The contract of `Reranker`, over the cross-encoder in this process, the three HTTP dialects around it, and the fake."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from ragstone.adapters.http_reranker import Dialect, HttpReranker
from ragstone.adapters.onnx_reranker import OnnxReranker
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.ports.reranker import Reranker
from tests.fakes.reranker import WordOverlapReranker
from tests.servers.embedding_service import Service
from tests.support.rerank_server import DIALECTS, rerank_server
from tests.support.tiny_cross_encoder import Family, make_cross_encoder

QUESTION = "the red pump stops"
TEXTS = ["the red pump stops", "oil flows", "the hot water flows , the cold water stops .", "a valve", "the red pump stops", "engine"]
MANY = [" ".join(["oil"] * (1 + number % 11)) for number in range(70)]  # more than TEI takes at once
Make = Callable[[Path], AbstractAsyncContextManager[Reranker]]


@asynccontextmanager
async def _onnx(folder: Path, family: Family, threads: int | None = None) -> AsyncIterator[Reranker]:
    yield OnnxReranker(make_cross_encoder(folder / "tiny", family=family), graphs=folder / "graphs", threads=threads)


@asynccontextmanager
async def _http(folder: Path, dialect: Dialect) -> AsyncIterator[Reranker]:
    async with _onnx(folder, "bert") as behind, rerank_server(behind) as server:
        reranker = HttpReranker(server.base_url + DIALECTS[dialect], "tiny", dialect=dialect)
        yield reranker
        await reranker.close()


@asynccontextmanager
async def _fake(folder: Path) -> AsyncIterator[Reranker]:
    yield WordOverlapReranker()


@asynccontextmanager
async def _onnx_closed(folder: Path) -> AsyncIterator[Reranker]:
    async with _onnx(folder, "bert") as reranker:
        await reranker.close()
        yield reranker


@asynccontextmanager
async def _http_gone(folder: Path, dialect: Dialect) -> AsyncIterator[Reranker]:
    async with rerank_server(WordOverlapReranker()) as server:
        pass
    yield HttpReranker(server.base_url + DIALECTS[dialect], "tiny", dialect=dialect)


@asynccontextmanager
async def _fake_down(folder: Path) -> AsyncIterator[Reranker]:
    yield WordOverlapReranker(error=Unavailable("no GPU."))


DIALECT_NAMES: tuple[Dialect, ...] = ("tei", "cohere", "jina")
ADAPTERS: dict[str, Make] = {
    "onnx-bert": partial(_onnx, family="bert"),
    "onnx-roberta": partial(_onnx, family="roberta", threads=3),
    "fake": _fake,
    **{f"http-{dialect}": partial(_http, dialect=dialect) for dialect in DIALECT_NAMES},
}
DOWN: dict[str, Make] = {
    "onnx": _onnx_closed,
    "fake": _fake_down,
    **{f"http-{dialect}": partial(_http_gone, dialect=dialect) for dialect in DIALECT_NAMES},
}


BENTO = [pytest.param(f"bento-{dialect}", marks=[pytest.mark.packaged, pytest.mark.xdist_group("bento")]) for dialect in DIALECT_NAMES]


@asynccontextmanager
async def _over_bento(service: Service, dialect: Dialect) -> AsyncIterator[Reranker]:
    """On the embedding service, a process of its own."""
    reranker = HttpReranker(service.url + DIALECTS[dialect], "cross", dialect=dialect)
    yield reranker
    await reranker.close()


@pytest.fixture(params=[*ADAPTERS, *BENTO])
async def reranker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reranker]:
    if request.param.startswith("bento-"):
        async with _over_bento(request.getfixturevalue("embedding_service"), request.param.removeprefix("bento-")) as made:
            yield made
        return
    async with ADAPTERS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(params=DOWN)
async def down(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reranker]:
    """One that does not answer."""
    async with DOWN[request.param](tmp_path) as made:
        yield made


def close_to(scores: list[float]) -> object:
    return pytest.approx(scores, rel=1e-4, abs=1e-4)


async def test_scores_are_finite_floats_in_the_order_of_the_texts(reranker: Reranker) -> None:
    scores = await reranker.score(QUESTION, TEXTS)
    assert len(scores) == len(TEXTS)
    assert all(type(score) is float and math.isfinite(score) for score in scores)
    assert await reranker.score(QUESTION, TEXTS[::-1]) == close_to(scores[::-1])
    assert len({round(score, 3) for score in scores}) > 3


async def test_no_texts_give_no_scores(reranker: Reranker) -> None:
    assert await reranker.score(QUESTION, []) == []


async def test_a_score_does_not_depend_on_the_other_texts(reranker: Reranker) -> None:
    together = await reranker.score(QUESTION, [*MANY, *TEXTS])
    assert len(together) == len(MANY) + len(TEXTS)
    for text, score in zip(TEXTS, together[len(MANY) :], strict=True):
        assert await reranker.score(QUESTION, [text]) == close_to([score])
    assert together[len(MANY)] == pytest.approx(together[len(MANY) + 4], rel=1e-4, abs=1e-4)  # the same text twice


async def test_the_question_counts(reranker: Reranker) -> None:
    assert await reranker.score("oil flows", TEXTS) != close_to(await reranker.score(QUESTION, TEXTS))


async def test_long_and_empty_texts_have_scores(reranker: Reranker) -> None:
    scores = await reranker.score("red pump " * 1000, ["oil " * 5000, "", "\n", "oil"])
    assert len(scores) == 4
    assert all(map(math.isfinite, scores))


async def test_calls_at_once_do_not_mix(reranker: Reranker) -> None:
    alone = {question: await reranker.score(question, TEXTS) for question in (QUESTION, "oil flows")}
    asked = [QUESTION, "oil flows"] * 6
    for question, scores in zip(asked, await asyncio.gather(*(reranker.score(one, TEXTS) for one in asked)), strict=True):
        assert scores == close_to(alone[question])


async def test_a_cancelled_call_leaves_it_usable(reranker: Reranker) -> None:
    expected = await reranker.score(QUESTION, TEXTS)
    task = asyncio.ensure_future(reranker.score(QUESTION, MANY * 5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await reranker.score(QUESTION, TEXTS) == close_to(expected)


@pytest.mark.parametrize(("question", "text"), [("red \ud800", "oil"), ("red", "\ud800")])
async def test_half_of_a_surrogate_pair_is_refused(reranker: Reranker, question: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        await reranker.score(question, [text])


async def test_one_that_is_there_says_so_until_it_is_closed(reranker: Reranker) -> None:
    await reranker.check()
    await reranker.close()
    with pytest.raises(Unavailable):
        await reranker.check()
    with pytest.raises(Unavailable):
        await reranker.score(QUESTION, TEXTS)
    await reranker.close()


async def test_one_that_does_not_answer_is_unavailable(down: Reranker) -> None:
    with pytest.raises(Unavailable):
        await down.score(QUESTION, TEXTS)
    with pytest.raises(Unavailable):
        await down.check()


async def test_the_identity_is_stable_and_names_the_model(reranker: Reranker) -> None:
    assert reranker.identity == reranker.identity
    assert reranker.identity.kind
    assert reranker.identity.name
