"""What an embeddings server can do wrong, and that nothing of it is used; what is sent, and how much at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragstone.adapters.embedding_probe import ProbeRecord, differing, fingerprint
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_tokenizer import ModelTokenizer
from ragstone.adapters.openai_embedder import OpenAIEmbedder
from ragstone.adapters.openai_embedding_endpoint import EmbeddingEndpoint
from ragstone.adapters.openai_embedding_servers import AnyServer, RagstoneServer, Told, check_tokenizer, meet_any, meet_ragstone
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import Busy, InternalError, InvalidInput, Unavailable
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.platform import fake_platform
from tests.support.chat_server import Call, ChatServer, Reply, chat_server
from tests.support.embedding_server import answer, embeddings, serving
from tests.support.server import running
from tests.support.tiny_encoder import make_encoder

SECRET = "sk-very-secret"
TEXTS = ["the red pump stops", "oil flows", "a valve"]
IDENTITY = ModelIdentity("tiny", "1", "0" * 64, 3, "mean", 20)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr("ragstone.adapters.dependency._FIRST_WAIT", 0.001)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_encoder(tmp_path / "tiny")


@pytest.fixture
def tokenizer(folder: Path) -> ModelTokenizer:
    return ModelTokenizer(folder / "tokenizer.json", window=20, lower_case=False)


@pytest.fixture
def model(folder: Path) -> OnnxEmbedder:
    return OnnxEmbedder(folder, graphs=folder / "graphs")


class Trusting:
    """A server of which nothing is checked: what is tested then is how its answers are read."""

    identity = IDENTITY
    adds_prefix = False
    probes: tuple[str, ...] = ()

    def accepted(self, reply: Any) -> Vectors:
        vectors: Vectors = reply.vectors
        return vectors

    async def check(self, endpoint: EmbeddingEndpoint) -> None:
        await endpoint.look(["pump"], {})


@asynccontextmanager
async def embedding(
    reply: Reply,
    tokenizer: ModelTokenizer,
    *,
    within: float = 5.0,
    concurrency: int = 16,
    **bounds: int,
) -> AsyncIterator[tuple[OpenAIEmbedder, ChatServer]]:
    async with chat_server(reply) as server:
        endpoint = EmbeddingEndpoint(server.base_url + "/", "tiny", api_key=lambda: SECRET, timeout=within, concurrency=concurrency)
        embedder = OpenAIEmbedder(endpoint, Trusting(), tokenizer, **bounds)
        yield embedder, server
        await embedder.close()


def told(revision: str = "1") -> Told:
    return Told("tiny", revision, None, "mean", 20, "", "")


async def meet(base_url: str, tokenizer: ModelTokenizer, locks: Path, revision: str = "1", probe: str | None = None) -> OpenAIEmbedder:
    endpoint = EmbeddingEndpoint(base_url, "tiny")
    given = told(revision)
    record = ProbeRecord(locks, given.name, given.revision, given.known_digest)
    return OpenAIEmbedder(endpoint, await meet_any(endpoint, given, tokenizer, record, probe=probe), tokenizer)


def constant(call: Call) -> dict[str, Any]:
    """A different vector for each text of the request."""
    return embeddings([[1.0, float(row), 2.0] for row, _ in enumerate(call.body["input"])])


async def plain(call: Call) -> None:
    await answer(call, constant(call))


async def test_the_request_follows_the_protocol(tokenizer: ModelTokenizer) -> None:
    async with embedding(plain, tokenizer) as (embedder, server):
        vectors = await embedder.embed_passages(TEXTS)
        [call] = server.calls
    assert call.path == "/v1/embeddings"
    assert call.headers["authorization"] == f"Bearer {SECRET}"
    assert call.headers["content-type"] == "application/json"
    assert call.body == {"model": "tiny", "input": TEXTS, "encoding_format": "base64"}
    sent = np.array([[1, row, 2] for row in range(3)], np.float32)
    np.testing.assert_allclose(vectors, sent / np.linalg.norm(sent, axis=1, keepdims=True), atol=1e-6)


async def test_the_key_shows_nowhere(tokenizer: ModelTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    async def reply(call: Call) -> None:
        await answer(call, {"error": {"message": f"bad key {SECRET}", "code": "bad_key"}}, 401)

    caplog.set_level(logging.DEBUG)
    async with embedding(reply, tokenizer) as (embedder, _):
        with pytest.raises(Unavailable, match="API key") as raised:
            await embedder.embed_queries(["oil"])
        assert SECRET not in f"{raised.value} {embedder!r} {caplog.text}"
    assert "bad_key" in str(raised.value)


@pytest.mark.parametrize(
    ("bounds", "sizes"), [({"batch_texts": 3}, [3, 3, 1]), ({"batch_tokens": 20}, [4, 3]), ({"batch_tokens": 3}, [1] * 7)]
)
async def test_requests_are_bounded_by_texts_and_tokens(bounds: dict[str, int], sizes: list[int], tokenizer: ModelTokenizer) -> None:
    texts = ["oil flows hot"] * 7  # 5 tokens each, special ones included
    async with embedding(plain, tokenizer, **bounds) as (embedder, server):
        assert (await embedder.embed_passages(texts)).shape == (7, 3)
    assert sorted((len(call.body["input"]) for call in server.calls), reverse=True) == sizes


async def test_requests_are_bounded_in_characters(tokenizer: ModelTokenizer) -> None:
    word = "x" * 90_000  # one token: an unknown word
    async with embedding(plain, tokenizer) as (embedder, server):
        await embedder.embed_passages([word] * 5)
    assert sorted(len(call.body["input"]) for call in server.calls) == [1, 2, 2]


async def test_a_few_requests_of_a_call_run_at_once_and_the_order_is_kept(tokenizer: ModelTokenizer) -> None:
    now = most = 0

    async def later(call: Call) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        [text] = call.body["input"]
        await asyncio.sleep(0.05 - 0.01 * len(text.split()))  # the first ones take the longest
        now -= 1
        await answer(call, embeddings([[1.0, float(len(text.split())), 2.0]]))

    texts = [" ".join(["oil"] * number) for number in (1, 2, 3, 4, 1, 2, 3, 4)]
    async with embedding(later, tokenizer, batch_texts=1, in_flight=3) as (embedder, _):
        vectors = await embedder.embed_passages(texts)
    assert most == 3
    np.testing.assert_allclose(vectors[:, 1] / vectors[:, 0], [1, 2, 3, 4, 1, 2, 3, 4], rtol=1e-5)


@pytest.mark.parametrize("pieces", [["oil"], ["oil"] * 3])
async def test_a_failed_request_ends_the_others_of_its_call(pieces: list[str], tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        if call.body["input"] == ["valve"]:
            await answer(call, {}, 422)
        await asyncio.Event().wait()

    async with embedding(reply, tokenizer, within=600, batch_texts=1, in_flight=4) as (embedder, server):
        async with asyncio.timeout(60):
            with pytest.raises(InvalidInput):
                await embedder.embed_passages(["valve", *pieces])
        await asyncio.wait_for(server.dropped.wait(), 60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document["data"].pop(), "2 embeddings for 3 texts"),
        (lambda document: document["data"].append(document["data"][0]), "4 embeddings for 3 texts"),
        (lambda document: document["data"][0].update(index=0), "not one for each"),
        (lambda document: document["data"][0].update(index=3), "not one for each"),
        (lambda document: document["data"][1]["embedding"].append(1.0), "several lengths"),
        (lambda document: document["data"][1].update(embedding=[1.0, float("nan"), 1.0]), "not finite"),
        (lambda document: document["data"][1].update(embedding=[1.0, None, 1.0]), "not finite"),
        (lambda document: document["data"][1].update(embedding=[1.0, 1e300, 1.0]), "not finite"),
        (lambda document: document["data"][1].update(embedding=[0.0, 0.0, 0.0]), "zero"),
    ],
)
async def test_a_wrong_answer_is_used_in_no_part(change: Callable[[Any], object], words: str, tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        document = constant(call)
        change(document)
        await answer(call, document)

    async with embedding(reply, tokenizer) as (embedder, server):
        with pytest.raises(InternalError, match=words):
            await embedder.embed_passages(TEXTS)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Welcome</html>", "JSON object"),
        (b"[]", "JSON object"),
        (b"{}", "no list of embeddings"),
        (b'{"data": [7]}', "without an index"),
        (b'{"data": [{"embedding": [1, 2, 3]}]}', "without an index"),
        (b'{"data": [{"index": true, "embedding": [1, 2, 3]}]}', "without an index"),
        (b'{"data": [{"index": 0}]}', "neither"),
        (b'{"data": [{"index": 0, "embedding": []}]}', "neither"),
        (b'{"data": [{"index": 0, "embedding": [[1, 2, 3]]}]}', "neither"),
        (b'{"data": [{"index": 0, "embedding": {"a": 1}}]}', "neither"),
        (b'{"data": [{"index": 0, "embedding": "not base64!"}]}', "neither"),
        (b'{"data": [{"index": 0, "embedding": "AAAAAAA="}]}', "neither"),
        (b" " * (2**16 + 2**18 + 1), "without end"),
    ],
)
async def test_what_is_no_answer_is_unavailable(body: bytes, words: str, tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await answer(call, body)

    async with embedding(reply, tokenizer) as (embedder, server):
        with pytest.raises(Unavailable, match=words):
            await embedder.embed_queries(["oil"])
    assert len(server.calls) == 4  # and it may pass


@pytest.mark.parametrize(("status", "hint"), [(500, "500"), (424, "424"), (404, "model"), (302, "302")])
async def test_a_refusal_names_its_status(status: int, hint: str, tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await answer(call, {}, status, location="http://127.0.0.1:9/elsewhere")

    async with embedding(reply, tokenizer) as (embedder, _):
        with pytest.raises(Unavailable, match=hint):
            await embedder.embed_queries(["oil"])


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_the_texts_are_to_blame_for_is_invalid_input_and_not_sent_again(status: int, tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await answer(call, {"error": {"message": "x", "type": "Validation", "code": "too_long"}}, status)

    async with embedding(reply, tokenizer) as (embedder, server):
        with pytest.raises(InvalidInput, match=f"status {status} \\(too_long\\)"):
            await embedder.embed_passages(["oil"])
    assert len(server.calls) == 1


async def test_of_an_endless_error_no_more_is_read(tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await answer(call, {"error": {"message": "x" * 2**17, "code": "too_long"}}, 400)

    async with embedding(reply, tokenizer) as (embedder, _):
        with pytest.raises(InvalidInput, match="status 400;"):
            await embedder.embed_passages(["oil"])


async def test_half_of_a_surrogate_pair_is_invalid_input(tokenizer: ModelTokenizer) -> None:
    async with embedding(plain, tokenizer) as (embedder, server):
        with pytest.raises(InvalidInput, match="Unicode"):
            await embedder.embed_passages(["oil \ud800"])
    assert not server.calls


async def test_what_may_pass_is_tried_again(tokenizer: ModelTokenizer) -> None:
    statuses = [503, 500]

    async def reply(call: Call) -> None:
        await (answer(call, {}, statuses.pop()) if statuses else plain(call))

    async with embedding(reply, tokenizer) as (embedder, server):
        assert (await embedder.embed_queries(["oil"])).shape == (1, 3)
    assert len(server.calls) == 3


async def test_a_busy_server_is_asked_again_when_it_says(tokenizer: ModelTokenizer) -> None:
    asked: list[float] = []

    async def reply(call: Call) -> None:
        asked.append(time.monotonic())
        await (answer(call, {}, 429, retry_after="1") if len(asked) == 1 else plain(call))

    async with embedding(reply, tokenizer) as (embedder, _):
        assert (await embedder.embed_passages(["oil"])).shape == (1, 3)
    assert len(asked) == 2
    assert 1.0 <= asked[1] - asked[0] < 2.0


async def test_a_server_that_is_busy_for_longer_than_there_is_time_is_not_waited_for(tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await answer(call, {}, 429, retry_after="7")

    async with embedding(reply, tokenizer) as (embedder, server):
        with deadline(3.0):
            with pytest.raises(Busy) as asked:
                await embedder.embed_queries(["oil"])
            with pytest.raises(Unavailable) as told_of:  # a job is handed back for that, not failed
                await embedder.embed_passages(["oil"])
        await embedder.check()  # it is there
    assert (asked.value.retry_after, told_of.value.retry_after) == (7.0, 7.0)
    assert len(server.calls) == 3


async def test_a_slow_server_runs_into_the_timeout_and_into_the_deadline(tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await asyncio.Event().wait()

    async with embedding(reply, tokenizer, within=0.05) as (embedder, _):
        with pytest.raises(Unavailable, match="in time"):
            await embedder.embed_queries(["oil"])
    async with embedding(reply, tokenizer, within=600) as (embedder, _):
        async with asyncio.timeout(60):
            with deadline(0.2), pytest.raises(Unavailable, match="in time"):
                await embedder.embed_queries(["oil"])


async def test_cancelling_closes_the_connection(tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await asyncio.Event().wait()

    async with embedding(reply, tokenizer) as (embedder, server):
        task = asyncio.ensure_future(embedder.embed_passages(["oil"]))
        while not server.calls:  # noqa: ASYNC110 - the server's own state
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.dropped.wait(), 60)


async def test_a_server_that_is_away_is_not_asked_each_time_and_is_found_again(tokenizer: ModelTokenizer) -> None:
    async with chat_server(plain) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
    embedder = OpenAIEmbedder(EmbeddingEndpoint(server.base_url, "tiny"), Trusting(), tokenizer)
    with pytest.raises(Unavailable, match=r"cannot be reached .* is it up, and embedder\.base_url its address"):
        await embedder.embed_queries(["oil"])
    with pytest.raises(Unavailable, match="cannot be reached"):
        await embedder.check()
    with pytest.raises(Unavailable, match="not asked now"):
        await embedder.embed_queries(["oil"])
    async with chat_server(plain, port):
        await embedder.check()
        async with asyncio.timeout(60):
            while True:
                try:
                    assert (await embedder.embed_queries(["oil"])).shape == (1, 3)
                    break
                except Unavailable:
                    await asyncio.sleep(0.1)
    await embedder.close()


async def test_no_more_requests_run_at_once_than_may(tokenizer: ModelTokenizer) -> None:
    now = most = 0

    async def reply(call: Call) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.02)
        now -= 1
        await plain(call)

    async with embedding(reply, tokenizer, concurrency=2, batch_texts=1) as (embedder, _):
        await asyncio.gather(*(embedder.embed_passages(TEXTS) for _ in range(3)))
    assert most == 2


async def test_another_model_behind_the_address_is_refused_until_it_is_the_old_one_again(
    tmp_path: Path, model: OnnxEmbedder, tokenizer: ModelTokenizer
) -> None:
    other = OnnxEmbedder(make_encoder(tmp_path / "other", seed=2), graphs=tmp_path / "graphs")
    serves: list[OnnxEmbedder] = [model]

    async def reply(call: Call) -> None:
        await serving(serves[0])(call)

    async with chat_server(reply) as server:
        embedder = await meet(server.base_url, tokenizer, tmp_path / "locks")
        before = await embedder.embed_passages(TEXTS)
        np.testing.assert_allclose(before, await model.embed_passages(TEXTS), atol=1e-5)
        serves[0] = other
        for refused in (embedder.embed_passages(TEXTS), embedder.embed_queries(["oil"]), embedder.check()):
            with pytest.raises(Unavailable, match="gives other vectors than tiny did") as raised:
                await refused
        assert raised.value.field == "embedding"
        with pytest.raises(InvalidInput, match="another than that of revision '1'") as start:
            await meet(server.base_url, tokenizer, tmp_path / "locks")
        assert start.value.field == "embedder.revision"
        renewed = await meet(server.base_url, tokenizer, tmp_path / "locks", revision="2")  # said to be another: it is another space
        assert renewed.identity != embedder.identity
        assert renewed.identity.digest != embedder.identity.digest
        serves[0] = model
        np.testing.assert_allclose(await embedder.embed_passages(TEXTS), before, atol=1e-6)
        again = await meet(server.base_url, tokenizer, tmp_path / "locks")
        assert again.identity == embedder.identity
        for each in (embedder, renewed, again):
            await each.close()


async def test_a_model_of_another_dimension_is_refused(tmp_path: Path, model: OnnxEmbedder, tokenizer: ModelTokenizer) -> None:
    serves: list[Any] = [model]

    async def reply(call: Call) -> None:
        await serving(serves[0])(call)

    async with chat_server(reply) as server:
        embedder = await meet(server.base_url, tokenizer, tmp_path / "locks")
        serves[0] = HashingEmbeddingModel(24, window=200)
        with pytest.raises(Unavailable, match="24 dimensions now, not 16"):
            await embedder.embed_passages(TEXTS)
        with pytest.raises(InvalidInput, match="another than that of revision"):
            await meet(server.base_url, tokenizer, tmp_path / "locks")
        await embedder.close()


async def test_the_probe_of_the_settings_counts_before_what_was_seen(
    tmp_path: Path, model: OnnxEmbedder, tokenizer: ModelTokenizer
) -> None:
    async with chat_server(serving(model)) as server:
        embedder = await meet(server.base_url, tokenizer, tmp_path / "locks")
        [record] = (tmp_path / "locks").iterdir()
        seen = json.loads(record.read_text())["probe"]
        assert (await meet(server.base_url, tokenizer, tmp_path / "locks", probe=seen)).identity == embedder.identity
        wrong = f"{int(seen, 16) ^ (2**64 - 1):064x}"
        with pytest.raises(InvalidInput, match=f"64 of 256 bits differ from embedder.probe.*{seen}"):
            await meet(server.base_url, tokenizer, tmp_path / "locks", probe=wrong)
        record.write_text("{")  # damaged: as if nothing had been seen
        await meet(server.base_url, tokenizer, tmp_path / "locks")
        assert json.loads(record.read_text()) == {"model": "tiny", "revision": "1", "digest": told().known_digest, "probe": seen}


async def test_a_fingerprint_that_can_not_be_kept_is_told(
    tmp_path: Path, model: OnnxEmbedder, tokenizer: ModelTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "locks").touch()
    async with chat_server(serving(model)) as server:
        embedder = await meet(server.base_url, tokenizer, tmp_path / "locks")
        assert (await embedder.embed_passages(TEXTS)).shape == (3, 16)
    assert "set embedder.probe to it" in caplog.text


def test_a_fingerprint_is_the_same_for_small_differences_and_another_for_another_vector() -> None:
    random = np.random.default_rng(5)
    for dimension in (16, 384, 1024):
        one, other = random.standard_normal((2, dimension)).astype(np.float32)
        noise = random.standard_normal(dimension).astype(np.float32)
        assert differing(fingerprint(one), fingerprint(7 * one)) == 0
        assert differing(fingerprint(one), fingerprint(one.astype(np.float16))) <= 2
        assert differing(fingerprint(one), fingerprint(one + 0.005 * noise)) <= 3
        assert 90 <= differing(fingerprint(one), fingerprint(other)) <= 166
        assert differing(fingerprint(one), fingerprint(one + 0.35 * noise)) > 8  # a cosine of about .94, as of a model in 8 bits


def test_fingerprints_are_the_same_for_ever() -> None:
    assert fingerprint(np.arange(1, 9, dtype=np.float32)) == "09be7360021f53823f8b882724b63d21a87325c8e2b39f959197662672ac70d1"


@asynccontextmanager
async def over_ragstone(folder: Path, served: Sequence[OnnxEmbedder | HashingEmbeddingModel]) -> AsyncIterator[EmbeddingEndpoint]:
    """An endpoint of a server that embeds with the first of `served`, which the caller may exchange."""
    apps = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        now = served[0]
        if id(now) not in apps:
            apps[id(now)] = create_app(fake_platform(embedder=now), Settings(data_dir=folder / "data"))
        await apps[id(now)](scope, receive, send)

    async with running(app) as address:
        endpoint = EmbeddingEndpoint(f"{address}/v1", "tiny")
        yield endpoint
        await endpoint.aclose()


async def test_ragstones_own_server_tells_its_model(tmp_path: Path, folder: Path, model: OnnxEmbedder, tokenizer: ModelTokenizer) -> None:
    async with over_ragstone(tmp_path, [model]) as endpoint:
        server = await meet_ragstone(endpoint, digest=None)
        assert server.identity == model.identity
        await check_tokenizer(endpoint, server, tokenizer)
        assert (await meet_ragstone(endpoint, digest=model.identity.digest)).identity == model.identity
        with pytest.raises(InvalidInput, match=f"serves tiny with the digest {model.identity.digest}, not 0000") as raised:
            await meet_ragstone(endpoint, digest="0" * 64)
        assert raised.value.field == "embedder.digest"
        endpoint.model = "large/model"
        with pytest.raises(InvalidInput, match="no model 'large/model'"):
            await meet_ragstone(endpoint, digest=None)


async def test_another_model_of_ragstones_own_server_is_refused_until_it_is_the_old_one_again(
    tmp_path: Path, model: OnnxEmbedder, tokenizer: ModelTokenizer
) -> None:
    (tmp_path / "v2").mkdir()
    other = OnnxEmbedder(make_encoder(tmp_path / "v2" / "tiny", seed=2), graphs=tmp_path / "graphs")
    renamed = OnnxEmbedder(make_encoder(tmp_path / "other"), graphs=tmp_path / "graphs")
    serves: list[OnnxEmbedder | HashingEmbeddingModel] = [model]
    async with over_ragstone(tmp_path, serves) as endpoint:
        embedder = OpenAIEmbedder(endpoint, await meet_ragstone(endpoint, digest=None), tokenizer)
        before = await embedder.embed_passages(TEXTS)
        serves[0] = other
        for refused in (embedder.embed_passages(TEXTS), embedder.embed_queries(["oil"]), embedder.check()):
            with pytest.raises(Unavailable, match=f"serves tiny .*digest {other.identity.digest[:12]}"):
                await refused
        serves[0] = renamed
        with pytest.raises(Unavailable, match="another model"):
            await embedder.check()
        serves[0] = model
        await embedder.check()
        np.testing.assert_array_equal(await embedder.embed_passages(TEXTS), before)


async def test_a_server_that_says_nothing_of_its_model_is_not_ragstones(tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        await answer(call, {"id": "tiny", "object": "model", "owned_by": "vllm", "ragstone": {"name": "tiny", "dimension": "16"}})

    async with chat_server(reply) as server:
        endpoint = EmbeddingEndpoint(server.base_url, "tiny")
        with pytest.raises(InvalidInput, match="use the kind openai") as raised:
            await meet_ragstone(endpoint, digest=None)
        await endpoint.aclose()
    assert raised.value.field == "embedder.kind"


async def test_ragstones_own_server_does_not_lie_about_its_dimension(tokenizer: ModelTokenizer) -> None:
    async def reply(call: Call) -> None:
        described = {"name": "tiny", "revision": "1", "digest": "0" * 64, "dimension": 4, "pooling": "mean", "window": 20}
        described |= {"query_prefix": "", "passage_prefix": ""}
        await answer(call, {**constant(call), "ragstone": {"model": described}})

    async with chat_server(reply) as server:
        endpoint = EmbeddingEndpoint(server.base_url, "tiny")
        embedder = OpenAIEmbedder(endpoint, RagstoneServer(ModelIdentity("tiny", "1", "0" * 64, 4, "mean", 20)), tokenizer)
        with pytest.raises(InternalError, match="3 dimensions, but says 4"):
            await embedder.embed_passages(TEXTS)
        await embedder.close()


async def test_another_tokenizer_is_refused_or_told(
    tmp_path: Path, model: OnnxEmbedder, tokenizer: ModelTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tiny" / "tokenizer.json"
    words = json.loads(path.read_text())
    words["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(words))
    other = ModelTokenizer(tmp_path / "tokenizer.json", window=20, lower_case=False)
    async with over_ragstone(tmp_path, [model]) as endpoint:
        with pytest.raises(InvalidInput, match="it counts"):
            await check_tokenizer(endpoint, await meet_ragstone(endpoint, digest=None), other)
    async with chat_server(serving(model)) as server:
        endpoint = EmbeddingEndpoint(server.base_url, "tiny")
        met = AnyServer(IDENTITY, "0" * 64, ("the red pump. stops",))
        await check_tokenizer(endpoint, met, tokenizer)
        assert caplog.text == ""
        await check_tokenizer(endpoint, met, other)
        await endpoint.aclose()
    assert "embedder.tokenizer: it counts 4 tokens in a text in which the embedding server counts 7" in caplog.text


def test_prefixes_that_fill_the_window_are_refused(folder: Path, tokenizer: ModelTokenizer) -> None:
    identity = ModelIdentity("tiny", "1", "0" * 64, 3, "mean", 20, query_prefix="oil " * 18)
    with pytest.raises(InvalidInput, match="leaves none") as raised:
        OpenAIEmbedder(EmbeddingEndpoint("http://127.0.0.1:1/v1", "tiny"), RagstoneServer(identity), tokenizer)
    assert raised.value.field == "embedder.window"


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "http://user:pw@host/v1", "http://host/v1?key=1"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        EmbeddingEndpoint(url, "tiny")
    assert raised.value.field == "embedder.base_url"
