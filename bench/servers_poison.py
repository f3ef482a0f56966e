"""Poisoned documents over a real NATS server: one that kills every process that embeds it, one for which the embedder is never there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.rows import Row, row
from tests.servers import nats
from tests.support.poison import Outcome, poisoned

TRIES = 5
OTHERS = 20  # documents behind the poison in its collection, and as many in another


async def rows(data: Path) -> list[Row]:
    """Tries until each is a dead letter; what became of the others; the replay after the fix."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "nats").mkdir()
        with nats.serving(home / "nats") as (url, _):
            outcomes: dict[str, Outcome] = {}
            for how in ("kill", "lost"):
                (home / how).mkdir()
                outcomes[how] = await poisoned(home / how, url, how=how, tries=TRIES, others=OTHERS)
    return [
        _tries("poison document that kills its worker: tries until it is in the dead-letter stream", outcomes["kill"], "worker-lost"),
        _tries("poison document that a dependency refuses: tries until it is in the dead-letter stream", outcomes["lost"], "unavailable"),
        row(
            "poison documents: other documents of both collections that were not ingested",
            sum(len(one.accepted - one.published) for one in outcomes.values()),
            "documents",
            "==",
            0,
            sum(len(one.accepted) for one in outcomes.values()),
        ),
        row(
            "poison documents: replays that publish after the fix",
            sum(one.replayed == "published" and one.cured and not one.letters_after for one in outcomes.values()),
            "replays",
            "==",
            2,
            2,
        ),
    ]


def _tries(name: str, outcome: Outcome, code: str) -> Row:
    """Of its one letter; none, or one for another reason, counts as no try."""
    ours = [letter for letter in outcome.letters if letter["code"] == code]
    tries = float(ours[0]["tries"]) if len(outcome.letters) == len(ours) == outcome.in_stream == 1 else 0.0
    reason = ours[0]["error"] if ours else "no letter"
    return row(name, tries, "tries", "==", TRIES, 1, f"{outcome.deaths} processes died, {outcome.seconds:.0f} s; reason: {reason}")
