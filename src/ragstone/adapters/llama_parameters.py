"""How llama.cpp's server is set up, in this process or in one of its own."""

from __future__ import annotations

from pathlib import Path

import xllamacpp  # type: ignore[import-untyped]

from ragstone.adapters.container import usable_cpus

_BATCH = 128  # tokens of a prompt read at once; between two of them a closed connection is seen: under a second at 140 tokens a second
_THREADS = 16  # of its HTTP server beside one a slot: requests that wait for a slot, and questions about health
_ERRORS_ONLY = 1  # llama.cpp's verbosity; what it logs at this level holds no text of requests


def parameters(file: Path, name: str, *, context_window: int, slots: int, waiting: int, threads: int | None) -> xllamacpp.CommonParams:
    """All but where it listens. `threads` None: all cores that this process may use."""
    made = xllamacpp.CommonParams()
    made.model.path = str(file)
    made.model_alias = {name}  # else its answers name the file
    made.check_tensors = True
    made.n_ctx = context_window * slots  # divided among the slots
    made.n_parallel = slots
    made.fit_params = False  # it would lower the context window where memory is short, and say so nowhere
    made.n_batch = made.n_ubatch = _BATCH
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = threads or usable_cpus()
    made.cache_ram_mib = 0  # prompts of before, 8 GiB of them by default
    made.n_threads_http = slots + waiting + _THREADS
    made.ui = False
    made.endpoint_slots = False  # would tell prompts
    made.endpoint_metrics = True
    made.offline = True
    made.verbosity = _ERRORS_ONLY
    return made
