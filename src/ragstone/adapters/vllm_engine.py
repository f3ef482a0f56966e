"""vLLM's API server as a child process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ragstone.adapters.kept_engine import KeptEngine
from ragstone.adapters.vllm_arguments import VllmOptions, command
from ragstone.adapters.vllm_model_files import check_weights, checked_directory
from ragstone.domain.errors import InvalidInput, NotFound


class VllmEngine(KeptEngine):
    """`GenerationEngine` over a vLLM process; it logs no requests.

    `digest`: that a directory must have. `startup`, `silent` and `environment` as of `KeptEngine`.
    """

    def __init__(
        self,
        options: VllmOptions,
        *,
        python: str = "python3",
        version: str = "",
        digest: str | None = None,
        startup: float = 1_800.0,
        silent: float = 120.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            (options.name, *options.lora),
            version,
            lambda socket: command(python, options, socket),
            lambda: _checked(options, python, digest),
            startup=startup,
            silent=silent,
            environment={"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **(environment or {})},
        )


def _checked(options: VllmOptions, python: str, wanted: str | None) -> str:
    """The digest of a directory; empty for a name at the Hub. Raises `NotFound` (model, program), `InvalidInput` (weights, digest)."""
    for adapter in options.lora.values():
        check_weights(adapter)
    location, digest = Path(options.location), ""
    if location.is_absolute() or location.is_dir():
        digest = checked_directory(location, wanted)
    elif wanted is not None:
        raise InvalidInput(
            "generation_service.digest: a model at the Hub is pinned by its revision, a commit.", field="generation_service.digest"
        )
    if shutil.which(python) is None:
        raise NotFound(f"generation_service.engine.python: there is no program {python!r}.", field="generation_service.engine.python")
    return digest
