"""What `ragstone up` says where nobody watches a terminal: one JSON log line a remark."""

from __future__ import annotations

import logging
import sys

from ragstone.cli.output import Output
from ragstone.telemetry.logging import configure_logging

_log = logging.getLogger("ragstone.up")


class LoggedOutput(Output):
    """Remarks and errors become log lines on stderr; results on stdout stay as they are."""

    def note(self, text: str) -> None:
        if not self.quiet:
            _log.info(text)

    def warn(self, text: str) -> None:
        _log.error(text)


def configure(output: Output) -> Output:
    """Sets up logging for a server; `output` itself on a terminal, else one that logs."""
    configure_logging("WARNING")
    for name in ("ragstone.up", "ragstone.use_cases.alias_follower"):  # what a server says of itself, and which version serves from now on
        logging.getLogger(name).setLevel(logging.INFO)
    return output if sys.stderr.isatty() else LoggedOutput(json_mode=output.json_mode, quiet=output.quiet)


def told_ready(facts: dict[str, object]) -> None:
    """The log line of a server that answers from now on."""
    _log.info("ready", extra=facts)
