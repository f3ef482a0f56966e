"""OpenAI-compatible routes: a collection is a model that answers from its documents."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from sse_starlette import ServerSentEvent

from ragstone.domain.access import Scope
from ragstone.domain.answers import TextDelta, TextWithdrawn, Usage
from ragstone.domain.conversations import Turn
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.domain.ids import new_id
from ragstone.domain.names import check_collection_name
from ragstone.domain.retrieval import RetrievalSettings
from ragstone.services.orchestrator.access import allow, caller, in_general, needs_where_asked, readable
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import Context, commit_header, json_response, while_connected
from ragstone.services.orchestrator.documentation import body, errors, event_stream
from ragstone.services.orchestrator.embeddings import answer, checked, measured, model_json
from ragstone.services.orchestrator.middleware import request_id
from ragstone.services.orchestrator.problems import openai_error
from ragstone.services.orchestrator.query import count, default_rerank, default_sentences, default_timeout, gated, rewriting_json
from ragstone.services.orchestrator.schemas import openai as forms
from ragstone.services.orchestrator.sse import DONE, as_domain_error, event, primed, respond
from ragstone.services.orchestrator.views import snapshot_json
from ragstone.use_cases.answer import AnswerSettings
from ragstone.use_cases.query import QueryDone, QueryEvent, Question

_PREFIX = "ragstone/"
_SHAPE = "OpenAIError"
_STREAM = event_stream("chat.completion.chunk objects, or an error; then `[DONE]`")


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1", tags=["openai"])
    platform = context.platform

    @router.get(
        "/models", summary="List models", response_model=None, responses={200: {"model": forms.OpenAIModels}, **errors(shape=_SHAPE)}
    )
    @needs_where_asked(Scope.READ)
    async def models(request: Request) -> Response:
        """Each collection that the caller may read as `ragstone/<name>`, and the embedding model, with its digest and all that its vectors depend on."""
        may = readable(request)
        listed = [_model(_PREFIX + one.name, one.created_at) for one in await platform.collections.all() if may(one.name)]
        return json_response({"object": "list", "data": [*listed, model_json(platform.embedder.identity)]})

    @router.get(
        "/models/{model:path}",
        summary="One model",
        response_model=None,
        responses={200: {"model": forms.OpenAIModel}, **errors(404, shape=_SHAPE)},
    )
    @needs_where_asked(Scope.READ)
    async def model(request: Request, model: str) -> Response:
        """A collection, also at a commit or tag, or the embedding model."""
        if model == platform.embedder.identity.name:
            in_general(request)
            return json_response(model_json(platform.embedder.identity))
        name, as_of = _split(model)
        allow(request, name)
        collection = await platform.collections.get(name)
        if as_of is not None:
            await platform.history.show(name, as_of)
        return json_response(_model(model, collection.created_at))

    chat_responses: dict[int | str, dict[str, Any]] = {200: {"model": forms.ChatCompletion, "content": _STREAM}}

    @router.post(
        "/chat/completions",
        summary="Chat completion",
        response_model=None,
        responses={**chat_responses, **errors(404, 410, 413, 415, 429, 503, 507, shape=_SHAPE)},
        openapi_extra=body(forms.ChatBody),
    )
    @needs_where_asked(Scope.READ)
    async def chat(request: Request) -> Response:
        """The last user message is answered from the collection; citations, commit and interaction id are under `ragstone`.

        With a generative model, what the user and the assistant said before it goes into the question: it is rewritten into one that stands alone, which
        `ragstone.rewriting` tells.

        `ragstone.degraded` names what the answer had to be made without: `generation`, while the generator is down, when the answer is made of
        quotations; `rewriting`, when the question could not be rewritten and was asked as it is; `rerank`, while the reranker is, when passages are in the order of their fused scores. A stream whose generator breaks off ends with an error.
        """
        asked = await read_json(request, forms.ChatBody)
        question = _question(context, request, asked)
        if asked.stream:
            stream = await primed(gated(context, question))
            with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
            return respond(_chunks(stream, asked.model, request_id(request.scope), with_usage=with_usage))
        async with context.queries:
            done = await while_connected(request, platform.query.run(question))
        count(context, done)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": done.answer.text, "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
        form = {
            "id": f"chatcmpl-{done.interaction.id}",
            "object": "chat.completion",
            "created": int(done.interaction.created_at),
            "model": asked.model,
            "choices": [choice],
            "usage": _usage(done.answer.usage),
            "ragstone": _extras(done),
        }
        return json_response(form, headers=commit_header(done.snapshot.commit_id))

    @router.post(
        "/embeddings",
        summary="Embeddings",
        response_model=None,
        responses={200: {"model": forms.Embeddings}, **errors(404, 409, 413, 415, 429, 503, shape=_SHAPE)},
        openapi_extra=body(forms.EmbeddingsBody),
    )
    @needs_where_asked(Scope.READ)
    async def embeddings(request: Request) -> Response:
        """Each text's vector, as passages are embedded, or with `input_type` as questions are.

        A text that is longer than the model's window is cut, and listed under `ragstone.truncated`. `ragstone.model` is the model that made these vectors.
        """
        asked = await read_json(request, forms.EmbeddingsBody)
        embedder = platform.embedder
        if asked.model == embedder.identity.name:
            in_general(request)
        else:
            if not asked.model.startswith(_PREFIX):
                raise NotFound(
                    f"model: there is no {asked.model[:100]!r}; the embedding model is {embedder.identity.name!r}.", field="model"
                )
            name, _ = _split(asked.model)
            allow(request, name)
            await platform.collections.get(name)
        texts, kind = checked(asked, embedder.identity, platform.limits.question_characters)
        async with context.queries:
            embed = embedder.embed_queries if kind == "query" else embedder.embed_passages
            vectors = await while_connected(request, embed(texts))
        return await answer(embedder.identity, vectors, kind, await measured(embedder, texts, kind), asked.encoding_format)

    return router


def _model(name: str, created: float) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(created), "owned_by": "ragstone"}


def _split(model: str) -> tuple[str, str | None]:
    """Collection and commit of `ragstone/<collection>[@<reference>]`."""
    if not model.startswith(_PREFIX):
        raise NotFound(f"model: there is no {model[:100]!r}; models are ragstone/<collection> (GET /v1/models).", field="model")
    name, _, reference = model.removeprefix(_PREFIX).partition("@")
    return check_collection_name(name, "model"), reference or None


def _question(context: Context, request: Request, asked: forms.ChatBody) -> Question:
    name, as_of = _split(asked.model)
    allow(request, name)
    last = max((at for at, message in enumerate(asked.messages) if message.role == "user"), default=None)
    if last is None or asked.messages[last].content is None:
        raise InvalidInput("messages: there is no text of the user in them.", field="messages")
    defaults = AnswerSettings()
    return Question(
        collection=name,
        text=_text(asked.messages[last]),
        history=tuple(
            Turn(message.role, _text(message))
            for message in asked.messages[:last]
            if message.role in ("user", "assistant") and message.content
        ),
        as_of=as_of,
        retrieval=RetrievalSettings(rerank=default_rerank(context.settings)),
        answer=AnswerSettings(
            max_tokens=asked.max_completion_tokens or asked.max_tokens or defaults.max_tokens,
            temperature=asked.temperature if asked.temperature is not None else defaults.temperature,
            max_sentences=default_sentences(context.settings),
            timeout=default_timeout(context.settings),
        ),
        principal=caller(request),
    )


def _text(message: forms.ChatMessage) -> str:
    content = message.content or ""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


async def _chunks(
    stream: AsyncGenerator[QueryEvent, None], model: str, request: str, *, with_usage: bool
) -> AsyncGenerator[ServerSentEvent, None]:
    base = {"id": f"chatcmpl-{new_id()}", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None, **extra: Any) -> ServerSentEvent:
        return event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}], **extra})

    try:
        async with aclosing(stream):
            yield chunk({"role": "assistant", "content": ""})
            async for item in stream:
                if isinstance(item, TextDelta):
                    yield chunk({"content": item.text})
                elif isinstance(item, TextWithdrawn):  # the protocol can't take back what was sent
                    raise Unavailable("The generator broke off; ask again.")
                elif isinstance(item, QueryDone):
                    yield chunk({}, "stop", ragstone=_extras(item))
                    if with_usage:
                        yield event({**base, "choices": [], "usage": _usage(item.answer.usage)})
    except Exception as error:  # the 200 is sent: whatever happens is told as an event, which OpenAI's clients raise
        yield event(openai_error(as_domain_error(error), request))
    yield DONE


def _extras(done: QueryDone) -> dict[str, Any]:
    return {
        "interaction_id": done.interaction.id,
        "abstained": done.answer.abstained,
        "grounded": done.answer.grounded,
        "citations": done.interaction.answer["citations"],
        "snapshot": snapshot_json(done.snapshot),
        "release_id": done.release.id,
        "logged": done.logged,
        "degraded": list(done.interaction.degraded),
        **rewriting_json(done.interaction),
    }


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
