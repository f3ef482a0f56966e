"""`python -m tests.cluster build|images|up|down|status|test [PYTEST OPTION...]`: the cluster that the tests run on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys

from tests.cluster import builds, cluster, leftovers, node
from tests.cluster.bed import CHOICE, Bed, LocalBed, choose
from tests.cluster.figures import record
from tests.cluster.images import build_images, dockerd
from tests.cluster.layout import REPOSITORY, Layout
from tests.cluster.packages import ensure
from tests.cluster.phases import Phases
from tests.cluster.shell import ClusterError

_COMMANDS = ("build", "images", "up", "down", "status", "test")


def main(arguments: list[str]) -> int:
    """Exit status: 0 all is well, 1 a test failed or the cluster left something behind, 2 the bed itself failed (a sentence says why)."""
    if not arguments or arguments[0] not in _COMMANDS or (len(arguments) > 1 and arguments[0] != "test"):
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _do(arguments[0], arguments[1:])
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the cluster is down.", file=sys.stderr)
        return 130


def _do(command: str, options: list[str]) -> int:
    layout = Layout.default()
    phases = Phases()
    if command in ("build", "images"):
        with phases.phase("build"):
            builds.definitions(layout)
            programs = builds.binaries(layout)
        if command == "images":
            with phases.phase("images"):
                build_images(layout.cache, programs)
        return 0
    bed = choose(layout)
    if command == "up":
        bed.up(phases)
        print(f"The {bed.name} cluster is up: {phases.summary()}. Gateway: {bed.gateway_url}; kubectl: {shlex.join(bed.kubectl.command())}")
    elif command == "down":
        bed.down()
    elif command == "status":
        return _status(bed, layout)
    else:
        return _test(bed, layout, phases, options)
    return 0


def _status(bed: Bed, layout: Layout) -> int:
    if not bed.running():
        print(f"No {bed.name} cluster runs.")
        return 1
    found = node.running(layout) if isinstance(bed, LocalBed) else None
    for sentence in found.ended() if found else []:
        print(sentence)
    print(bed.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide"))
    return 0


def _test(bed: Bed, layout: Layout, phases: Phases, options: list[str]) -> int:
    local = isinstance(bed, LocalBed)
    if local:
        with phases.phase("packages"):
            ensure([*cluster.PACKAGES, *dockerd.PACKAGES])  # before the snapshot: what they install stays
    before = leftovers.snapshot(layout.cache) if local else None
    bed.up(phases)
    try:
        with phases.phase("tests"):
            command = [sys.executable, "-m", "pytest", "-n", "0", "tests/cluster", "--durations=15", *options]
            status = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, CHOICE: bed.name}, check=False).returncode
    finally:
        with phases.phase("down"):
            bed.down()
    left = leftovers.leftovers(before, layout.cache) if before else []
    for line in left:
        print(f"left behind: {line}", file=sys.stderr)
    for name, seconds in phases.taken.items():
        record(f"phase {name}", seconds, "s")
    if local:
        record("left behind by the cluster", len(left), "things")
    print(f"make test-cluster: {phases.summary()}")
    return 1 if status or left else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
