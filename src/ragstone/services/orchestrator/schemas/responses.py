"""Bodies that the API gives. Routes send plain dicts (`views`); these models describe them, and the tests hold both together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[
    str, Field(description="ISO 8601, UTC", json_schema_extra={"format": "date-time"}, examples=["2026-11-01T12:00:00.000000Z"])
]
JobState = Literal["queued", "running", "published", "unchanged", "failed"]
Value = str | bool | int | float | list[str]


class Form(BaseModel):
    """Nothing beside the fields named."""

    model_config = ConfigDict(extra="forbid")


class Failure(Form):
    """A document that was left out, and why."""

    path: str
    code: str
    message: str
    status: int


class Head(Form):
    """Where a collection's head is."""

    id: str
    position: int
    seq: int


class Conflicts(Form):
    """Documents that a request touches and that changed since the commit of its If-Match: how many, and at most 20 of them."""

    paths: list[str]
    count: int


class HeadConflict(Form):
    """Why an If-Match failed."""

    head: Head | None = Field(description="null: the collection is empty")
    conflicts: Conflicts


class Missing(Form):
    """A dependency that does not answer, and why."""

    part: str = Field(examples=["catalog"])
    reason: str


class Problem(Form):
    """RFC 9457 problem details. `type` is stable: `urn:ragstone:problem:<code>`."""

    type: str = Field(examples=["urn:ragstone:problem:not-found"])
    title: str
    status: int
    detail: str = Field(description="what is wrong and what to do about it")
    field: str | None = Field(default=None, description="the request field, file or setting that was wrong")
    failures: list[Failure] | None = None
    head: Head | None = Field(default=None, description="where If-Match failed: the head now")
    conflicts: Conflicts | None = Field(default=None, description="where If-Match failed")
    missing: list[Missing] | None = Field(default=None, description="of /readyz: dependencies that do not answer")
    request_id: str


class Stats(Form):
    """What a commit did, and the collection's totals after it. Null: it would count documents that are kept from the asker."""

    documents_added: int
    documents_changed: int
    documents_removed: int
    chunks_added: int
    chunks_removed: int
    chunks_kept: int
    chunks_embedded: int | None
    chunks_reused: int | None
    documents: int | None
    chunks: int | None


class Commit(Form):
    """A published state of a collection. `position` counts 1, 2, 3 …; `seq` rises with gaps."""

    id: str
    seq: int
    position: int
    parent_id: str | None
    author: str
    message: str
    created_at: Time
    pruned_at: Time | None = Field(description="when the commit was forgotten: it can't be read any more")
    job_id: str
    space_id: str
    stats: Stats | None = Field(description="null: documents of the collection are kept from the asker")


class Snapshot(Form):
    """What a read was answered from."""

    collection: str
    commit_id: str
    seq: int
    position: int
    was_head: bool


class ShardProgress(Form):
    """How far one shard of bulk work is, in texts. `rate`: texts a second."""

    shard: int
    done: int
    total: int
    rate: float
    seconds_left: float | None


class Progress(Form):
    """How far a job is. `rate` in chunks per second. `shards`: of bulk work; they embed before anything is written."""

    phase: Literal["queued", "parsing", "staging", "embedding", "publishing", "done"]
    documents: int
    documents_total: int
    chunks: int
    chunks_total: int
    embedded: int
    reused: int
    rate: float
    seconds_left: float | None
    shards: list[ShardProgress]


class JobResult(Form):
    """What became of a job. With `unchanged`, the commit is the head's; null for the build of a space, which is `unchanged` when the space is ready."""

    outcome: JobState
    commit_id: str | None
    seq: int | None
    position: int | None
    stats: Stats
    failures: list[Failure]
    error_code: str | None
    error: str | None
    status: int
    conflict: HeadConflict | None


class Job(Form):
    """An accepted request for change, or the build of an embedding space."""

    id: str
    collection: str
    number: int = Field(description="in the order in which changes of the collection are made; 0 for a build, which is made beside them")
    state: JobState
    created_at: Time
    finished_at: Time | None
    progress: Progress
    result: JobResult | None
    space_id: str | None = Field(description="the embedding space that is built; null for every other job")


class JobResponse(Form):
    """A job, finished (200) or going on (202)."""

    job: Job


class Plan(Form):
    """What an ingestion would do at the head `commit_id`."""

    commit_id: str | None
    added: list[str]
    changed: list[str]
    removed: list[str]
    chunks_added: int
    chunks_removed: int
    chunks_kept: int
    chunks_to_embed: int | None = Field(description="null: it depends on documents that are kept from the asker")
    failures: list[Failure]


class PlanResponse(Form):
    """The answer to a dry run."""

    plan: Plan


class Explain(Form):
    """A passage's scores and ranks in each list; a rank is null where that list did not hold it. `rerank`: null where it was not reranked."""

    dense: float
    bm25: float
    fused: float
    dense_rank: int | None
    bm25_rank: int | None
    rerank: float | None


class Passage(Form):
    """A retrieved chunk. `start`, `end`: characters of the document's extracted text."""

    rank: int
    score: float
    chunk_id: str
    path: str
    title: str | None
    heading_path: list[str]
    text: str
    start: int
    end: int
    page: int | None
    media_type: str
    metadata: dict[str, Value]
    commit_id: str = Field(description="the commit that introduced the chunk")
    checksum: str
    neighbour_of: str | None
    explain: Explain | None = None


SearchDegraded = Annotated[
    list[Literal["rerank"]],
    Field(description="what the search had to do without; `rerank`: the reranker is down, passages are in the order of their fused scores"),
]


class SearchResponse(Form):
    """Passages, best first. `timings` in milliseconds."""

    passages: list[Passage]
    snapshot: Snapshot
    timings: dict[str, float]
    degraded: SearchDegraded


class Sentence(Form):
    """A sentence of an answer after the citation check."""

    text: str
    markers: list[int]
    supported: bool
    support: float


class Citation(Form):
    """The source of a sentence: `marker` is the number in `[n]`."""

    marker: int
    chunk_id: str
    path: str
    heading_path: list[str]
    start: int
    end: int
    page: int | None
    commit_id: str
    quote: str
    score: float


class Usage(Form):
    """Tokens of the generator."""

    prompt_tokens: int
    completion_tokens: int


class Answer(Form):
    """`abstained`: the collection holds no answer. `grounded`: share of sentences that their passages bear out."""

    text: str
    abstained: bool
    grounded: float
    answerability: float
    sentences: list[Sentence]
    citations: list[Citation]
    usage: Usage


class Release(Form):
    """Everything that shaped the answer. `commit_id` null: it followed the head. `reranker` null: nothing was reranked."""

    id: str
    collection: str
    commit_id: str | None
    space_id: str
    retrieval: dict[str, Any]
    prompt: str
    generator: dict[str, str]
    abstain_below: float
    reranker: dict[str, str] | None


Degraded = Annotated[
    list[Literal["rewriting", "rerank", "generation"]],
    Field(
        description="what the answer had to be made without; `rewriting`: the question could not be rewritten and was asked as it is; `rerank`: the reranker is down, passages are in the order of their fused scores; "
        "`generation`: the generator is down, the answer is made of quotations"
    ),
]


class Rewriting(Form):
    """What became of a question with something before it."""

    question: str | None = Field(description="what was searched for and answered in its place; null: the question as it is")
    prompt: str = Field(description="the template that asked for it, `name/version`")
    turns: int = Field(description="before the question")
    reason: str | None = Field(description="why it was asked as it is")
    failed: bool = Field(description="there is a generator that rewrites, and it did not")


class QueryResponse(Form):
    """An answer with its sources and provenance; `id` is the interaction's."""

    id: str
    answer: Answer
    passages: list[Passage]
    snapshot: Snapshot
    release: Release
    models: dict[str, str]
    timings: dict[str, float]
    logged: Literal["stored", "deferred"] = Field(description="deferred: in a local spool; to be read once the log answers again")
    degraded: Degraded
    rewriting: Rewriting | None = Field(default=None, description="only where `history` was given")


class Collection(Form):
    """A collection with its head's totals."""

    name: str
    uid: str = Field(description="tells apart collections that bore the same name at different times")
    language: str
    description: str
    created_at: Time
    head: Commit | None
    spaces: list[dict[str, Any]]
    documents: int | None = Field(description="null: some are kept from the asker")
    chunks: int | None


class CollectionsResponse(Form):
    """Every collection, in order of name."""

    collections: list[Collection]


class DocumentInfo(Form):
    """A document without its bytes. `checksum`: SHA-256."""

    path: str
    media_type: str
    size: int
    checksum: str
    title: str | None
    metadata: dict[str, Value]


class DocumentsResponse(Form):
    """A page of documents; `next` is the `after` of the next one."""

    documents: list[DocumentInfo]
    next: str | None
    snapshot: Snapshot


class Document(DocumentInfo):
    """A document with its extracted text, which spans refer to."""

    text: str
    parser: str
    snapshot: Snapshot


class Chunk(Form):
    """A chunk as it is indexed."""

    chunk_id: str
    path: str
    heading_path: list[str]
    text: str
    start: int
    end: int
    page: int | None
    content_hash: str
    commit_id: str
    checksum: str


class ChunksResponse(Form):
    """A document's chunks in order."""

    chunks: list[Chunk]
    snapshot: Snapshot


class JobsResponse(Form):
    """A page of jobs, newest first; `next` is the `before` of the next one."""

    jobs: list[Job]
    next: str | None


class Health(Form):
    """The process answers."""

    status: Literal["ok"]


class Readiness(Form):
    """The stores answer too. `degraded`: what does not, and is not needed (generation, rerank, tracking; of a process with an API, the queue)."""

    status: Literal["ready"]
    degraded: list[Missing]


class Info(Form):
    """What runs here. `data_directory` is its name, not its path."""

    version: str
    data_directory: str
    model: dict[str, Any]
    generator: dict[str, str]
    reranker: dict[str, str] | None
    limits: dict[str, int]
    collections: int


class Acl(Form):
    """Who may see a document, beside the admins of its collection: members of one of the groups."""

    path: str
    groups: list[str]


class AclsResponse(Form):
    """A page of them in order of path; `next` is the `after` of the next one."""

    acls: list[Acl]
    next: str | None
