"""What holds for every test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import it before ragstone.adapters.onnx_session does this


pytest_plugins = [
    "tests.servers.reporting",
    "tests.servers.mongo",
    "tests.servers.nats",
    "tests.servers.lakefs",
    "tests.servers.qdrant",
    "tests.servers.mlflow",
    "tests.servers.embedding_service",
]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands that run in the test's process configure logging for all of it."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
