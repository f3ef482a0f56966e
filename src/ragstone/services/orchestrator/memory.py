"""Python's cyclic garbage collector, set for a server."""

from __future__ import annotations

import gc

_YOUNG = 20_000  # objects; one question makes some thousands, so that the default of 700 has it run several times in each


def settle() -> None:
    """Call once, when everything is loaded. What lives as long as the process is never looked through again, and the rest less often.

    Measured on /query: a sixth less time (bench/overhead.py). It costs a few megabytes of garbage that waits.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
