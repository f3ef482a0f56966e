"""POST /query and POST /v1/search: questions in, answers or passages out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from sse_starlette import ServerSentEvent

from ragstone.domain.access import Scope
from ragstone.domain.answers import GENERATION, PassagesFound, TextDelta, TextWithdrawn
from ragstone.domain.conversations import Turn
from ragstone.domain.interactions import Interaction
from ragstone.domain.names import check_collection_name
from ragstone.domain.retrieval import RetrievalSettings
from ragstone.services.orchestrator.access import allow, caller, needs_where_asked
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, DirectRoute, commit_header, json_response, read_response, while_connected
from ragstone.services.orchestrator.documentation import body, errors, event_stream, read
from ragstone.services.orchestrator.filters import parse_filter
from ragstone.services.orchestrator.middleware import request_id
from ragstone.services.orchestrator.problems import problem
from ragstone.services.orchestrator.schemas.requests import QueryBody, SearchBody
from ragstone.services.orchestrator.schemas.responses import QueryResponse, SearchResponse
from ragstone.services.orchestrator.sse import DONE, as_domain_error, event, primed, respond
from ragstone.services.orchestrator.views import release_json, snapshot_json
from ragstone.settings.model import ExtractiveGenerator, Settings
from ragstone.settings.rerankers import NoReranker
from ragstone.use_cases.answer import AnswerSettings
from ragstone.use_cases.query import QueryDone, QueryEvent, Question
from ragstone.use_cases.rendering import passage_json

_STREAM = event_stream(
    "`passages` {passages}, `delta` {text} …, `answer` (the JSON response) or `error` (a problem); then `[DONE]`. `withdrawn` {reason}: the "
    "generator broke off, and the text so far is void; the `delta`s after it are another answer, from its beginning",
    "passages", "delta", "withdrawn", "answer", "error",
)  # fmt: skip


def routes(context: Context) -> APIRouter:
    """The two routes, with their platform."""
    router = APIRouter(tags=["query"], route_class=DirectRoute)
    query_responses = read(QueryResponse)
    query_responses[200]["content"] = _STREAM

    @router.post(
        "/query",
        summary="Answer a question from a collection",
        response_model=None,
        responses={**query_responses, **errors(404, 410, 413, 415, 429, 503, 507)},
        openapi_extra=body(QueryBody),
    )
    @needs_where_asked(Scope.READ)
    async def query(request: Request) -> Response:
        """Answers with citations from exactly one commit, or says that the collection holds no answer. The answer is logged before it ends."""
        asked = await read_json(request, QueryBody)
        question = replace(
            _question(context, request, asked, _answer_settings(asked, context.settings)),
            history=tuple(Turn(turn.role, turn.content) for turn in asked.history),
        )
        if asked.stream or "text/event-stream" in request.headers.get("accept", ""):
            stream = await primed(gated(context, question))
            return respond(_events(context, stream, request_id(request.scope), explain=asked.explain))
        async with context.queries:
            done = await while_connected(request, context.platform.query.run(question))
        count(context, done)
        return json_response(query_json(done, explain=asked.explain), headers=commit_header(done.snapshot.commit_id))

    @router.post(
        "/v1/search",
        summary="Find passages",
        response_model=None,
        responses={**read(SearchResponse), **errors(404, 410, 413, 415, 429, 503)},
        openapi_extra=body(SearchBody),
    )
    @needs_where_asked(Scope.READ)
    async def search(request: Request) -> Response:
        """Retrieval alone: nothing is generated, nothing is logged."""
        asked = await read_json(request, SearchBody)
        async with context.queries:
            found = await while_connected(request, context.platform.query.search(_question(context, request, asked, AnswerSettings())))
        context.metrics.searched(found.degraded)
        passages = [passage_json(passage, explain=asked.explain) for passage in found.passages]
        return read_response(found.snapshot, {"passages": passages, "timings": found.timings, "degraded": list(found.degraded)})

    return router


async def gated(context: Context, question: Question) -> AsyncGenerator[QueryEvent, None]:
    """A question's events; it holds its place among the running questions until its stream is closed."""
    async with context.queries, aclosing(context.platform.query.stream(question)) as events:
        async for item in events:
            if isinstance(item, QueryDone):
                count(context, item)
            yield item


def count(context: Context, done: QueryDone) -> None:
    """Puts an answered question into the metrics."""
    context.metrics.answered(
        dict(done.interaction.timings), done.logged, abstained=done.answer.abstained, degraded=done.interaction.degraded
    )


def query_json(done: QueryDone, *, explain: bool) -> dict[str, Any]:
    """The response to a question."""
    interaction = done.interaction
    return {
        "id": interaction.id,
        "answer": interaction.answer,
        "passages": [passage_json(passage, explain=explain) for passage in done.passages],
        "snapshot": snapshot_json(done.snapshot),
        "release": release_json(done.release),
        "models": interaction.models,
        "timings": interaction.timings,
        "logged": done.logged,
        "degraded": list(interaction.degraded),
        **rewriting_json(interaction),
    }


def rewriting_json(interaction: Interaction) -> dict[str, Any]:
    """What became of a question with something before it, and nothing where nothing was."""
    rewriting = interaction.request.get("rewriting")
    return {} if rewriting is None else {"rewriting": dict(rewriting)}


async def _events(
    context: Context, stream: AsyncGenerator[QueryEvent, None], request: str, *, explain: bool
) -> AsyncGenerator[ServerSentEvent, None]:
    try:
        async with aclosing(stream):
            async for item in stream:
                match item:
                    case PassagesFound(passages):
                        yield event({"passages": [passage_json(passage, explain=explain) for passage in passages]}, "passages")
                    case TextDelta(text):
                        yield event({"text": text}, "delta")
                    case TextWithdrawn():
                        yield event({"reason": GENERATION}, "withdrawn")
                    case QueryDone():
                        yield event(query_json(item, explain=explain), "answer")
    except Exception as error:  # the 200 is sent: whatever happens is told as an event
        yield event(problem(as_domain_error(error), request), "error")
    yield DONE


def _question(context: Context, request: Request, asked: SearchBody, answer: AnswerSettings) -> Question:
    collection = check_collection_name(asked.collection)
    allow(request, collection)
    return Question(
        collection=collection,
        text=asked.question,
        as_of=asked.as_of,
        min_commit=asked.min_commit,
        filter=parse_filter(asked.filter),
        retrieval=RetrievalSettings(
            asked.top_k,
            max(asked.candidates, asked.top_k),
            asked.fusion,
            asked.alpha,
            asked.min_score,
            asked.neighbours,
            default_rerank(context.settings) if asked.rerank is None else asked.rerank,
        ),
        answer=answer,
        principal=caller(request),
    )


def _answer_settings(asked: QueryBody, settings: Settings) -> AnswerSettings:
    return AnswerSettings(
        prompt=asked.prompt,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        max_sentences=asked.max_sentences or default_sentences(settings),
        abstain=asked.abstain,
        timeout=default_timeout(settings),
    )


def default_sentences(settings: Settings) -> int:
    """How long an answer is where the question does not say."""
    return settings.generator.max_sentences if isinstance(settings.generator, ExtractiveGenerator) else AnswerSettings().max_sentences


def default_rerank(settings: Settings) -> int:
    """How many passages are reranked where the question does not say."""
    return 0 if isinstance(settings.reranker, NoReranker) else settings.reranker.candidates


def default_timeout(settings: Settings) -> float:
    """Seconds that the generator gets."""
    return AnswerSettings().timeout if isinstance(settings.generator, ExtractiveGenerator) else settings.generator.timeout
