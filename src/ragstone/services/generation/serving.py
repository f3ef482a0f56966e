"""What the routes share: the engines, the bounds, and how an answer names its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragstone.domain.errors import Unavailable
from ragstone.ports.generation_engine import GenerationEngine
from ragstone.services.generation.engine_slot import EngineSlot
from ragstone.services.orchestrator.gate import Gate
from ragstone.settings.model import Settings
from ragstone.telemetry.generation_metrics import GenerationMetrics
from ragstone.use_cases.alias_follower import Following

_FEW = 3  # answers at once whose pieces come as often as the settings say
_LONGEST_PIECE = 0.25  # seconds, however many there are


@dataclass(slots=True)
class Serving:
    """Built once. `gate` bounds what is with the engines, each of which queues by itself what it does not make at once. `stopping`: no new work is wanted.
    `inside`: requests that are with the engines now.

    The engine is replaced by `swap` of `engines`; each answer keeps the one that it began with.
    """

    settings: Settings
    engines: EngineSlot
    metrics: GenerationMetrics
    gate: Gate
    followers: Sequence[Following] = ()
    stopping: bool = False
    inside: int = 0

    def entered(self) -> None:
        """One more request is with the engines."""
        self.inside += 1
        self.metrics.inside.set(self.inside)

    def left(self) -> None:
        """One fewer is."""
        self.inside -= 1
        self.metrics.inside.set(self.inside)

    @property
    def piece_seconds(self) -> float:
        """Of a stream that begins now: tokens that come within so many are sent together.

        A piece costs the same whatever it holds, and on a CPU the engine wants the cores; of many answers at once each gets its tokens so slowly that
        nothing would come together. So the more there are, the longer a piece may take.
        """
        wanted = self.settings.generation_service.piece_seconds
        return max(wanted, min(wanted * self.inside / _FEW, _LONGEST_PIECE))

    @property
    def engine(self) -> GenerationEngine:
        """The one that new requests get."""
        return self.engines.now

    async def check(self) -> None:
        """Raises `Unavailable` with what is wrong."""
        if self.stopping:
            raise Unavailable("Not ready: it is stopping.", field="server", retry_after=5.0)
        await self.engine.check()

    async def tell(self) -> None:
        """Into the metrics: the engine's state, and what is served."""
        try:
            await self.engine.check()
            self.metrics.ready.set(1)
        except Unavailable:
            self.metrics.ready.set(0)
        model = self.engine.model
        self.metrics.model.clear()
        self.metrics.model.labels("generator", model.name, model.version, model.digest).set(1)

    def problems(self) -> list[dict[str, str]]:
        """Why the model is not what its alias means, as `/readyz` tells it."""
        return [{"part": "model", "reason": each.problem} for each in self.followers if each.problem is not None]


def headers_of(engine: GenerationEngine) -> dict[str, str]:
    """Of each answer: which model made it."""
    model = engine.model
    safe = model.name if model.name.isascii() and model.name.isprintable() else model.name.encode("unicode_escape").decode()
    return {"X-Ragstone-Model": safe, "X-Ragstone-Model-Version": model.version, "X-Ragstone-Model-Digest": model.digest}


def new_serving(settings: Settings, engine: GenerationEngine) -> Serving:
    """Around an engine."""
    own = settings.generation_service
    return Serving(settings, EngineSlot(engine, own.running), GenerationMetrics(), Gate(own.running + own.waiting, 0))
