"""Waits with a limit that say, when it is hit, why what was waited for is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.cluster.shell import ClusterError

_PAUSE = 0.2  # seconds between two looks


def wait_for(
    description: str, probe: Callable[[], object], limit: float, *, why: Callable[[], Sequence[str]] = tuple, pause: float = _PAUSE
) -> float:
    """Seconds until `probe` was true. A `ClusterError` of the probe counts as "not yet".

    Raises `ClusterError` after `limit` seconds, with the reasons that `why` finds.
    """
    began = time.monotonic()
    last = ""
    while True:
        try:
            if probe():
                return time.monotonic() - began
            last = ""
        except ClusterError as error:
            last = str(error)
        if time.monotonic() - began > limit:
            break
        time.sleep(pause)
    reasons = [*([last] if last else []), *why()]
    raise ClusterError("\n  ".join([f"Waited {limit:.0f} s for {description}, in vain.", *reasons]))
