"""The metrics of the generation service; those of its engine are appended to them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from ragstone.telemetry.metrics import HttpMetrics

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# Adapters count here; `GenerationMetrics` shows it.
ENGINE_RESTARTS = Counter(
    "ragstone_generation_engine_restarts_total", "Times that the engine had to be started again, as it ended or hung.", registry=None
)


class GenerationMetrics(HttpMetrics):
    """Beside requests: how answers ended, how long their first piece took, and the engine's state."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        registry.register(ENGINE_RESTARTS)
        self.answers = Counter(
            "ragstone_generation_answers_total",
            "Answers by how they ended: whole, disconnected, refused (by the engine), failed, late.",
            ("outcome",),
            registry=registry,
        )
        self.first_piece = Histogram(
            "ragstone_generation_first_piece_seconds",
            "Time from a request's body to the first piece of its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.inside = Gauge(
            "ragstone_generation_requests_inside", "Requests with the engine now, those that wait there included.", registry=registry
        )
        self.full = Counter("ragstone_generation_refused_total", "Requests refused with 429.", registry=registry)
        self.ready = Gauge("ragstone_generation_engine_ready", "1 while the engine answers.", registry=registry)
        self.model = Gauge(
            "ragstone_served_model_info", "1 for each model that is served.", ("kind", "name", "version", "digest"), registry=registry
        )
