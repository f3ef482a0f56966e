"""`ragstone ask` (alias `query`) and `ragstone search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.api import Json
from ragstone.cli.command import command
from ragstone.cli.ingest import COLLECTION
from ragstone.cli.output import clean, one_line, table, text
from ragstone.cli.session import Session
from ragstone.cli.values import filter_of
from ragstone.cli.words import commit_name, place

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ragstone.cli.client import Client

AS_OF = Annotated[str | None, typer.Option(help="Commit (7 or more digits), tag, #position or ISO time to read from.")]
_TOP_K = Annotated[int, typer.Option(help="Passages to retrieve.")]
_MIN_SCORE = Annotated[float, typer.Option(help="Leave out passages that score less.")]
_NEIGHBOURS = Annotated[int, typer.Option(help="Passages to add on each side of one that was found.")]
_FILTER = Annotated[
    list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="Metadata must equal; a key given twice: any of them.")
]
_FILTER_JSON = Annotated[
    str | None, typer.Option(metavar="JSON", help='Conditions, e.g. {"year": {"gte": 2024}, "path": {"prefix": "guide/"}}.')
]
_RERANK = Annotated[
    int | None,
    typer.Option(help="How many of the best the reranker reorders; 0: none (default: the server's setting).", show_default=False),
]
_EXPLAIN = Annotated[
    bool, typer.Option("--explain", help="Show each passage's dense, BM25 and fused score and rank, and the reranker's score.")
]
_NOT_RERANKED = "The reranker is down: passages are in the order of the search."


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    command(app, "ask")(ask)
    command(app, "query", hidden=True)(ask)  # the API's word for it
    command(app, "search")(search)


async def ask(
    session: Session,
    question: Annotated[str, typer.Argument(help="The question.")],
    collection: COLLECTION,
    *,
    as_of: AS_OF = None,
    top_k: _TOP_K = 8,
    min_score: _MIN_SCORE = 0.0,
    neighbours: _NEIGHBOURS = 0,
    rerank: _RERANK = None,
    filter_: _FILTER = None,
    filter_json: _FILTER_JSON = None,
    explain: _EXPLAIN = False,
    stream: Annotated[
        bool | None, typer.Option("--stream/--no-stream", help="Print the answer as it is made (default: on a terminal).")
    ] = None,
) -> None:
    """Answer a question with citations. With --json --stream: the events, one a line."""

    body = {
        "collection": collection,
        "question": question,
        "as_of": as_of,
        "top_k": top_k,
        "min_score": min_score,
        "neighbours": neighbours,
        **({} if rerank is None else {"rerank": rerank}),
        "filter": filter_of(filter_ or (), filter_json),
        "explain": explain,
    }
    output = session.output
    live = stream if stream is not None else not output.json_mode and output.out.is_terminal
    async with session.client() as client:
        if not live:
            response = await client.post("/query", body)
            output.result(response, *answer_lines(response))
        elif output.json_mode:
            async for event in client.events("POST", "/query", body | {"stream": True}):
                output.line({"event": event.name, **event.data})
            return
        else:
            response = await _stream(session, client, body)
    if explain and not output.json_mode:
        output.print(text())
        output.print(passage_table(response["passages"]))


async def search(
    session: Session,
    question: Annotated[str, typer.Argument(help="What to look for.")],
    collection: COLLECTION,
    *,
    as_of: AS_OF = None,
    top_k: _TOP_K = 8,
    min_score: _MIN_SCORE = 0.0,
    neighbours: _NEIGHBOURS = 0,
    rerank: _RERANK = None,
    filter_: _FILTER = None,
    filter_json: _FILTER_JSON = None,
    explain: _EXPLAIN = False,
) -> None:
    """Find passages, without an answer."""

    body = {
        "collection": collection,
        "question": question,
        "as_of": as_of,
        "top_k": top_k,
        "min_score": min_score,
        "neighbours": neighbours,
        **({} if rerank is None else {"rerank": rerank}),
        "filter": filter_of(filter_ or (), filter_json),
        "explain": explain,
    }
    async with session.client() as client:
        response = await client.post("/v1/search", body)
    shown: list[RenderableType] = []
    for passage in response["passages"]:
        shown += [text(f"{passage['rank']}. {place(passage)}  score {passage['score']:.3f}", "bold"), text(passage["text"]), text()]
    if explain:
        shown += [passage_table(response["passages"]), text()]
    snapshot = response["snapshot"]
    shown.append(
        text(f"{len(response['passages'])} passages of {collection} {commit_name(snapshot['position'], snapshot['commit_id'])}", "dim")
    )
    if "rerank" in response["degraded"]:
        shown.append(text(_NOT_RERANKED, "yellow"))
    session.output.result(response, *shown)


async def _stream(session: Session, client: Client, body: Json) -> Json:

    response: Json = {}
    async for event in client.events("POST", "/query", body | {"stream": True}):
        if event.name == "delta":
            session.output.raw(clean(event.data["text"]))
        elif event.name == "withdrawn":
            session.output.raw("\n\n")
            session.output.print(text("The generator broke off; what it wrote so far is void. The passages themselves say:", "yellow"))
        elif event.name == "answer":
            response = event.data
    session.output.raw("\n")
    for line in source_lines(response):
        session.output.print(line)
    return response


def answer_lines(response: Json) -> list[RenderableType]:
    """The answer, its citations, and what it was read from."""

    return [text(response["answer"]["text"]), *source_lines(response)]


def source_lines(response: Json) -> list[RenderableType]:
    """Everything below an answer's text."""

    answer, snapshot = response["answer"], response["snapshot"]
    lines = [text()]
    for citation in answer["citations"]:
        lines.append(text(f"[{citation['marker']}] {place(citation)}", "bold"))
        lines.append(text(f'    "{one_line(citation["quote"])}"', "dim"))
    where = f"{snapshot['collection']} {commit_name(snapshot['position'], snapshot['commit_id'])}"
    if answer["abstained"]:
        where = f"Not in the knowledge base as of {where}"
    elif answer["grounded"] < 1:
        lines.append(text(f"Only {answer['grounded']:.0%} of this answer is borne out by the passages it cites.", "yellow"))
    lines.append(text(f"{where}, release {response['release']['id'][:12]}, interaction {response['id']}", "dim"))
    if "rerank" in response["degraded"]:
        lines.append(text(_NOT_RERANKED, "yellow"))
    if "generation" in response["degraded"]:
        lines.append(text("The generator is down: the answer is made of quotations instead.", "yellow"))
    if response["logged"] == "deferred":
        lines.append(
            text("The log takes nothing now: the interaction waits in the server's spool, and can be read once the log answers.", "yellow")
        )
    return lines


def passage_table(passages: list[Json]) -> RenderableType:
    """Scores and ranks of each list, as `explain` gives them; the reranker's where there are any."""

    reasons = [passage.get("explain") or {} for passage in passages]
    reranked = any(why.get("rerank") is not None for why in reasons)
    numbers = ("rank", *(("rerank",) if reranked else ()), "fused", "dense", "(rank)", "bm25", "(rank)")

    def cells(passage: Json, why: Json) -> tuple[Any, ...]:
        scores = (_score(why.get("fused")), _score(why.get("dense")), why.get("dense_rank"), _score(why.get("bm25")), why.get("bm25_rank"))
        return (passage["rank"], *((_score(why.get("rerank")),) if reranked else ()), *scores, passage["path"])

    return table((*numbers, "path"), map(cells, passages, reasons), right=numbers)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
