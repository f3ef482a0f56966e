"""An ONNX Runtime session of an encoder: from an ONNX file as it is, or from the graph built of safetensors and kept in a cache."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ragstone.adapters.model_files import EncoderFiles, file_digest
from ragstone.adapters.onnx_bert_graph import BUILDER_VERSION, build_graph
from ragstone.adapters.onnx_weights import load_weights
from ragstone.domain.errors import InvalidInput, StorageFull

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ("last_hidden_state", "token_embeddings", "sentence_embedding")


class OnnxSession:
    """Runs the encoder. `digest`: SHA-256 of the weights. `pools`: the model returns one vector a text, not one a token."""

    def __init__(self, files: EncoderFiles, *, threads: int, graphs: Path) -> None:
        self.digest = weights_digest(files)
        model = files.weights if files.kind == "onnx" else built_graph(files, self.digest, graphs)
        self._session = _open(model, threads)
        self._inputs = [each.name for each in self._session.get_inputs()]
        if unknown := set(self._inputs) - _INPUTS:
            raise InvalidInput(
                f"{files.weights.name}: the input {sorted(unknown)[0]} is not one of {', '.join(sorted(_INPUTS))}.", field="model"
            )
        if "input_ids" not in self._inputs:
            raise InvalidInput(f"{files.weights.name}: there is no input named input_ids.", field="model")
        outputs = {each.name: each for each in self._session.get_outputs()}
        # A pooled output is taken only where the files do not say how to pool: what they say comes first.
        wanted = _OUTPUTS if files.pooling else tuple(reversed(_OUTPUTS))
        name = next((name for name in wanted if name in outputs), None)
        if name is None:
            raise InvalidInput(f"{files.weights.name}: there is no output named {', '.join(_OUTPUTS)}.", field="model")
        self.pools = name == "sentence_embedding"
        if not self.pools and files.pooling is None:
            raise InvalidInput("The model does not say how to pool its tokens: 1_Pooling/config.json is missing.", field="model")
        self._output = name
        dimension = outputs[name].shape[-1]
        self.dimension = dimension if isinstance(dimension, int) else self._measure()

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """ids, mask (b, s) -> (b, s, d), or (b, d) where the model pools."""
        feed = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(ids)
        [output] = self._session.run([self._output], {name: feed[name] for name in self._inputs})
        return np.asarray(output, np.float32)

    def _measure(self) -> int:
        one = np.ones((1, 2), np.int64)
        return int(self.run(one, one).shape[-1])


def weights_digest(files: EncoderFiles) -> str:
    """SHA-256 of the weights; of an ONNX file with external data, over the digests of all its files."""
    own = file_digest(files.weights)
    if files.kind == "safetensors":
        return own
    try:
        model = onnx.load(files.weights, load_external_data=False)
    except Exception as error:  # protobuf raises classes of its own for a broken file
        raise InvalidInput(f"{files.weights.name} is not a readable ONNX file.", field="model") from error
    places = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    if not places:
        return own
    folder = files.weights.parent
    missing = sorted(place for place in places if not (folder / place).is_file())
    if missing:
        raise InvalidInput(f"{files.weights.name} keeps its weights in {missing[0]}, which is missing.", field="model")
    return hashlib.sha256("\n".join([own, *(file_digest(folder / place) for place in sorted(places))]).encode()).hexdigest()


def built_graph(files: EncoderFiles, digest: str, graphs: Path) -> Path:
    """The ONNX file built from safetensors: from the cache, where it is kept by digest of weights and config and builder version."""
    config = json.dumps(files.config, sort_keys=True)
    key = hashlib.sha256(f"{digest}\n{config}\n{BUILDER_VERSION}".encode()).hexdigest()[:32]
    path = graphs / f"{key}.onnx"
    if path.is_file():
        return path
    content = build_graph(load_weights(files.weights, files.config)).SerializeToString()
    try:
        graphs.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=graphs, suffix=".partial")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageFull(f"The built graph of the model could not be kept in the cache: {error.strerror}.", field="model") from error
    return path


def _open(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # shapes change from batch to batch
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are shared with the index and the server
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        raise InvalidInput(f"{model.name} cannot be loaded by ONNX Runtime: {str(error).splitlines()[0][:200]}", field="model") from error
