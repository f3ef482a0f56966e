"""Every metric in one place. Names begin with `ragstone_` and end with their unit; labels have few values."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# Of the servers that this process calls. Adapters count here; `Metrics` shows them.
DEPENDENCY_CALLS = Histogram(
    "ragstone_dependency_call_duration_seconds",
    "Time of one attempt to call a server, waiting for a free place included, by outcome: answered, failed, refused (not sent).",
    ("dependency", "outcome"),
    buckets=_SECONDS,
    registry=None,
)
DEPENDENCY_RETRIES = Counter("ragstone_dependency_retries_total", "Calls done again after a failure.", ("dependency",), registry=None)
DEPENDENCY_BREAKER = Gauge(
    "ragstone_dependency_breaker_open", "1 while a server is not asked, as it did not answer.", ("dependency",), registry=None
)

# Of models that follow an alias of the registry, by `models:/<name>@<alias>`.
MODEL_VERSION = Gauge("ragstone_model_version", "Version of a registered model that serves now.", ("model",), registry=None)
MODEL_BEHIND = Gauge(
    "ragstone_model_behind", "1 while a model is not known to be what its alias means, or is not.", ("model",), registry=None
)
MODEL_CHANGES = Counter(
    "ragstone_model_changes_total",
    "Looks at an alias that did not find the version that serves, by outcome: changed, refused, failed (tried again), unanswered, overtaken (moved on meanwhile), told (a restart takes it).",
    ("model", "outcome"),
    registry=None,
)


class HttpMetrics:
    """What every process that answers over HTTP measures, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for shared in (DEPENDENCY_CALLS, DEPENDENCY_RETRIES, DEPENDENCY_BREAKER, MODEL_VERSION, MODEL_BEHIND, MODEL_CHANGES):
            self.registry.register(shared)
        self.requests = Histogram(
            "ragstone_http_request_duration_seconds",
            "Time from a request's headers to the end of its response, by route template.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.requests_running = Gauge("ragstone_http_requests_running", "Requests being answered now.", registry=self.registry)
        self._request_children: dict[tuple[str, str, int], Histogram] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request answered. Children are kept: looking one up by its labels takes longer than to observe."""
        key = (method, route, status)
        child = self._request_children.get(key)
        if child is None:
            child = self._request_children[key] = self.requests.labels(method, route, str(status))
        child.observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """Everything in Prometheus's text format, with its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class Metrics(HttpMetrics):
    """The metrics of API and worker."""

    def __init__(self) -> None:
        super().__init__()
        self.query_phases = Histogram(
            "ragstone_query_phase_duration_seconds",
            "Time of one question by phase: rewrite (with a conversation before it), search (embedding the question and reranking included), rerank, generate, total.",
            ("phase",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answers = Counter("ragstone_answers_total", "Questions answered, by outcome.", ("outcome",), registry=self.registry)
        self.answers_degraded = Counter(
            "ragstone_answers_degraded_total",
            "Answers that had to be made without a part: rewriting, rerank, generation.",
            ("part",),
            registry=self.registry,
        )
        self.searches_degraded = Counter(
            "ragstone_searches_degraded_total", "Searches that had to do without a part: rerank.", ("part",), registry=self.registry
        )
        self.interactions_logged = Counter("ragstone_interactions_logged_total", "Interactions stored in the log.", registry=self.registry)
        self.interactions_deferred = Counter(
            "ragstone_interactions_deferred_total",
            "Interactions put into the spool because the log did not take them.",
            registry=self.registry,
        )
        self.interactions_spooled = Gauge(
            "ragstone_interactions_spooled", "Interactions that wait in the spool now.", registry=self.registry
        )
        self.audit_left_out = Counter(
            "ragstone_audit_refusals_left_out_total",
            "Refused requests of nobody known that came too fast for an audit entry each.",
            registry=self.registry,
        )
        self.allowances_used = Counter(
            "ragstone_allowances_used_total",
            "Requests refused because their principal had used what it may, by allowance.",
            ("allowance",),
            registry=self.registry,
        )
        self.allowances_uncounted = Counter(
            "ragstone_allowances_uncounted_total",
            "Requests that passed uncounted because usage could not be counted.",
            registry=self.registry,
        )
        self.queries_waiting = Gauge("ragstone_queries_waiting", "Questions that wait for a free place.", registry=self.registry)
        self.jobs = Counter("ragstone_jobs_total", "Jobs finished since this process began, by state.", ("state",), registry=self.registry)
        self.jobs_pending = Gauge("ragstone_jobs_pending", "Jobs accepted and not finished.", ("collection",), registry=self.registry)
        self.chunks_embedded = Counter("ragstone_chunks_embedded_total", "Chunks that went through the model.", registry=self.registry)
        self.chunks_reused = Counter(
            "ragstone_chunks_reused_total", "Chunks written with a vector that was known before.", registry=self.registry
        )
        self.documents = Gauge("ragstone_collection_documents", "Documents at the head.", ("collection",), registry=self.registry)
        self.chunks = Gauge("ragstone_collection_chunks", "Chunks at the head.", ("collection",), registry=self.registry)
        self.head_position = Gauge("ragstone_collection_head_position", "Position of the head.", ("collection",), registry=self.registry)

        self._phase_children: dict[str, Histogram] = {}

    def answered(self, timings: dict[str, float], logged: str, *, abstained: bool, degraded: Iterable[str] = ()) -> None:
        """One question, with its `timings` in milliseconds by phase, `logged` as stored or deferred, and the parts that it was made without."""
        self.answers.labels("abstained" if abstained else "answered").inc()
        for part in degraded:
            self.answers_degraded.labels(part).inc()
        (self.interactions_logged if logged == "stored" else self.interactions_deferred).inc()
        for phase, milliseconds in timings.items():
            child = self._phase_children.get(phase)
            if child is None:
                child = self._phase_children[phase] = self.query_phases.labels(phase)
            child.observe(milliseconds / 1e3)

    def searched(self, degraded: Iterable[str]) -> None:
        """One search for passages alone, with the parts that it had to do without."""
        for part in degraded:
            self.searches_degraded.labels(part).inc()
