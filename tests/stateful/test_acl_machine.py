"""Documents with groups against a model in plain dicts: whatever is written, moved, rolled back or given groups, who sees what, at every commit."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from itertools import combinations
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ragstone.domain.access import Principal, Scope
from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import InteractionFilter
from ragstone.domain.jobs import Delete, Job, Move
from ragstone.domain.retrieval import RetrievalSettings
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.answer import AnswerSettings
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question
from tests.support.world import World, embedded_world, fake_world

PATHS = ["a.txt", "b.txt", "b.txt/c.txt", "d/é.txt"]
GROUPS = ["hr", "ops", "law"]
WORDS = ["ferry", "lamp", "rope", "tide", "crane"]
MEMBERS = [frozenset(chosen) for size in range(len(GROUPS) + 1) for chosen in combinations(GROUPS, size)]
READERS = [Principal("reader-" + "-".join(sorted(groups)), Scope.WRITE, groups=groups) for groups in MEMBERS]
ADMIN = Principal("admin", Scope.ADMIN)
EVERYTHING = RetrievalSettings(top_k=50, candidates=50)
groups_given = st.frozensets(st.sampled_from(GROUPS), max_size=2)


class AclMachine(RuleBasedStateMachine):
    """`open_world` is set by the test: the fakes, or the embedded adapters in a temporary directory."""

    open_world = staticmethod(fake_world)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.world: World = self.runner.run(type(self).open_world(self.directory))
        self.versions: list[dict[str, str]] = []
        self.acls: dict[str, frozenset[str]] = {}
        self.asked: dict[str, frozenset[str]] = {}  # paths by interaction

    @property
    def platform(self) -> Platform:
        return self.world.platform

    def teardown(self) -> None:
        self.runner.run(self.platform.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def sees(self, principal: Principal, path: str) -> bool:
        """The model's word."""
        return principal is ADMIN or not self.acls.get(path) or bool(self.acls[path] & principal.groups)

    def publish(self, work: Coroutine[Any, Any, Job], documents: dict[str, str]) -> None:
        async def run() -> Job:
            return await self.platform.ingest.wait((await work).id, 20)

        job = self.runner.run(run())
        assert job.state in ("published", "unchanged"), job.result
        if job.state == "published":
            self.versions.append(documents)

    @initialize()
    def create(self) -> None:
        self.runner.run(self.platform.collections.create("docs"))
        self.put({"a.txt": "ferry"}, None)

    @rule(
        documents=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(WORDS), min_size=1, max_size=3), groups=st.none() | groups_given
    )
    def put(self, documents: dict[str, str], groups: frozenset[str] | None) -> None:
        # The word is told from the others, the path from every other document's: a passage that leaks can be seen to.
        texts = {path: f"The {word} is at {path}." for path, word in documents.items()}
        uploads = tuple(Upload(path, text.encode(), "text/plain", groups=groups) for path, text in texts.items())
        if groups is not None:
            self.acls |= dict.fromkeys(documents, groups)
        head = self.versions[-1] if self.versions else {}
        self.publish(self.platform.ingest.submit("docs", IngestRequest(uploads), principal=ADMIN), {**head, **texts})

    @rule(path=st.sampled_from(PATHS), groups=groups_given)
    def regroup(self, path: str, groups: frozenset[str]) -> None:
        self.acls[path] = groups
        self.runner.run(self.platform.visibility.change("docs", {path: groups}))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        head = self.versions[-1]
        if len(head) > 1:
            path = data.draw(st.sampled_from(sorted(head)))
            left = {other: text for other, text in head.items() if other != path}
            self.publish(self.platform.ingest.submit("docs", IngestRequest(deletes=(Delete(path),))), left)

    @rule(data=st.data(), destination=st.sampled_from(PATHS))
    def move(self, data: st.DataObject, destination: str) -> None:
        head = self.versions[-1]
        source = data.draw(st.sampled_from(sorted(head)))
        if destination not in head:
            if self.acls.get(source) and not self.acls.get(destination):
                self.acls[destination] = self.acls[source]
            moved = {path: text for path, text in head.items() if path != source} | {destination: head[source]}
            self.publish(self.platform.ingest.submit("docs", IngestRequest(moves=(Move(source, destination),))), moved)

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, len(self.versions)))
        self.publish(self.platform.history.rollback("docs", f"#{number}"), self.versions[number - 1])

    @rule()
    def crash_and_reopen(self) -> None:
        self.world = self.runner.run(self.world.reopen())

    @precondition(lambda self: len(self.asked) < 8)
    @rule(principal=st.sampled_from([ADMIN, *READERS]), word=st.sampled_from(WORDS), data=st.data())
    def ask(self, principal: Principal, word: str, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, len(self.versions)))
        question = Question(
            "docs", f"Where is the {word}?", f"#{number}", retrieval=EVERYTHING, answer=AnswerSettings(abstain=False), principal=principal
        )
        done = self.runner.run(self.platform.query.run(question))
        found = frozenset(passage.chunk.path for passage in done.passages)
        assert found == {path for path in self.versions[number - 1] if self.sees(principal, path)}
        self.asked[done.interaction.id] = found

    @rule(principal=st.sampled_from([ADMIN, *READERS]), data=st.data())
    def look(self, principal: Principal, data: st.DataObject) -> None:
        first, second = (data.draw(st.integers(1, len(self.versions))) for _ in range(2))
        self.runner.run(self.looked(principal, first, second))

    async def looked(self, principal: Principal, first: int, second: int) -> None:
        platform, version = self.platform, self.versions[first - 1]
        collection = await platform.collections.get("docs")
        view = await platform.visibility.view(collection, principal)
        shown = sorted(path for path in version if self.sees(principal, path))
        _, page = await platform.documents.page("docs", as_of=f"#{first}", limit=3, view=view)
        assert [info.path for info in page] == shown[:3]
        for path in PATHS:
            try:
                _, document = await platform.documents.get("docs", path, as_of=f"#{first}", view=view)
                read: str | None = document.content.decode()
            except NotFound:
                read = None
            assert read == (version[path] if path in shown else None)
            _, chunks = await platform.documents.chunks("docs", path, as_of=f"#{first}", view=view)
            assert {chunk.path for chunk in chunks} == ({path} & set(shown))
        commit = await platform.adapters.catalog.commit_at_position("docs", first)
        counted = await platform.adapters.index.count_visible(
            collection.index_name(commit.space_id), commit.seq, commit.gaps, groups=None if principal is ADMIN else principal.groups
        )
        assert counted == len(shown)  # the first barrier alone: a document is one chunk here
        difference = await platform.history.diff("docs", f"#{first}", f"#{second}", view)
        other = self.versions[second - 1]
        differing = sorted(path for path in version.keys() | other.keys() if version.get(path) != other.get(path))
        assert [change.path for change in difference.documents] == [path for path in differing if self.sees(principal, path)]
        assert all(self.sees(principal, chunk.path) for chunk in (*difference.chunks_added, *difference.chunks_removed))
        impact = await platform.impact.run("docs", f"#{first}", f"#{second}", principal=principal)
        assert impact.documents == sum(self.sees(principal, path) for path in differing if path in version)
        logged = await platform.logged.page(InteractionFilter(), principal)
        theirs = {id_ for id_, paths in self.asked.items() if all(self.sees(principal, path) for path in paths)}
        assert {one.id for one in logged} == theirs
        assert {answer.interaction.id for answer in impact.answers} <= theirs
        for id_ in self.asked:
            try:
                await platform.replay.run(id_, principal=principal)
                replayed = True
            except NotFound:
                replayed = False
            assert replayed == (id_ in theirs)
            break
        for one in await platform.logged.page(InteractionFilter(), ADMIN):  # the replay's own
            self.asked.setdefault(one.id, frozenset(passage["path"] for passage in one.passages))


def _run(open_world: Callable[[Path], Awaitable[World]], examples: int, steps: int) -> None:
    machine = type("Machine", (AclMachine,), {"open_world": staticmethod(open_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
        ),
    )


def test_fakes_show_what_the_model_shows() -> None:
    _run(fake_world, examples=40, steps=25)


def test_embedded_adapters_show_what_the_model_shows() -> None:
    _run(embedded_world, examples=6, steps=18)
