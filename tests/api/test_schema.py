"""The OpenAPI document against the app: generated requests never fail the server, and every answer is as documented."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.api.conftest import FARES, GUIDE
from tests.fakes.platform import fake_platform
from tests.support.server import running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
]
HANDBOOK: Any = {"collection": "handbook", "create": True, "documents": [GUIDE, FARES]}


def document() -> dict[str, Any]:
    return create_app(fake_platform(), Settings(data_dir=Path("data"))).openapi()


REFUSALS = [403, 404, 405, 409, 412, 413, 415, 422]
DOCUMENT = document()
schema = schemathesis.openapi.from_dict(
    DOCUMENT, config=schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
)
OPERATIONS = [f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server in a thread of its own; schemathesis is synchronous."""
    told: list[str] = []
    ready, end = threading.Event(), threading.Event()

    async def serve() -> None:
        platform = fake_platform()
        await platform.start()
        async with running(create_app(platform, Settings(data_dir=Path("data")))) as url:
            told.append(url)
            ready.set()
            await asyncio.to_thread(end.wait)
        await platform.adapters.queue.stop(1)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    yield told[0]
    end.set()
    thread.join()


@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_as_documented(label: str, address: str) -> None:
    """Its requests are made when it runs, not while tests are collected, as `schema.parametrize()` does: for all operations that takes each worker 5 s.
    Nor have its tests ids of their own under pytest 9.2, so that xdist ran a single one.
    """
    load_all_checks()
    method, path = label.split(" ")
    build_operation_test(
        config=schema.config, operation=schema[path][method], test_func=answered, given_kwargs={}, feedback=FeedbackSources()
    )(address=address)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def answered(case: schemathesis.Case[Any], address: str) -> None:
    if case.meta is None or case.meta.generation.mode.is_positive:
        known(case, requests.post(f"{address}/ingest", json=HANDBOOK, timeout=30).json()["job"]["id"])
    answer = case.call(base_url=address, timeout=30)
    if answer.content != b"Invalid HTTP request received.":  # uvicorn's word on headers that are too long: the app never saw it
        case.validate_response(answer, checks=CHECKS)


def known(case: schemathesis.Case[Any], job: str) -> None:
    """Half of the valid requests speak of what is there: made-up names would never get past a 404."""
    if zlib.crc32(repr((case.path_parameters, case.body)).encode(errors="replace")) % 2:
        return
    there = {"collection": "handbook", "job": job, "path": "fares.txt", "reference": "head", "other": "#1", "model": "ragstone/handbook"}
    case.path_parameters.update({name: value for name, value in there.items() if name in case.path_parameters})
    if isinstance(case.body, dict):
        case.body.update({name: value for name, value in there.items() if name in case.body and name in ("collection", "model")})


def test_every_operation_is_documented() -> None:
    paths = document()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            assert {"403", "422", "500"} <= set(operation["responses"]), where
    assert "HTTPValidationError" not in document()["components"]["schemas"]
