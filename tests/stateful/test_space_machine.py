"""Spaces against a model in plain dicts: ingests, rollbacks, prunes and purges between the batches of a build, switches both ways, builds given up."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from ragstone.domain.errors import Conflict, Gone, NotFound
from ragstone.domain.filters import Filter
from ragstone.domain.jobs import Delete, Job
from ragstone.domain.retention import Keep
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.platform import Platform
from tests.support.world import World, embedded_world, fake_world

PATHS = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"]
TEXTS = ["The ferry leaves at nine.", "The ferry leaves at ten.", "Bring a coat.\n\nThe lamp is lit at dusk.", "The lamp is lit at dawn."]


@dataclass
class Version:
    """What the collection was at one position, and in which space it is read (a model's revision)."""

    commit_id: str
    documents: dict[str, str]
    revision: str
    pruned: bool = False
    dropped: bool = False  # its space was, so it is not searched any more, also when that is built again


class SpaceMachine(RuleBasedStateMachine):
    """`open_world` is set by the test. Batches are of two documents, and nothing waits for a grace period."""

    open_world = staticmethod(fake_world)

    def __init__(self) -> None:
        super().__init__()
        self.patches = ExitStack()
        self.patches.enter_context(mock.patch("ragstone.use_cases.platform.GRACE", 0.0))
        self.patches.enter_context(mock.patch("ragstone.use_cases.space_filler._DOCUMENTS", 2))
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.world: World = self.runner.run(type(self).open_world(self.directory))
        self.versions: list[Version] = []
        self.registered = {"1"}

    @property
    def platform(self) -> Platform:
        return self.world.platform

    @property
    def head(self) -> dict[str, str]:
        return self.versions[-1].documents if self.versions else {}

    @property
    def revision(self) -> str:
        return self.versions[-1].revision if self.versions else "1"

    def teardown(self) -> None:
        self.runner.run(self.platform.close())
        self.runner.close()
        shutil.rmtree(self.directory)
        self.patches.close()

    async def done(self, job: Job) -> Job:
        return await self.platform.ingest.wait(job.id, 20)

    def expect(self, job: Job, documents: dict[str, str]) -> None:
        assert job.result is not None
        if documents == self.head:
            assert job.state == "unchanged", job.result
            return
        assert job.state == "published", job.result
        assert job.result.commit_id is not None
        self.versions.append(Version(job.result.commit_id, documents, self.revision))
        assert (job.result.position, job.result.stats.documents) == (len(self.versions), len(documents))

    @initialize()
    def create(self) -> None:
        async def run() -> None:
            await self.platform.builder.stop()
            await self.platform.collections.create("docs")

        self.runner.run(run())

    @rule(documents=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(TEXTS), min_size=1, max_size=4), mirror=st.booleans())
    def ingest(self, documents: dict[str, str], mirror: bool) -> None:
        async def run() -> Job:
            uploads = tuple(Upload(path, text.encode(), "text/plain") for path, text in documents.items())
            return await self.done(await self.platform.ingest.submit("docs", IngestRequest(uploads, mirror=mirror)))

        self.expect(self.runner.run(run()), documents if mirror else {**self.head, **documents})

    @precondition(lambda self: self.head)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.head)))

        async def run() -> Job:
            return await self.done(await self.platform.ingest.submit("docs", IngestRequest(deletes=(Delete(path),))))

        self.expect(self.runner.run(run()), {other: text for other, text in self.head.items() if other != path})

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from([version for version in self.versions if not version.pruned]))

        async def run() -> Job:
            return await self.done(await self.platform.history.rollback("docs", target.commit_id))

        self.expect(self.runner.run(run()), target.documents)

    @precondition(lambda self: self.versions)
    @rule(last=st.integers(1, 3))
    def prune(self, last: int) -> None:
        self.runner.run(self.platform.retention.prune("docs", Keep(last=last)))
        for version in self.versions[:-last]:
            version.pruned = True

    @precondition(lambda self: self.head)
    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.head)))
        self.runner.run(self.platform.erasure.purge("docs", path))
        for version in self.versions:
            version.documents = {other: text for other, text in version.documents.items() if other != path}
        head = self.runner.run(self.platform.adapters.catalog.head("docs"))
        assert head is not None
        self.versions.append(Version(head.id, self.head, self.revision))
        assert head.position == len(self.versions)

    @precondition(lambda self: self.versions)
    @rule(back=st.booleans(), whole=st.booleans())
    def start(self, back: bool, whole: bool) -> None:
        """Another model than the head's; `back`: whichever is the first one; `whole`: built at once."""
        identity = self.world.embedder.identity if back else self.world.other.identity

        async def run() -> str | None:
            status = await self.platform.reembedding.start("docs", model=identity.digest)
            return status.space.model.revision

        try:
            assert self.runner.run(run()) not in (self.revision, None)
        except Conflict:
            assert identity.revision in self.registered
        else:
            self.registered.add(identity.revision)
        if whole:
            self.build()

    @rule()
    def step(self) -> None:
        self.runner.run(self.platform.builder.tend())

    @rule()
    def build(self) -> None:
        async def run() -> None:
            while await self.platform.builder.tend():
                pass

        self.runner.run(run())

    @precondition(lambda self: self.versions)
    @rule(back=st.booleans())
    def switch(self, back: bool) -> None:
        revision = "1" if back else "2"

        async def run() -> Job | None:
            for status in await self.platform.reembedding.status("docs"):
                if status.space.model.revision == revision and status.state in ("ready", "old"):
                    return await self.done(await self.platform.reembedding.switch("docs", status.space.id))
            return None

        job = self.runner.run(run())
        if job is not None:
            assert job.state == "published", job.result
            assert job.result is not None
            assert job.result.stats.documents == len(self.head)
            self.versions.append(Version(self.versions[-1].commit_id, self.head, revision))
            assert job.result.position == len(self.versions)

    @precondition(lambda self: self.versions)
    @rule(first=st.booleans(), force=st.booleans(), again=st.booleans())
    def drop(self, first: bool, force: bool, again: bool) -> None:
        """`again`: what was dropped is built once more."""
        revision = "1" if first else "2"
        kept = {version.revision for version in self.versions if not version.pruned and not version.dropped}
        needed = {self.revision} if force else kept | {self.revision}

        async def run() -> bool:
            for status in await self.platform.reembedding.status("docs"):
                if status.space.model.revision == revision and status.state != "dropped":
                    await self.platform.reembedding.drop("docs", status.space.id, force=force)
                    return True
            return False

        try:
            dropped = self.runner.run(run())
        except Conflict:
            assert revision in needed
        else:
            assert not dropped or revision not in needed
            self.registered.discard(revision)
            for version in self.versions:
                version.dropped |= dropped and version.revision == revision
            self.step()
            if again and dropped:
                self.start(back=first, whole=True)

    @precondition(lambda self: self.versions)
    @rule(force=st.booleans(), again=st.booleans())
    def replace(self, force: bool, again: bool) -> None:
        """All of it: the other space is built and switched to, and the one of before dropped."""
        back = self.revision == "2"
        self.start(back=back, whole=True)
        self.build()
        self.switch(back=back)
        self.drop(first=not back, force=force, again=again)

    @rule()
    def crash_and_reopen(self) -> None:
        self.world = self.runner.run(self.world.reopen())
        self.runner.run(self.platform.builder.stop())

    @precondition(lambda self: self.versions)
    @rule()
    def doctor(self) -> None:
        assert self.runner.run(self.platform.doctor.run()).findings == ()

    @invariant()
    def each_commit_is_read_whole_from_one_space(self) -> None:
        self.runner.run(self.read())

    async def read(self) -> None:
        for position, version in enumerate(self.versions, 1):
            reference = "head" if position == len(self.versions) else f"#{position}"
            if version.pruned or version.dropped:
                try:
                    await self.platform.snapshots.resolve("docs", reference)
                except (Gone, NotFound):
                    pass
                else:
                    raise AssertionError(f"{reference} was pruned, or its space dropped")
                if not version.pruned:
                    _, page = await self.platform.documents.page("docs", as_of=reference)
                    assert {info.path for info in page} == version.documents.keys()
                continue
            collection, snapshot = await self.platform.snapshots.resolve("docs", reference)
            assert collection.space(snapshot.space_id).model.revision == version.revision
            name, index = collection.index_name(snapshot.space_id), self.platform.adapters.index
            chunks = await index.visible(name, snapshot.seq, snapshot.gaps, PATHS)
            assert len(chunks) == await index.count_visible(name, snapshot.seq, snapshot.gaps)
            texts: dict[str, str] = {}
            for chunk in chunks:
                texts[chunk.path] = f"{texts[chunk.path]}\n\n{chunk.text}" if chunk.path in texts else chunk.text
            assert {path: text.split() for path, text in texts.items()} == {path: text.split() for path, text in version.documents.items()}
        if self.versions:
            model = self.world.embedder if self.revision == "1" else self.world.other
            vector = (await model.embed_queries(["ferry at nine"]))[0]
            collection, snapshot = await self.platform.snapshots.resolve("docs")
            found = await self.platform.adapters.index.search(
                collection.index_name(snapshot.space_id),
                snapshot.seq,
                snapshot.gaps,
                vector=vector,
                text="ferry at nine",
                filter=Filter(),
                limit=3,
                exact=True,
            )
            assert bool(found) == bool(self.head)


def _run(open_world: Callable[[Path], Awaitable[World]], examples: int, steps: int) -> None:
    machine = type("Machine", (SpaceMachine,), {"open_world": staticmethod(open_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
        ),
    )


def test_spaces_of_the_fakes_behave_like_the_model() -> None:
    _run(fake_world, examples=60, steps=30)


def test_spaces_of_the_embedded_adapters_behave_like_the_model() -> None:
    _run(embedded_world, examples=6, steps=20)
