"""`python -m tests.crash`: the whole matrix, the kills and the zombie writer."""

from __future__ import annotations

import argparse
import logging
import sys

from tests.crash import kills, matrix
from tests.crash.cells import cells


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if asked.kills:
        print(kills.run(asked.seed, asked.kills, told=lambda line: print(line, flush=True)))
        return 0
    wanted = [cell for cell in cells() if asked.only in str(cell)][:: asked.every]
    result = matrix.run(wanted, told=lambda line: print(line, flush=True))
    print(result.cells, result.converged, len(result.names), round(result.seconds, 1))
    return int(result.converged < result.cells)


if __name__ == "__main__":
    sys.exit(main())
