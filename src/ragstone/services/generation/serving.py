"""What the routes share: the engine, the bounds, and how an answer names its model."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.domain.errors import Unavailable
from ragstone.ports.generation_engine import GenerationEngine
from ragstone.services.orchestrator.gate import Gate
from ragstone.settings.model import Settings
from ragstone.telemetry.generation_metrics import GenerationMetrics


@dataclass(slots=True)
class Serving:
    """Built once. `gate` bounds what is with the engine, which queues by itself what it does not make at once. `stopping`: no new work is wanted."""

    settings: Settings
    engine: GenerationEngine
    metrics: GenerationMetrics
    gate: Gate
    stopping: bool = False

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

    @property
    def headers(self) -> dict[str, str]:
        """Of each answer: which model made it."""
        model = self.engine.model
        safe = model.name if model.name.isascii() and model.name.isprintable() else model.name.encode("unicode_escape").decode()
        return {"X-Ragstone-Model": safe, "X-Ragstone-Model-Version": model.version, "X-Ragstone-Model-Digest": model.digest}


def new_serving(settings: Settings, engine: GenerationEngine) -> Serving:
    """Around an engine."""
    own = settings.generation_service
    return Serving(settings, engine, GenerationMetrics(), Gate(own.running + own.waiting, 0))
