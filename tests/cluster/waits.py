"""Waits with a limit that say, when it is hit, why what was waited for is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from scripts.why_not_ready import why as troubles
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError, Hopeless, tail

_PAUSE = 0.2  # seconds between two looks


def wait_for(
    description: str, probe: Callable[[], object], limit: float, *, why: Callable[[], Sequence[str]] = tuple, pause: float = _PAUSE
) -> float:
    """Seconds until `probe` was true. A `ClusterError` of the probe counts as "not yet".

    Raises `Hopeless` when the probe does, and `ClusterError` after `limit` seconds, with the reasons that `why` finds.
    """
    began = time.monotonic()
    last = ""
    while True:
        try:
            if probe():
                return time.monotonic() - began
            last = ""
        except Hopeless:
            raise
        except ClusterError as error:
            last = str(error)
        if time.monotonic() - began > limit:
            break
        time.sleep(pause)
    reasons = [*([last] if last else []), *why()]
    raise ClusterError("\n  ".join([f"Waited {limit:.0f} s for {description}, in vain.", *reasons]))


def reasons(kubectl: Kubectl, namespace: str) -> list[str]:
    """Why a namespace is not ready: sentences, then its last events, then the last lines of each pod that is not ready."""
    found = list(troubles(namespace, kubectl.command()))
    place = ("--namespace", namespace)
    try:
        events = kubectl("get", "events", *place, "--sort-by=.lastTimestamp", "--no-headers")
        found += [f"event: {line}" for line in tail(events, 15).splitlines()]
        for pod in kubectl.json("get", "pods", *place)["items"]:
            if not all(each.get("ready") for each in pod["status"].get("containerStatuses", [{}])):
                name = pod["metadata"]["name"]
                log = kubectl("logs", *place, name, "--all-containers", "--prefix", "--tail=20", "--ignore-errors")
                found += [f"log: {line}" for line in log.splitlines()]
    except ClusterError as error:  # no reason to hide the others
        found.append(str(error))
    return found
