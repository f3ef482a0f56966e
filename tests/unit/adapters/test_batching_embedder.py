"""Calls that share micro-batches: how they are made, what bounds them, and that one caller's trouble is not another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from ragstone.adapters.batching_embedder import BatchFacts, BatchingEmbedder
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import Busy, InternalError, Unavailable
from tests.support.counting_encoder import PATIENCE, CountingEncoder


@pytest.fixture
async def encoder() -> AsyncIterator[CountingEncoder]:
    made = CountingEncoder()
    yield made
    made.go()


def over(encoder: CountingEncoder, threads: int = 1, queue_texts: int = 100) -> BatchingEmbedder:
    return BatchingEmbedder(encoder, threads=threads, batch_tokens=12, batch_texts=4, queue_texts=queue_texts)


def words(count: int, first: int) -> str:
    return " ".join(str(first + number) for number in range(count))


async def began(encoder: CountingEncoder) -> None:
    """Until one more batch is with the model."""
    assert await asyncio.to_thread(encoder.began.acquire, timeout=PATIENCE)


async def entered(embedder: BatchingEmbedder, texts: int) -> None:
    """Until so many texts wait in line."""
    async with asyncio.timeout(PATIENCE):
        while sum(len(call.pending) for line in embedder._lines for call in line) != texts:  # noqa: ASYNC110 - a thread works on them
            await asyncio.sleep(0.001)


async def blocked(encoder: CountingEncoder, embedder: BatchingEmbedder) -> asyncio.Task[object]:
    """The only thread is busy with one text, until `go`."""
    encoder.hold()
    task: asyncio.Task[object] = asyncio.ensure_future(embedder.embed_passages(["1"]))
    await began(encoder)
    return task


async def test_texts_of_several_callers_share_a_batch_of_their_length(encoder: CountingEncoder) -> None:
    embedder = over(encoder)
    first = await blocked(encoder, embedder)
    texts = {"a": [words(3, 10), words(6, 20)], "b": [words(6, 30), words(1, 40)], "c": [words(3, 50), words(3, 60)]}
    calls = []
    for number, name in enumerate("abc", start=1):
        calls.append(asyncio.ensure_future(embedder.embed_passages(texts[name])))
        await entered(embedder, 2 * number)
    encoder.go()
    found = await asyncio.gather(*calls)
    await first
    for name, vectors in zip("abc", found, strict=True):
        expected = [(sum(map(int, text.split())), len(text.split()), int(text.split()[0])) for text in texts[name]]
        np.testing.assert_array_equal(vectors, np.array(expected, np.float32))
    lengths = [[len(row) for row in batch] for batch in encoder.batches[1:]]
    assert lengths == [[6, 6], [3, 3, 3, 1]]  # at most 12 tokens, padding included
    await asyncio.to_thread(embedder.close)


@pytest.mark.parametrize("count", [1, 4, 5, 90])
async def test_texts_of_one_length_each_have_their_own_vector(encoder: CountingEncoder, count: int) -> None:
    embedder = over(encoder, threads=2)
    vectors = await embedder.embed_passages([words(2, number) for number in range(count)])
    np.testing.assert_array_equal(vectors[:, 2], np.arange(count))
    assert all(len(batch) <= 4 for batch in encoder.batches)
    await asyncio.to_thread(embedder.close)


async def test_texts_of_one_length_of_several_callers_each_have_their_own_vector(encoder: CountingEncoder) -> None:
    embedder = over(encoder)
    first = await blocked(encoder, embedder)
    calls = []
    for number in range(1, 6):
        texts = [words(2, 10 * number + row) for row in range(3)]
        calls.append(asyncio.ensure_future(embedder.embed_passages(texts)))
        await entered(embedder, 3 * number)
    encoder.go()
    for number, vectors in enumerate(await asyncio.gather(*calls), start=1):
        assert vectors[:, 2].tolist() == [10 * number + row for row in range(3)]
    await first
    assert [len(batch) for batch in encoder.batches[1:]] == [4, 4, 4, 3]
    await asyncio.to_thread(embedder.close)


async def test_a_text_beyond_a_batchs_tokens_goes_alone(encoder: CountingEncoder) -> None:
    embedder = over(encoder)
    await embedder.embed_passages([words(40, 1), words(2, 1)])
    assert [len(batch) for batch in encoder.batches] == [1, 1]
    await asyncio.to_thread(embedder.close)


async def test_more_than_may_wait_is_refused_with_a_time_and_one_alone_never(encoder: CountingEncoder) -> None:
    embedder = over(encoder, queue_texts=5)
    first = await blocked(encoder, embedder)
    waiting = asyncio.ensure_future(embedder.embed_passages(["2"] * 4))
    await entered(embedder, 4)
    with pytest.raises(Busy) as refused:
        await embedder.embed_queries(["3"])
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1
    encoder.go()
    await asyncio.gather(first, waiting)
    assert embedder.inside == 0
    assert (await embedder.embed_passages(["4"] * 9)).shape == (9, 3)
    await asyncio.to_thread(embedder.close)


async def test_a_caller_that_goes_away_frees_its_places_and_is_not_worked_for(encoder: CountingEncoder) -> None:
    embedder = over(encoder, queue_texts=5)
    first = await blocked(encoder, embedder)
    gone = asyncio.ensure_future(embedder.embed_passages([words(2, 70)] * 4))
    await entered(embedder, 4)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert embedder.inside == 1
    after = asyncio.ensure_future(embedder.embed_passages([words(3, 80)] * 4))
    await entered(embedder, 4)
    encoder.go()
    await asyncio.gather(first, after)
    assert [row[0] for batch in encoder.batches for row in batch] == [1, 80, 80, 80, 80]
    await asyncio.to_thread(embedder.close)


async def test_a_deadline_that_passes_is_told_and_frees_the_places(encoder: CountingEncoder) -> None:
    embedder = over(encoder)
    first = await blocked(encoder, embedder)
    with deadline(0.05), pytest.raises(Unavailable, match="in time"):
        await embedder.embed_passages(["2"])
    assert embedder.inside == 1
    encoder.go()
    await first
    await asyncio.to_thread(embedder.close)


async def test_a_question_does_not_wait_behind_an_ingest(encoder: CountingEncoder) -> None:
    embedder = over(encoder)
    first = await blocked(encoder, embedder)
    ingest = asyncio.ensure_future(embedder.embed_passages([words(6, 20)] * 8))
    await entered(embedder, 8)
    question = asyncio.ensure_future(embedder.embed_queries(["7"]))
    await entered(embedder, 9)
    encoder.go()
    await asyncio.gather(first, ingest, question)
    assert [[7]] in encoder.batches[1:3]
    await asyncio.to_thread(embedder.close)


async def test_an_ingest_goes_on_while_questions_come(encoder: CountingEncoder) -> None:
    embedder = over(encoder)
    first = await blocked(encoder, embedder)
    questions = asyncio.ensure_future(embedder.embed_queries([words(6, 20)] * 8))
    await entered(embedder, 8)
    ingest = asyncio.ensure_future(embedder.embed_passages(["7"]))
    await entered(embedder, 9)
    encoder.go()
    await asyncio.gather(first, ingest, questions)
    assert [[7]] in encoder.batches[1:3]
    await asyncio.to_thread(embedder.close)


async def test_a_text_that_the_model_fails_on_fails_its_own_caller_only(encoder: CountingEncoder) -> None:
    def spoil(rows: Sequence[Sequence[int]]) -> None:
        if any(row[0] == 13 for row in rows):
            raise InternalError("The embedding model gave a vector that is zero or not finite.")

    encoder.spoil = spoil
    embedder = over(encoder)
    first = await blocked(encoder, embedder)
    calls = []
    for number, text in enumerate(("12", "13", "14"), start=1):
        calls.append(asyncio.ensure_future(embedder.embed_passages([text])))
        await entered(embedder, number)
    encoder.go()
    [one, bad, other] = await asyncio.gather(*calls, return_exceptions=True)
    await first
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    assert isinstance(bad, InternalError)
    assert len(encoder.batches[1]) == 3  # they were in one batch
    await asyncio.to_thread(embedder.close)


async def test_a_batch_for_which_there_is_no_memory_is_done_by_halves(encoder: CountingEncoder) -> None:
    def spoil(rows: Sequence[Sequence[int]]) -> None:
        if len(rows) > 1:
            raise Unavailable("The embedding model ran out of memory; try again with less at once.")

    encoder.spoil = spoil
    embedder = over(encoder)
    vectors = await embedder.embed_passages(["1", "2", "3", "4"])
    assert vectors[:, 2].tolist() == [1, 2, 3, 4]
    await embedder.check()
    await asyncio.to_thread(embedder.close)


async def test_a_model_that_fails_on_everything_is_not_ready_until_it_works_again(encoder: CountingEncoder) -> None:
    encoder.encode = lambda texts: [[1] for _ in texts]  # type: ignore[method-assign]  # the probe is no number

    def broken(rows: Sequence[Sequence[int]]) -> None:
        raise RuntimeError("the device is lost")

    encoder.spoil = broken
    embedder = over(encoder)
    with pytest.raises(InternalError, match="failed"):
        await embedder.embed_passages(["1"])
    with pytest.raises(Unavailable):
        await embedder.check()
    encoder.spoil = lambda _: None
    await embedder.check()
    encoder.batches.clear()
    await embedder.check()
    assert not encoder.batches  # a model that works is not asked again
    await asyncio.to_thread(embedder.close)


async def test_closing_ends_what_waits(encoder: CountingEncoder) -> None:
    embedder = over(encoder)
    first = await blocked(encoder, embedder)
    waiting = asyncio.ensure_future(embedder.embed_passages(["2"]))
    await entered(embedder, 1)
    closing = asyncio.ensure_future(asyncio.to_thread(embedder.close))
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    encoder.go()
    await closing
    await first
    assert encoder.closed
    for call in (embedder.embed_passages(["1"]), embedder.check()):
        with pytest.raises(Unavailable, match="closed"):
            await call


async def test_each_batch_is_told(encoder: CountingEncoder) -> None:
    told: list[BatchFacts] = []
    embedder = BatchingEmbedder(encoder, threads=1, batch_tokens=12, on_batch=told.append)
    await embedder.embed_passages([words(4, 1), words(3, 1), words(3, 1)])
    await asyncio.to_thread(embedder.close)
    [facts] = told
    assert (facts.texts, facts.tokens, facts.padding) == (3, 10, 2)
    assert facts.waited >= 0
    assert facts.seconds > 0
