"""What a client of a platform does in the behaviour tests, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ragstone.domain.jobs import Delete, Job, JobResult, Move
from ragstone.domain.retrieval import RetrievalSettings
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Found, Question
from tests.support.portrait import Portrait, portrait

PATIENCE = 60.0  # seconds for one job
QUESTIONS = ("when does the ferry leave", "who lights the lamp", "salt")


def text(*paragraphs: str) -> str:
    """A document whose paragraphs are long enough to be chunks of their own."""
    return "\n\n".join(f"{each} {each} {each}." * 12 for each in paragraphs)


@dataclass(frozen=True)
class Client:
    """Of one collection that no other test has."""

    platform: Platform
    collection: str

    @classmethod
    async def of(cls, platform: Platform) -> Client:
        """With a new, empty collection."""
        name = f"c-{uuid4().hex[:10]}"
        await platform.collections.create(name)
        return cls(platform, name)

    async def submit(
        self, documents: dict[str, str], *, deletes: tuple[str, ...] = (), moves: tuple[Move, ...] = (), key: str | None = None
    ) -> Job:
        """A request, acknowledged."""
        uploads = tuple(Upload(path, content.encode(), "text/plain") for path, content in documents.items())
        request = IngestRequest(uploads, tuple(Delete(path) for path in deletes), moves)
        return await self.platform.ingest.submit(self.collection, request, idempotency_key=key)

    async def ingest(self, documents: dict[str, str], *, deletes: tuple[str, ...] = (), moves: tuple[Move, ...] = ()) -> JobResult:
        """A request, published."""
        return await self.published(await self.submit(documents, deletes=deletes, moves=moves))

    async def rollback(self, reference: str) -> JobResult:
        """Back to an earlier commit, published."""
        return await self.published(await self.platform.history.rollback(self.collection, reference))

    async def published(self, job: Job) -> JobResult:
        """The result of a job that has to end in a commit."""
        done = await self.done(job)
        assert done.result is not None
        assert done.state == "published", done.result
        return done.result

    async def done(self, job: Job) -> Job:
        """The job when it has ended."""
        done = await self.platform.ingest.wait(job.id, PATIENCE)
        assert done.result is not None, f"job {job.id} is {done.state} after {PATIENCE:.0f} s"
        return done

    async def search(self, question: str, *, as_of: str | None = None, min_commit: str | None = None, top_k: int = 5) -> Found:
        """The passages of one question."""
        return await self.platform.query.search(
            Question(self.collection, question, as_of=as_of, min_commit=min_commit, retrieval=RetrievalSettings(top_k=top_k))
        )

    async def documents(self, *, as_of: str | None = None, min_commit: str | None = None) -> dict[str, str]:
        """Digests of all documents' bytes, by path."""
        _, page = await self.platform.documents.page(self.collection, as_of=as_of, min_commit=min_commit, limit=1000)
        return {info.path: info.checksum for info in page}

    async def picture(self) -> list[Any]:
        """What every commit shows, oldest first: documents, chunks, searches with their scores."""
        shown: Portrait = await portrait(self.platform, QUESTIONS, only=self.collection)
        commits: list[Any] = shown[self.collection]["commits"]
        return commits

    async def is_sound(self) -> None:
        """The doctor finds nothing in the collection."""
        report = await self.platform.doctor.run(collection=self.collection)
        assert not report.findings, report.findings
