"""What reorders the passages that a search found."""

from __future__ import annotations

from dataclasses import dataclass

RERANK = "rerank"  # in `degraded`: the reranker did not answer, passages are in the order of their fused scores


@dataclass(frozen=True, slots=True)
class RerankerIdentity:
    """`kind` is the adapter or dialect (`onnx`, `tei`, `cohere`, `jina`), `name` the model as people know it.

    `revision` and `digest` (SHA-256 of the weights) are known of a model in this process.
    """

    kind: str
    name: str
    revision: str = ""
    digest: str = ""
