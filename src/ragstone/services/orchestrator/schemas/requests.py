"""Bodies that the API takes. Unknown fields are refused, types are not guessed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from ragstone.domain.access import MAX_GROUPS
from ragstone.domain.retrieval import FusionMethod, RetrievalSettings
from ragstone.use_cases.answer import AnswerSettings
from ragstone.use_cases.prompts import DEFAULT_PROMPT

_RETRIEVAL = RetrievalSettings()
_ANSWER = AnswerSettings()
DEFAULT_TIMEOUT = 300.0  # seconds that an ingest waits for its job

CollectionName = Annotated[str, Field(description="1 to 63 characters of a-z, 0-9 and '-'", examples=["handbook"], max_length=1000)]
AsOf = Annotated[
    str | None,
    Field(
        description="answer from this commit: a commit id or 7 or more of its digits, a tag, `#position`, an ISO 8601 time, or `head`",
        examples=["v1", "#3", "2026-11-01T12:00:00Z"],
        max_length=1000,
    ),
]
MinCommit = Annotated[
    str | None, Field(description="the head must have reached this commit (what an ingest returned): read your writes", max_length=1000)
]
MetadataValue = str | bool | int | Annotated[float, Field(allow_inf_nan=False)] | list[str]
Metadata = Annotated[
    dict[str, MetadataValue],
    Field(description="for filters: strings, numbers, booleans, or lists of strings", examples=[{"team": "ops", "year": 2026}]),
]
Groups = list[Annotated[str, Field(min_length=1, max_length=100)]]
Path = Annotated[str, Field(description="'/'-separated, relative; the document's identity", examples=["guide/start.md"])]


class Body(BaseModel):
    """Strict: a number in quotes is not a number, an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DocumentUpload(Body):
    """One document's bytes: either `text` (stored as UTF-8) or `content_base64`."""

    path: Path
    text: str | None = Field(default=None, examples=["# Start\n\nInstall it with one command."])
    content_base64: str | None = Field(
        default=None, description="standard alphabet, padded", json_schema_extra={"contentEncoding": "base64"}
    )
    media_type: str | None = Field(
        default=None, description="told from path and bytes if absent", examples=["text/markdown"], max_length=200
    )
    metadata: Metadata = {}
    groups: Groups | None = Field(default=None, description="for this document instead of the request's `groups`", max_length=MAX_GROUPS)

    @model_validator(mode="after")
    def _one_content(self) -> DocumentUpload:
        if (self.text is None) is (self.content_base64 is None):
            raise ValueError(f"{self.path[:80]}: give either text or content_base64")
        return self


class PrefixDelete(Body):
    """Removes every document whose path begins with `prefix`."""

    prefix: str = Field(min_length=1, examples=["drafts/"])


class MoveRequest(Body):
    """Gives a document another path; nothing is embedded."""

    source: Path
    target: Path


class IngestOptions(Body):
    """Everything of an ingestion but the documents; the `options` field of a multipart body."""

    collection: CollectionName | None = None
    create: bool = Field(default=False, description="make the collection if it is not there")
    language: str = Field(default="english", description="of a collection made now: BM25's stemmer", max_length=40)
    deletes: list[str | PrefixDelete] = Field(default=[], description='paths, or {"prefix": …}')
    moves: list[MoveRequest] = []
    mirror: bool = Field(default=False, description="remove every document that this request does not bring")
    mirror_prefix: str = Field(default="", description="limits `mirror` to paths that begin so")
    strict: bool = Field(default=False, description="one unacceptable document fails the whole request")
    exact_head: bool = Field(
        default=False, description="with If-Match: any newer commit is a conflict, not only one that changed what this request touches"
    )
    dry_run: bool = Field(default=False, description="only tell what would change")
    groups: Groups | None = Field(
        default=None,
        description="who may see the documents of this request, beside the collection's admins; [] opens them; they count for every commit",
        max_length=MAX_GROUPS,
    )
    message: str = Field(default="", max_length=10_000, description="the commit's message")
    author: str = Field(default="anonymous", min_length=1, max_length=200)
    wait: bool = Field(default=True, description="answer when the commit is published, not when the request is stored")
    timeout: float = Field(default=DEFAULT_TIMEOUT, ge=0, le=3600, allow_inf_nan=False, description="seconds to wait; then 202")


class IngestBody(IngestOptions):
    """One ingestion: it becomes one commit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"collection": "handbook", "create": True, "documents": [{"path": "guide/start.md", "text": "# Start\n\nRun it."}]}
            ]
        }
    )

    collection: CollectionName
    documents: list[DocumentUpload] = []


class SearchBody(Body):
    """A search for passages."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"collection": "handbook", "question": "How do I start?", "top_k": 4}]})

    collection: CollectionName
    question: str = Field(examples=["How do I start?"], pattern=r"\S")
    as_of: AsOf = None
    min_commit: MinCommit = None
    filter: dict[str, Any] | None = Field(
        default=None,
        description=(
            'conditions on metadata, `path`, `media_type` or `title`; all hold: `{"key": value}`, `{"key": {"in": […]}}`, '
            '`{"key": {"gt"|"gte"|"lt"|"lte": n}}`, `{"key": {"exists": true}}`, `{"path": {"prefix": "guide/"}}`, `{"key": {"not": …}}`'
        ),
        examples=[{"team": "ops", "year": {"gte": 2025}, "path": {"prefix": "guide/"}}],
    )
    top_k: int = Field(default=_RETRIEVAL.top_k, description="passages, at most the server's limit (GET /v1/info)", ge=1)
    min_score: float = Field(
        default=_RETRIEVAL.min_score, allow_inf_nan=False, description="fused scores below it are left out, reranked or not"
    )
    neighbours: int = Field(default=_RETRIEVAL.neighbours, ge=0, le=10, description="chunks added before and after each hit")
    fusion: FusionMethod = Field(default=_RETRIEVAL.fusion, description="how the dense and the BM25 list become one")
    alpha: float = Field(default=_RETRIEVAL.alpha, ge=0, le=1, description="weight of dense scores in `convex`")
    candidates: int = Field(default=_RETRIEVAL.candidates, ge=1, le=1000, description="length of each of the two lists")
    rerank: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="how many of the best by fused score the reranker reorders, at most the server's limit; 0: none; absent: the server's setting",
    )
    explain: bool = Field(default=False, description="each passage's dense, BM25 and fused score and rank, and the reranker's score")


class HistoryTurn(Body):
    """What was said before a question."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=100_000)


class QueryBody(SearchBody):
    """A question to be answered from a collection."""

    history: list[HistoryTurn] = Field(
        default=[],
        max_length=1_000,
        description="what was said before, the oldest first; with a generative model the question is rewritten into one that stands alone",
    )

    stream: bool = Field(default=False, description="answer as Server-Sent Events (also: `Accept: text/event-stream`)")
    prompt: str = Field(default=DEFAULT_PROMPT, description="a prompt template, `name/version`", max_length=100)
    max_tokens: int = Field(default=_ANSWER.max_tokens, ge=1, le=100_000, description="of the answer, in the generator's tokens")
    temperature: float = Field(default=_ANSWER.temperature, ge=0, le=2)
    max_sentences: int | None = Field(default=None, ge=1, le=100, description="of the answer; the server's setting if absent")
    abstain: bool = Field(default=True, description="say so when the knowledge base holds no answer; false: answer anyhow")


class CollectionBody(Body):
    """A collection to be made."""

    name: CollectionName
    language: str = Field(default="english", description="BM25's stemmer", max_length=40, examples=["english", "german"])
    description: str = Field(default="", max_length=10_000)


class WriteOptions(Body):
    """What every write takes beside its own fields."""

    message: str = Field(default="", max_length=10_000, description="the commit's message")
    author: str = Field(default="anonymous", min_length=1, max_length=200)
    wait: bool = True
    timeout: float = Field(default=DEFAULT_TIMEOUT, ge=0, le=3600, allow_inf_nan=False, description="seconds to wait; then 202")


class MoveBody(WriteOptions):
    """A move of one document."""

    source: Path
    target: Path


class RollbackBody(WriteOptions):
    """The commit to go back (or forward) to: its documents become a new commit."""

    to: str = Field(description="as for `as_of`", examples=["#1", "v1"], max_length=1000)


class TagBody(Body):
    """A fixed name for a commit."""

    name: str = Field(examples=["v1"], max_length=1000)
    commit: str = Field(description="as for `as_of`", examples=["head"], max_length=1000)


class AclBody(Body):
    """Who may see a document, beside the admins of its collection."""

    groups: Groups = Field(description="members of one of them; [] opens it to everyone", examples=[["hr"]], max_length=MAX_GROUPS)


class FeedbackBody(Body):
    """What a person thought of an answer."""

    thumb: Literal[1, -1] | None = Field(default=None, description="up or down")
    score: float | None = Field(default=None, ge=0, le=1)
    comment: str = Field(default="", max_length=10_000)
    tags: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default=[], max_length=20)

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackBody:
        if self.thumb is None and self.score is None and not self.comment and not self.tags:
            raise ValueError("give a thumb, a score, a comment or tags")
        return self


class MetadataByPath(RootModel[dict[str, Metadata]]):
    """The `metadata` field of a multipart body: metadata by the path (filename) of its part."""

    model_config = ConfigDict(strict=True)
