"""`python -m tests.model`: how far the model was exhausted, and the counterexample of each weakened protocol.

Every scenario is run with the jobs, faults and workers asked for; `--counterexamples` prints the traces.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from tests.model.checker import explore
from tests.model.scenarios import COUNTEREXAMPLES, SCENARIOS, put
from tests.model.spaces_model import SpacesModel
from tests.model.spaces_scenarios import LARGE, SPACES_COUNTEREXAMPLES
from tests.model.states import Weakness
from tests.model.write_path import WritePath


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="scenario",
        help=f"{', '.join(SCENARIOS)}; all when none is named",
    )
    parser.add_argument("--jobs", type=int, choices=(2, 3), default=2, help="3 adds a put of d0 to the scenarios of two jobs")
    parser.add_argument("--faults", type=int, help="how many may happen in one run (default: the scenario's own)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--weakened", choices=[weakness.name for weakness in Weakness], help="the protocol with one thing done otherwise")
    parser.add_argument("--limit", type=int, default=1_000_000, help="states; about 1 GB for a million")
    parser.add_argument("--spaces", action="store_true", help="the larger scenarios of the spaces' model instead (ADR 0028)")
    parser.add_argument("--counterexamples", action="store_true", help="print the trace of every weakened protocol, and nothing else")
    asked = parser.parse_args()
    if asked.spaces:
        return _spaces(asked.limit, counterexamples=asked.counterexamples)
    if asked.counterexamples:
        for weakness, (name, faults) in COUNTEREXAMPLES.items():
            outcome = explore(WritePath(replace(SCENARIOS[name], faults=faults), weakness))
            print(f"## {weakness.name}: {weakness} ({name})\n{outcome}\n{outcome.trace}\n")
        return 0
    weaknesses = [Weakness[asked.weakened]] if asked.weakened else []
    if unknown := set(asked.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    violated = 0
    for name in asked.scenarios or SCENARIOS:
        scenario = SCENARIOS[name]
        jobs = (*scenario.jobs, put("a"))[: max(asked.jobs, len(scenario.jobs))]
        faults = scenario.faults if asked.faults is None else asked.faults
        scenario = replace(scenario, jobs=jobs, faults=faults, workers=asked.workers)
        started = time.monotonic()
        outcome = explore(WritePath(scenario, *weaknesses), asked.limit)
        print(
            f"{name}, {len(jobs)} jobs, {faults} faults: {outcome} ({time.monotonic() - started:.0f} s)\n{outcome.trace}".rstrip(),
            flush=True,
        )
        violated |= bool(outcome.broken)
    return violated


def _spaces(limit: int, *, counterexamples: bool) -> int:
    if counterexamples:
        for weakness, scenario in SPACES_COUNTEREXAMPLES.items():
            outcome = explore(SpacesModel(scenario, weakness))
            print(f"## {weakness.name}: {weakness}\n{outcome}\n{outcome.trace}\n")
        return 0
    violated = 0
    for name, scenario in LARGE.items():
        started = time.monotonic()
        outcome = explore(SpacesModel(scenario), limit)
        print(f"{name}: {outcome} ({time.monotonic() - started:.0f} s)\n{outcome.trace}".rstrip(), flush=True)
        violated |= bool(outcome.broken)
    return violated


if __name__ == "__main__":
    raise SystemExit(main())
