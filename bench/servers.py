"""Many processes: `python -m bench.servers [GROUP ...]`, results in bench/results/servers.json.

Real servers are used where they are reachable (`RAGSTONE_TEST_<NAME>_URL`) or on PATH (`qdrant`, `lakefs`, `mongod`, `weed`); a row whose server is missing
is printed as skipped, with why.
"""

from __future__ import annotations

import sys

from bench.runner import run

GROUPS = (
    "servers_behaviour",
    "servers_delivery",
    "servers_overload",
    "servers_outage",
    "servers_index",
    "servers_isolation",
    "servers_poison",
    "servers_cluster",
)

if __name__ == "__main__":
    sys.exit(run("servers", GROUPS, sys.argv[1:]))
