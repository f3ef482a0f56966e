"""An ONNX Runtime session of a cross-encoder: two texts together give one logit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragstone.adapters.model_files import EncoderFiles
from ragstone.adapters.onnx_session import CPU, GraphKind, inputs_of, open_session
from ragstone.adapters.onnx_weights import load_head, load_weights, several_labels
from ragstone.domain.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from onnx import ModelProto


def _cross_encoder(files: EncoderFiles) -> ModelProto:
    from ragstone.adapters.onnx_bert_graph import build_pair_graph  # noqa: PLC0415 - imports onnx, which a graph from the cache does not need

    head = load_head(files.weights, files.config)  # first: it says what is wrong with a model that is no reranker
    return build_pair_graph(load_weights(files.weights, files.config), head)


CROSS_ENCODER = GraphKind("\npair", _cross_encoder)


class OnnxPairSession:
    """Runs the cross-encoder. `digest`: SHA-256 of its weights. Raises `InvalidInput` for a model that gives no single logit."""

    def __init__(self, files: EncoderFiles, digest: str, *, graphs: Path, provider: str = CPU) -> None:
        self._session = open_session(files, digest, graphs, CROSS_ENCODER, provider)
        self._inputs = inputs_of(self._session, files.weights.name)
        outputs = {each.name: each for each in self._session.get_outputs()}
        if "logits" not in outputs:
            raise InvalidInput(f"{files.weights.name}: there is no output named logits, as a reranker has.", field="model")
        labels = outputs["logits"].shape[-1] if len(outputs["logits"].shape) > 1 else None
        if isinstance(labels, int) and labels != 1:  # else it shows when it runs
            raise several_labels(labels)

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float32]:
        """ids, mask, types (b, s) -> logits, (b, 1) where the model is a reranker. Raises `Unavailable` when it fails."""
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        try:
            [logits] = self._session.run(["logits"], {name: feed[name] for name in self._inputs})
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise Unavailable(f"The reranker failed on {ids.shape[0]} texts of {ids.shape[1]} tokens.") from error
        return np.asarray(logits, np.float32)
