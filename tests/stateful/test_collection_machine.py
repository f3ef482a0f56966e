"""A collection against a model in plain dicts: ingest, delete, move, rollback, tag, and every read as of every commit."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from ragstone.domain.documents import content_hash
from ragstone.domain.filters import Filter
from ragstone.domain.jobs import Delete, Job, JobState, Move
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.platform import Platform
from tests.support.world import World, embedded_world, fake_world

PATHS = ["a.txt", "b.txt", "b.txt/c.txt", "d/é.txt"]
TEXTS = [
    "The ferry leaves at nine. Bring a coat.",
    "The ferry leaves at ten. Bring a coat.",
    "Lighthouse keepers count every ship.\n\nThe lamp is lit at dusk.",
    "Lighthouse keepers count every ship.\n\nThe lamp is lit at dawn.",
    "The lamp is lit at dusk.",
]
QUESTIONS = ["When does the ferry leave?", "lamp lit dusk", "ship"]


@dataclass
class Version:
    """What the collection was at one commit, and what reads gave then."""

    commit_id: str
    documents: dict[str, str]
    answers: list[list[tuple[str, float, float]]] = field(default_factory=list)


class CollectionMachine(RuleBasedStateMachine):
    """`open_world` is set by the test: the fakes, or the embedded adapters in a temporary directory."""

    open_world = staticmethod(fake_world)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.world: World = self.runner.run(type(self).open_world(self.directory))
        self.versions: list[Version] = []
        self.tags: dict[str, str] = {}
        self.texts_seen: set[str] = set()

    @property
    def platform(self) -> Platform:
        return self.world.platform

    @property
    def head(self) -> dict[str, str]:
        return self.versions[-1].documents if self.versions else {}

    def teardown(self) -> None:
        self.runner.run(self.platform.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def submit(self, request: IngestRequest) -> Job:
        async def run() -> Job:
            job = await self.platform.ingest.submit("docs", request)
            return await self.platform.ingest.wait(job.id, 20)

        return self.runner.run(run())

    def expect(self, job: Job, documents: dict[str, str]) -> None:
        """The job must have led from the head to `documents`."""
        state: JobState = "unchanged" if documents == self.head else "published"
        assert job.state == state, job.result
        assert job.result is not None
        if state == "published":
            assert job.result.commit_id is not None
            self.versions.append(Version(job.result.commit_id, documents))
            self.versions[-1].answers = self.runner.run(self.answers(self.versions[-1].commit_id))
            assert job.result.position == len(self.versions)
            assert job.result.stats.documents == len(documents)

    async def answers(self, commit_id: str) -> list[list[tuple[str, float, float]]]:
        collection = await self.platform.collections.get("docs")
        commit = await self.platform.adapters.catalog.commit("docs", commit_id)
        index = collection.index_name(commit.space_id)
        found = []
        for question in QUESTIONS:
            vector = (await self.platform.embedder.embed_queries([question]))[0]
            candidates = await self.platform.adapters.index.search(
                index, commit.seq, commit.gaps, vector=vector, text=question, filter=Filter(), limit=3, exact=True
            )
            found.append([(candidate.id, candidate.dense, candidate.bm25) for candidate in candidates])
        return found

    @initialize()
    def create(self) -> None:
        self.runner.run(self.platform.collections.create("docs"))

    @rule(documents=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(TEXTS), min_size=1, max_size=3), mirror=st.booleans())
    def ingest(self, documents: dict[str, str], mirror: bool) -> None:
        uploads = tuple(Upload(path, text.encode(), "text/plain") for path, text in documents.items())
        self.expect(self.submit(IngestRequest(uploads, mirror=mirror)), documents if mirror else {**self.head, **documents})

    @rule(path=st.sampled_from(PATHS))
    def delete(self, path: str) -> None:
        job = self.submit(IngestRequest(deletes=(Delete(path),)))
        if path not in self.head:
            assert (job.state, job.result and job.result.status) == ("failed", 404)
        else:
            self.expect(job, {other: text for other, text in self.head.items() if other != path})

    @rule(source=st.sampled_from(PATHS), destination=st.sampled_from(PATHS))
    def move(self, source: str, destination: str) -> None:
        embedded = self.world.embedder.embedded_texts
        job = self.submit(IngestRequest(moves=(Move(source, destination),)))
        if source not in self.head or destination in self.head:
            assert job.state == "failed"
        else:
            moved = {path: text for path, text in self.head.items() if path != source}
            self.expect(job, {**moved, destination: self.head[source]})
            assert self.world.embedder.embedded_texts == embedded

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(self.versions))
        embedded = self.world.embedder.embedded_texts

        async def run() -> Job:
            job = await self.platform.history.rollback("docs", target.commit_id)
            return await self.platform.ingest.wait(job.id, 20)

        self.expect(self.runner.run(run()), target.documents)
        assert self.world.embedder.embedded_texts == embedded

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), name=st.sampled_from(["v1", "v2", "v3"]))
    def tag(self, data: st.DataObject, name: str) -> None:
        if name not in self.tags:
            self.tags[name] = data.draw(st.sampled_from(self.versions)).commit_id
            self.runner.run(self.platform.history.tag("docs", name, self.tags[name]))

    @rule()
    def crash_and_reopen(self) -> None:
        self.world = self.runner.run(self.world.reopen())

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def read_as_of(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.versions) - 1))
        version = self.versions[number]
        names = [version.commit_id, version.commit_id[:12], f"#{number + 1}"]
        names += [tag for tag, commit_id in self.tags.items() if commit_id == version.commit_id]
        reference = data.draw(st.sampled_from(names))

        async def run() -> None:
            snapshot, page = await self.platform.documents.page("docs", as_of=reference)
            assert snapshot.commit_id == version.commit_id
            assert [info.path for info in page] == sorted(version.documents)
            for path, text in version.documents.items():
                _, document = await self.platform.documents.get("docs", path, as_of=reference)
                assert document.content.decode() == text
                _, chunks = await self.platform.documents.chunks("docs", path, as_of=reference)
                assert [document.extracted.text[chunk.start : chunk.end] for chunk in chunks] == [chunk.text for chunk in chunks]
                assert "".join("".join(chunk.text for chunk in chunks).split()) == "".join(text.split())
            assert await self.answers(version.commit_id) == version.answers

        self.runner.run(run())

    @invariant()
    def every_text_was_embedded_once(self) -> None:
        assert len(set(self.world.embedder.passages)) == len(self.world.embedder.passages) == self.world.embedder.embedded_texts

    @invariant()
    def head_holds_nothing_deleted(self) -> None:
        if self.versions:
            assert {chunk for answer in self.versions[-1].answers for chunk, _, _ in answer} or not self.head


def _run(open_world: Callable[[Path], Awaitable[World]], examples: int, steps: int) -> None:
    machine = type("Machine", (CollectionMachine,), {"open_world": staticmethod(open_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
        ),
    )


def test_fakes_behave_like_the_model() -> None:
    _run(fake_world, examples=50, steps=25)


def test_embedded_adapters_behave_like_the_model() -> None:
    _run(embedded_world, examples=10, steps=18)


def test_content_hash_covers_headings() -> None:
    assert content_hash(("A",), "text") != content_hash(("B",), "text")
