"""What a server logs where nobody watches a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from ragstone.cli.logged import configure
from ragstone.cli.output import Output


def test_a_server_says_which_version_serves_from_now_on(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    configure(Output()).note("Stopping.")
    logging.getLogger("ragstone.use_cases.alias_follower").info("models:/m@champion is models:/m/2 now")
    logging.getLogger("ragstone.use_cases.housekeeping").info("swept")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["Stopping.", "models:/m@champion is models:/m/2 now"]
