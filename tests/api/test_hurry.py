"""The deadline of a request reaches the stores; what outlives its request has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.routing import Route

from ragstone.domain.deadline import remaining
from ragstone.domain.errors import Unavailable
from ragstone.services.orchestrator.app import create_app
from ragstone.services.orchestrator.hurry import is_unhurried
from ragstone.settings.model import Settings
from ragstone.use_cases.limits import Limits
from tests.api.conftest import FARES, GUIDE, Api, serve
from tests.fakes.catalog import InMemoryCatalog
from tests.fakes.job_queue import InMemoryJobQueue
from tests.fakes.platform import fake_platform

LIMITS = Limits(request_seconds=20)
# Those that take as long as their work is large, or as their client listens. A new route has a deadline unless it is put here.
UNHURRIED = {
    ("POST", "/ingest"),
    ("PUT", "/v1/collections/{collection}/documents/{path}"),
    ("DELETE", "/v1/collections/{collection}"),
    ("POST", "/v1/collections/{collection}/prune"),
    ("POST", "/v1/collections/{collection}/purge"),
    ("GET", "/v1/jobs/{job}/events"),
    ("GET", "/v1/interactions/export"),
    ("POST", "/v1/doctor"),
    ("POST", "/v1/backup"),
}


class Timed(InMemoryCatalog):
    """Notes what is left whenever it is asked something, by the method asked."""

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[str, list[float | None]] = {}

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "left":
            self.left.setdefault(name, []).append(remaining())
        return super().__getattribute__(name)


@pytest.fixture
def catalog() -> Timed:
    return Timed()


@pytest.fixture
async def timed(catalog: Timed, settings: Settings) -> Any:
    async with serve(fake_platform(limits=LIMITS, catalog=catalog), settings) as api:
        await api.ingest(FARES, GUIDE)
        await settled(api)
        catalog.left.clear()
        yield api


async def settled(api: Api) -> None:
    """Nothing goes on after a job."""
    queue = api.platform.adapters.queue
    assert isinstance(queue, InMemoryJobQueue)
    await queue.settled()
    await api.platform.maintenance.idle()


def test_every_route_has_a_deadline_but_those_of_long_work(settings: Settings) -> None:
    routes = [route for route in create_app(fake_platform(), settings).routes if isinstance(route, Route)]
    found = {(method, route.path_format) for route in routes if is_unhurried(route) for method in route.methods or ()}
    assert found == UNHURRIED


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/query", {"collection": "handbook", "question": "What does a bicycle ticket cost?", "as_of": "#1"}),
        ("POST", "/query", {"collection": "handbook", "question": "What does a ticket cost?", "as_of": "#1", "stream": True}),
        ("POST", "/v1/search", {"collection": "handbook", "question": "ticket", "as_of": "#1"}),
        ("GET", "/v1/collections", None),
        ("GET", "/v1/collections/handbook/documents?as_of=%231", None),
        ("GET", "/v1/collections/handbook/documents/fares.txt?as_of=%231", None),
        ("GET", "/v1/collections/handbook/commits", None),
        ("GET", "/v1/collections/handbook/commits/%231/diff/%231", None),
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/models/ragstone/handbook@%231", None),
        ("POST", "/v1/collections/handbook/tags", {"name": "first", "commit": "#1"}),
    ],
)
async def test_what_a_request_has_left_is_what_the_stores_get(timed: Api, catalog: Timed, method: str, path: str, body: Any) -> None:
    answer = await timed.http.request(method, path, json=body)
    assert answer.status_code < 300, answer.text
    asked = [left for each in catalog.left.values() for left in each]
    assert asked
    assert all(left is not None and 0 < left <= LIMITS.request_seconds for left in asked)


@pytest.mark.parametrize("wait", [True, False])
async def test_a_write_has_a_deadline_until_it_is_accepted_and_its_job_none(timed: Api, catalog: Timed, wait: bool) -> None:
    await timed.ingest({"path": "new.txt", "text": "A dog ticket costs one crown."}, wait=wait)
    await settled(timed)
    (accepted,) = catalog.left["accept"]
    assert accepted is not None
    assert LIMITS.request_seconds < accepted <= 10 * LIMITS.request_seconds
    assert catalog.left["publish"] == [None]


async def test_waiting_for_a_job_is_not_cut_short_by_the_deadline_of_accepting_it(timed: Api, catalog: Timed) -> None:
    await timed.http.delete("/v1/collections/handbook/documents/fares.txt")
    assert catalog.left["accept"][0] is not None
    assert catalog.left["job"]
    assert set(catalog.left["job"]) == {None}


async def test_a_request_that_took_too_long_is_unavailable_and_says_when_to_come_back(settings: Settings) -> None:
    class Strict(InMemoryCatalog):
        """As a store behind a `Dependency` is."""

        async def collections(self) -> Any:
            if remaining() == 0.0:
                raise Unavailable("The request took too long; try again, or ask for less.")
            return await super().collections()

    platform = fake_platform(limits=replace(LIMITS, request_seconds=0.0), catalog=Strict())
    async with serve(platform, settings) as api:
        answer = await api.http.get("/v1/collections")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
