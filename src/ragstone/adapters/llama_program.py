"""The program of `LlamaProcess`: loads a model, and answers on a Unix socket until it is ended.

Its only argument is JSON: `socket`, and what `llama_parameters.parameters` takes.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import xllamacpp  # type: ignore[import-untyped]

from ragstone.adapters.llama_parameters import parameters


def main(given: dict[str, Any]) -> None:
    """Until SIGTERM, which ends it at once. Ends with status 1 when llama.cpp can't load the file."""
    socket, file = given.pop("socket"), Path(given.pop("file"))
    made = parameters(file, **given)
    made.hostnames = [socket]
    try:
        server = xllamacpp.Server(made)
    except RuntimeError:
        sys.exit(f"{file.name}: llama.cpp can't load it.")
    signal.pause()
    del server


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
