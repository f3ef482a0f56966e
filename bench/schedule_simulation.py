"""`python -m bench.schedule_simulation`: how long bulk work takes, and what it costs, by simulating its schedule from measured rates (docs/scaling.md).

Simulated is what `use_cases/bulk.py` and `space_filler.py` do: each collection has one process that cuts a window of chunks, orders it, waits for its shards, and
writes; shards of all collections wait for the same nodes. Some shards are slow (stragglers), some pods are killed, lose their part and are started again.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

_RESULTS = Path(__file__).parent / "results"
_PART = 128  # texts that a kill costs at most, as in `use_cases.bulk`


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured: chunks a second. `embedded`: by one pod of 2 cores. `cut`: and ordered, by one process. `written`: into one collection of Qdrant, by its one writer.

    `start`: seconds until a process has its model loaded.
    """

    embedded: float
    cut: float
    written: float
    start: float


# Where each of them stands: file, name of the row.
SOURCES = {
    "embedded": ("core", "embedder: throughput"),
    "cut": ("models", "bulk path: chunks cut and ordered by one process"),
    "written": ("servers", "Qdrant server: chunks inserted"),
    "start": ("core", "ragstone up to ready, warm, 10 k chunks"),
}


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What was not measured here, each an option of the command. Put in what holds where you are."""

    price_embedding_hour: float = 0.60  # of a node that embeds, in your currency
    price_index_hour: float = 0.50  # of a node that holds the index
    node_cores: int = 16  # of a node that embeds; a pod takes 2
    node_memory: float = 64.0  # GiB, of a node that holds the index
    bytes_a_chunk: float = 2_304.0  # in the index's memory: 384 dimensions of 4 bytes, and half of that for graph and ids
    index_writers: int = 8  # of one such node at once, each at the measured rate: that was measured on 2 cores, and a node has 16
    schedule: float = 20.0  # seconds until a pod's image is there and it is started
    kills: float = 0.02  # of a pod, an hour: nodes that are taken away
    slow: float = 0.05  # share of shards that are stragglers
    slowness: float = 2.0  # how much longer these take


@dataclass(frozen=True, slots=True)
class Plan:
    """`collections`: how many the chunks are spread over. `nodes` embed. `shards` of each window of `window` chunks."""

    chunks: int
    collections: int
    nodes: int
    shards: int
    window: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`hours`: until the last chunk is written. `busy`: share of the nodes' time in which pods ran. `kills`: pods that were started again; `again`: chunks embedded twice."""

    hours: float
    busy: float
    kills: int
    again: int
    index_memory: float  # GiB
    index_nodes: int
    worker_memory: float  # GiB of a window, in each collection's worker
    money: float


PLANS = (
    Plan(10_000_000, 1, 1, 4, 20_000),
    Plan(10_000_000, 1, 4, 32, 20_000),
    Plan(10_000_000, 4, 2, 8, 20_000),
    Plan(10_000_000, 16, 8, 8, 20_000),
    Plan(1_000_000_000, 16, 16, 8, 100_000),
    Plan(1_000_000_000, 64, 32, 8, 100_000),
    Plan(1_000_000_000, 256, 128, 8, 100_000),
)


def measured(directory: Path = _RESULTS) -> Rates:
    """From the results of the benchmarks. Raises `KeyError` for a row that is missing."""
    rows = {
        (suite, row["name"]): float(row["value"])
        for suite in ("core", "servers", "models")
        for row in json.loads((directory / f"{suite}.json").read_text("utf-8"))
    }
    return Rates(**{name: rows[source] for name, source in SOURCES.items()})


def simulate(plan: Plan, rates: Rates, assumed: Assumptions, seed: int = 1) -> Outcome:
    """One run of the plan."""
    dice = random.Random(seed)
    slots = plan.nodes * (assumed.node_cores // 2)
    waiting: deque[tuple[int, float]] = deque()  # shards: collection, chunks
    events: list[tuple[float, int, str, int]] = []  # time, number, what, collection
    left = [plan.chunks // plan.collections] * plan.collections
    left[0] += plan.chunks % plan.collections
    memory = plan.chunks * assumed.bytes_a_chunk / 2**30
    index_nodes = max(1, math.ceil(memory / assumed.node_memory))
    to_write: deque[int] = deque()  # collections
    writing, running, at_work, window = 0, 0, [0] * plan.collections, [0] * plan.collections
    number, now, busy, kills, again = 0, 0.0, 0.0, 0, 0.0

    def later(seconds: float, what: str, collection: int) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (now + seconds, number, what, collection))

    def begin(collection: int) -> None:
        window[collection] = min(plan.window, left[collection])
        if window[collection]:
            later(window[collection] / rates.cut, "ordered", collection)

    for collection in range(plan.collections):
        begin(collection)
    while events:
        now, _, what, collection = heapq.heappop(events)
        if what == "ordered":
            at_work[collection] = plan.shards
            waiting.extend((collection, window[collection] / plan.shards) for _ in range(plan.shards))
        elif what == "embedded":
            running -= 1
            at_work[collection] -= 1
            if not at_work[collection]:
                to_write.append(collection)
        else:
            writing -= 1
            left[collection] -= window[collection]
            begin(collection)
        while to_write and writing < index_nodes * assumed.index_writers:
            writing += 1
            owner = to_write.popleft()
            later(window[owner] / rates.written, "written", owner)
        while waiting and running < slots:
            owner, chunks = waiting.popleft()
            took, died, lost = _shard(chunks, rates, assumed, dice)
            running, busy, kills, again = running + 1, busy + took, kills + died, again + lost
            later(took, "embedded", owner)
    hours = now / 3600
    money = hours * (plan.nodes * assumed.price_embedding_hour + index_nodes * assumed.price_index_hour)
    return Outcome(hours, busy / (now * slots), kills, round(again), memory, index_nodes, plan.window * _CHUNK / 2**30, money)


_CHUNK = 384 * 4 + 200 + 1_000  # bytes in a worker: a vector, its key, a text of 128 tokens with what Python adds


def _shard(chunks: float, rates: Rates, assumed: Assumptions, dice: random.Random) -> tuple[float, int, float]:
    """Seconds, kills, and chunks that were embedded in vain."""
    each = (assumed.slowness if dice.random() < assumed.slow else 1.0) / rates.embedded
    start = assumed.schedule + rates.start
    seconds, kills, again, left = 0.0, 0, 0.0, chunks
    while True:
        lives = dice.expovariate(assumed.kills / 3600) if assumed.kills else math.inf
        if start + left * each <= lives:
            return seconds + start + left * each, kills, again
        done = max(0.0, lives - start) / each
        left -= done // _PART * _PART
        again += done % _PART
        seconds += lives
        kills += 1


def table(rates: Rates, assumed: Assumptions, plans: Sequence[Plan] = PLANS) -> str:
    """Markdown."""
    head = "chunks | collections | nodes that embed | shards a window | window | hours | busy | killed pods | embedded again | index memory | index nodes | window in a worker | money"
    lines = [f"| {head} |", f"|{'---|' * (head.count('|') + 1)}"]
    for plan in plans:
        found = simulate(plan, rates, assumed)
        cells = (
            f"{plan.chunks:,}",
            f"{plan.collections:,}",
            f"{plan.nodes:,}",
            f"{plan.shards}",
            f"{plan.window:,}",
            f"{found.hours:,.1f}",
            f"{found.busy:.0%}",
            f"{found.kills:,}",
            f"{found.again:,}",
            f"{found.index_memory:,.0f} GiB",
            f"{found.index_nodes:,}",
            f"{found.worker_memory:.2f} GiB",
            f"{found.money:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def given(rates: Rates, assumed: Assumptions) -> str:
    """Markdown: what the table was made from."""
    lines = ["| rate | measured | file, row |", "|---|---|---|"]
    lines += [
        f'| `{name}` | {getattr(rates, name):,.4g} | `bench/results/{suite}.json`, "{row}" |' for name, (suite, row) in SOURCES.items()
    ]
    lines += ["", "| assumed | value |", "|---|---|"]
    lines += [f"| `--{one.name.replace('_', '-')}` | {getattr(assumed, one.name):g} |" for one in fields(assumed)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what docs/scaling.md has."""
    parser = argparse.ArgumentParser(description="Hours, memory and money of bulk work, simulated from measured rates.")
    for one in fields(Assumptions):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    for one in fields(Plan):
        parser.add_argument(
            f"--{one.name}", type=int, help="of one plan, in place of those of docs/scaling.md" if one.name == "chunks" else None
        )
    options = vars(parser.parse_args(arguments))
    rates, assumed = measured(), Assumptions(**{one.name: options[one.name] for one in fields(Assumptions)})
    own = {one.name: options[one.name] for one in fields(Plan) if options[one.name] is not None}
    plans = [replace(PLANS[0], **own)] if own else PLANS
    print(given(rates, assumed), table(rates, assumed, plans), sep="\n\n")


if __name__ == "__main__":
    main()
