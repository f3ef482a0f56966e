"""The metrics of the embedding service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from ragstone.telemetry.metrics import HttpMetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class EmbeddingMetrics(HttpMetrics):
    """Beside requests: what went into the models, and how it was cut into batches."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self.texts = Counter("ragstone_embedding_texts_total", "Texts embedded, by what they are.", ("input_type",), registry=registry)
        self.tokens = Counter("ragstone_embedding_tokens_total", "Tokens that went through the model.", registry=registry)
        self.padding = Counter("ragstone_embedding_padding_tokens_total", "Tokens of padding beside them.", registry=registry)
        self.truncated = Counter("ragstone_embedding_truncated_texts_total", "Texts cut to the model's window.", registry=registry)
        self.batch_texts = Histogram("ragstone_embedding_batch_texts", "Texts of one batch.", buckets=_TEXTS, registry=registry)
        self.batch_wait = Histogram(
            "ragstone_embedding_batch_wait_seconds",
            "Time that a batch's first text has waited for it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_duration = Histogram(
            "ragstone_embedding_batch_duration_seconds", "Time of the model on one batch.", buckets=_SECONDS, registry=registry
        )
        self.texts_waiting = Gauge("ragstone_embedding_texts_waiting", "Texts that wait or are in a batch now.", registry=registry)
        self.reranked = Counter("ragstone_rerank_texts_total", "Texts scored against a question.", registry=registry)
        self.model = Gauge(
            "ragstone_served_model_info", "1 for each model that is served.", ("kind", "name", "version", "digest"), registry=registry
        )

    def batch(self, *, texts: int, tokens: int, padding: int, waited: float, seconds: float) -> None:
        """One batch."""
        self.batch_texts.observe(texts)
        self.tokens.inc(tokens)
        self.padding.inc(padding)
        self.batch_wait.observe(waited)
        self.batch_duration.observe(seconds)
