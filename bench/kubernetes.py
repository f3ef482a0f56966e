"""On a real cluster: `python -m bench.kubernetes [GROUP ...]`, results in bench/results/kubernetes.json.

Groups: `cluster` runs the cluster tests on what is cached and reads their figures, `manifests` scans the charts, `cold` runs the cluster tests
with nothing cached (Go modules and builds, images, base system): about 40 minutes.
"""

from __future__ import annotations

import sys

from bench.runner import run

GROUPS = ("manifests", "cold", "cluster")

if __name__ == "__main__":
    sys.exit(run("kubernetes", GROUPS, sys.argv[1:]))
