"""Logs as they come out."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from ragstone.telemetry.logging import bind_request, configure_logging, unbind_request


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_off_a_terminal_a_record_is_one_json_object() -> None:
    out = io.StringIO()
    configure_logging("INFO", out)
    bind_request("r-1")
    try:
        logging.getLogger("ragstone.http").info("GET %s", "/query", extra={"status": 200})
        structlog.get_logger().warning("disk", left=3)
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("x").exception("failed")
    finally:
        unbind_request()
    logging.getLogger("x").info("after")
    first, second, third, fourth = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["status"], first["request_id"], first["level"], first["logger"]) == (
        "GET /query",
        200,
        "r-1",
        "info",
        "ragstone.http",
    )
    assert (second["event"], second["left"], second["request_id"]) == ("disk", 3, "r-1")
    assert "ValueError" in json.dumps(third)
    assert "request_id" not in fourth


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_tracebacks_hold_no_variables(kind: type[io.StringIO]) -> None:
    out = kind()
    configure_logging("INFO", out)

    def answer(authorization: str) -> None:
        raise ValueError("broken")

    try:
        answer("Bearer s3cr" + "et")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "broken" in out.getvalue()
    assert "s3cret" not in out.getvalue()


def test_on_a_terminal_people_can_read_it_and_levels_hold() -> None:
    out = Terminal()
    configure_logging("WARNING", out)
    logging.getLogger("x").info("quiet")
    structlog.get_logger().info("quiet too")
    structlog.get_logger().warning("loud", left=3)
    assert "quiet" not in out.getvalue()
    assert "loud" in out.getvalue()
    assert not out.getvalue().startswith("{")
