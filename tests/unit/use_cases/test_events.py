"""What is told of commits, to whom it is handed on, and that it fits the documented schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from jsonschema import ValidationError

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.documents import checksum
from ragstone.domain.errors import Conflict, Unavailable
from ragstone.domain.jobs import Delete, Restore
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import events
from ragstone.use_cases.commit_relay import CommitRelay
from ragstone.use_cases.events import Events
from ragstone.use_cases.platform import Platform
from tests.fakes.event_publisher import InMemoryEventPublisher
from tests.support.event_schemas import check, validator
from tests.support.world import fake_world


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    world = await fake_world(tmp_path)
    await world.platform.collections.create("docs", "english", "")
    yield world.platform
    await world.end(world.platform)


def texts(**documents: str) -> IngestRequest:
    return IngestRequest(tuple(Upload(f"{name}.txt", text.encode(), "text/plain") for name, text in documents.items()))


async def ingest(platform: Platform, request: IngestRequest, collection: str = "docs") -> None:
    job = await platform.ingest.submit(collection, request)
    await platform.ingest.wait(job.id, 5.0)


async def change(platform: Platform, asked: Delete | Restore) -> None:
    job = await platform.ingest.submit_change("docs", asked, "")
    await platform.ingest.wait(job.id, 5.0)


def relay(platform: Platform, publisher: InMemoryEventPublisher, holder: str = "one") -> CommitRelay:
    return CommitRelay(platform.adapters.catalog, "events", Events(platform.adapters.versions, publisher).publish, holder)


async def test_every_commit_is_told_with_each_document_that_it_changed(platform: Platform) -> None:
    publisher = InMemoryEventPublisher()
    await ingest(platform, texts(a="One.", b="Two."))
    await ingest(platform, texts(b="Two, changed.", c="Three."))
    await change(platform, Delete("a.txt"))
    assert await relay(platform, publisher).turn() == 3
    told = [(event.type, event.data["position"], event.data.get("path"), event.data.get("change")) for event in publisher.events]
    assert told == [
        ("document.changed", 1, "a.txt", "added"),
        ("document.changed", 1, "b.txt", "added"),
        ("commit.published", 1, None, None),
        ("document.changed", 2, "b.txt", "changed"),
        ("document.changed", 2, "c.txt", "added"),
        ("commit.published", 2, None, None),
        ("document.changed", 3, "a.txt", "removed"),
        ("commit.published", 3, None, None),
    ]
    assert [event.data["document_events"] for event in publisher.events if event.type == "commit.published"] == [2, 2, 1]
    assert publisher.events[3].data["checksum"] == checksum(b"Two, changed.")
    for event in publisher.events:
        check(event.envelope())


async def test_a_rollback_tells_what_it_brings_back(platform: Platform) -> None:
    publisher = InMemoryEventPublisher()
    await ingest(platform, texts(a="One."))
    await change(platform, Delete("a.txt"))
    first = (await platform.adapters.catalog.commit_at_position("docs", 1)).id
    await change(platform, Restore(first))
    await relay(platform, publisher).turn()
    assert [(event.data["path"], event.data["change"]) for event in publisher.events if event.type == "document.changed"] == [
        ("a.txt", "added"),
        ("a.txt", "removed"),
        ("a.txt", "added"),
    ]
    assert len({event.id for event in publisher.events}) == len(publisher.events)


async def test_each_commit_is_told_once_and_the_same_again_after_a_crash(platform: Platform) -> None:
    publisher = InMemoryEventPublisher()
    await ingest(platform, texts(a="One."))
    assert await relay(platform, publisher).turn() == 1
    assert await relay(platform, publisher).turn() == 0
    [collection], [commit] = await platform.adapters.catalog.collections(), await platform.adapters.catalog.commits("docs")
    before = len(publisher.events)
    await Events(platform.adapters.versions, publisher).publish(collection, commit)  # the cursor did not move in time
    assert len(publisher.calls) == 4
    assert len(publisher.events) == before


async def test_many_documents_are_told_of_page_by_page(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_PAGE", 3)
    publisher = InMemoryEventPublisher()
    await ingest(platform, texts(**{f"n{n}": f"Note {n}." for n in range(7)}))
    await relay(platform, publisher).turn()
    assert publisher.calls == [3, 3, 1, 1]
    assert publisher.events[-1].data["document_events"] == 7


async def test_a_commit_whose_difference_is_gone_is_told_without_it(platform: Platform) -> None:
    publisher = InMemoryEventPublisher()
    await ingest(platform, texts(a="One."))
    await ingest(platform, texts(a="Two."))
    [collection] = await platform.adapters.catalog.collections()
    head = await platform.adapters.catalog.head("docs")
    assert head is not None
    await platform.adapters.versions.collect(collection.uid, [head.id])  # as prune does
    await relay(platform, publisher).turn()
    assert [(event.type, event.data["document_events"]) for event in publisher.events] == [
        ("commit.published", None),
        ("commit.published", None),
    ]
    check(publisher.events[0].envelope())


async def test_one_process_relays_at_a_time(platform: Platform) -> None:
    publisher = InMemoryEventPublisher()
    await ingest(platform, texts(a="One."))
    assert await platform.adapters.catalog.hold("events", "other", 60.0)
    assert await relay(platform, publisher).turn() == 0
    await platform.adapters.catalog.let_go("events", "other")
    assert await relay(platform, publisher).turn() == 1


async def test_a_damaged_collection_holds_up_no_other_but_a_broker_that_is_away_all(platform: Platform) -> None:
    await platform.collections.create("more", "english", "")
    await ingest(platform, texts(a="One."))
    await ingest(platform, texts(a="One."), "more")
    handed: list[str] = []
    failure: Exception = Conflict("the repository was rewritten.")

    async def consume(collection: Collection, commit: Commit) -> None:
        if collection.name == "docs":
            raise failure
        handed.append(collection.name)

    relay = CommitRelay(platform.adapters.catalog, "events", consume, "one")
    await relay.turn()
    assert handed == ["more"]
    failure = Unavailable("away")
    with pytest.raises(Unavailable):
        await relay.turn()


def test_the_schemas_can_refuse() -> None:
    removed = {"collection": "a", "collection_uid": "u", "commit": "c", "seq": 1, "position": 1, "path": "p", "change": "removed"}
    nothing = {"checksum": None, "size": None, "media_type": None}
    validator("document.changed").validate(removed | nothing)
    with pytest.raises(ValidationError):
        validator("document.changed").validate(removed | nothing | {"checksum": "0" * 64})
    with pytest.raises(ValidationError):
        validator("document.changed").validate(removed | nothing | {"change": "added"})
