"""ONNX Runtime sessions of encoders: from an ONNX file as it is, or from the graph built of safetensors and kept in a cache."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

# Since 1.29 it reports models and uses to its maker, and leaves a device id and a database in the home directory, unless told not to before it is
# imported. What a knowledge base does is nobody else's business.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ragstone.adapters.model_files import EncoderFiles, file_digest, read_encoder
from ragstone.adapters.onnx_weights import load_weights
from ragstone.domain.errors import DataDirectoryError, InternalError, InvalidInput, RagstoneError, Unavailable

if TYPE_CHECKING:
    from onnx import ModelProto

BUILDER_VERSION = 1  # raise when another graph is built from the same weights
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_GRAPH_LIMIT = 2**31 - 2**20  # bytes in one protobuf message, less what the nodes take
_OUTPUTS = ("last_hidden_state", "token_embeddings", "sentence_embedding")
CPU = "CPUExecutionProvider"
_NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "bfcarena")  # in what ONNX Runtime says; its errors have no class for it


class GraphKind(NamedTuple):
    """A graph that is built of safetensors. `mark` is part of its key in the cache; encoders have none, as they were there first."""

    mark: str
    build: Callable[[EncoderFiles], ModelProto]


def _encoder(files: EncoderFiles) -> ModelProto:
    from ragstone.adapters.onnx_bert_graph import build_graph  # noqa: PLC0415 - imports onnx, which takes long, and a graph from the cache does not need it

    return build_graph(load_weights(files.weights, files.config))


ENCODER = GraphKind("", _encoder)


class OnnxSession:
    """Runs the encoder, on `provider` (ONNX Runtime's name of it). `digest`: SHA-256 of the weights. `pools`: the model returns one vector a text, not one a token."""

    def __init__(self, files: EncoderFiles, *, graphs: Path, provider: str = CPU) -> None:
        self.digest = weights_digest(files)
        self._session = open_session(files, self.digest, graphs, provider=provider)
        self._inputs = inputs_of(self._session, files.weights.name)
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
        try:
            [output] = self._session.run([self._output], {name: feed[name] for name in self._inputs})
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise run_failed(error, f"The embedding model failed on {ids.shape[0]} texts of {ids.shape[1]} tokens.") from error
        return np.asarray(output, np.float32)

    def _measure(self) -> int:
        one = np.ones((1, 2), np.int64)
        return int(self.run(one, one).shape[-1])


def run_failed(error: Exception, what: str) -> RagstoneError:
    """`Unavailable` where memory ran out, which may pass, else `InternalError`."""
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _NO_MEMORY):
        return Unavailable("The embedding model ran out of memory; try again with less at once.", field="embedding")
    return InternalError(what)


def open_session(
    files: EncoderFiles, digest: str, graphs: Path, kind: GraphKind = ENCODER, provider: str = CPU
) -> onnxruntime.InferenceSession:
    """A session of the ONNX file, or of the graph built of the safetensors. Raises `InvalidInput` when it can't be had."""
    check_provider(provider)
    if files.kind == "onnx":
        return _open(files.weights, files.weights.name, provider)
    return _open_built(files, digest, graphs, kind, provider)


def check_provider(provider: str) -> None:
    """Raises `InvalidInput` where this ONNX Runtime has no such provider: by itself it would take the CPU instead."""
    there = onnxruntime.get_available_providers()
    if provider not in there:
        raise InvalidInput(
            f"provider: the ONNX Runtime here has no {provider}; it has {', '.join(there)}. Install the ONNX Runtime that is built with it, or take {CPU}.",
            field="provider",
        )


def inputs_of(session: onnxruntime.InferenceSession, name: str) -> list[str]:
    """Names of the session's inputs. Raises `InvalidInput` where one is none of a text's, naming the file `name`."""
    inputs = [each.name for each in session.get_inputs()]
    if unknown := set(inputs) - _INPUTS:
        raise InvalidInput(f"{name}: the input {sorted(unknown)[0]} is not one of {', '.join(sorted(_INPUTS))}.", field="model")
    if "input_ids" not in inputs:
        raise InvalidInput(f"{name}: there is no input named input_ids.", field="model")
    return inputs


def weights_digest(files: EncoderFiles) -> str:
    """SHA-256 of the weights; of an ONNX file with external data, over the digests of all its files."""
    own = file_digest(files.weights)
    if files.kind == "safetensors":
        return own
    import onnx  # noqa: PLC0415 - takes long to import, and a graph from the cache does not need it

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


def prepare(model: Path, graphs: Path) -> None:
    """Builds the graph of a model that comes as safetensors, so that later starts only read. Raises `InvalidInput`, `DataDirectoryError`."""
    files = read_encoder(model)
    if files.kind == "onnx":
        return
    digest = weights_digest(files)
    _open_built(files, digest, graphs, ENCODER, CPU)
    if isinstance(built_graph(files, digest, graphs), bytes):
        raise DataDirectoryError(
            "The model's graph cannot be kept: the model cache cannot be written; set RAGSTONE_MODELS to another directory."
        )


def _open_built(files: EncoderFiles, digest: str, graphs: Path, kind: GraphKind, provider: str) -> onnxruntime.InferenceSession:
    """The graph from the cache; one that was damaged there is built again."""
    graph = built_graph(files, digest, graphs, kind)
    try:
        return _open(graph, files.weights.name, provider)
    except InvalidInput:
        if isinstance(graph, bytes):
            raise
        try:
            graph.unlink()
        except OSError:
            raise InvalidInput(f"The model's graph {graph.name} in the model cache is damaged; remove it.", field="model") from None
    return _open(built_graph(files, digest, graphs, kind), files.weights.name, provider)


def built_graph(files: EncoderFiles, digest: str, graphs: Path, kind: GraphKind = ENCODER) -> Path | bytes:
    """The ONNX file built from safetensors: from the cache, where it is kept by digest of weights and config and builder version.

    Where the cache cannot be written the model itself is returned: it is then built again at every start.
    """
    config = json.dumps(files.config, sort_keys=True)
    key = hashlib.sha256(f"{digest}\n{config}\n{BUILDER_VERSION}{kind.mark}".encode()).hexdigest()[:32]
    path = graphs / f"{key}.onnx"
    if path.is_file():
        return path
    model = kind.build(files)
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _GRAPH_LIMIT:
        raise InvalidInput(f"{files.weights.name} has more than 2 GiB of weights; export the model as an ONNX file.", field="model")
    content: bytes = model.SerializeToString()
    try:
        graphs.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=graphs, suffix=".partial", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # what is found under the name is whole, also after a power failure
                file.close()
                os.chmod(file.name, 0o644)  # the cache may be filled by one user and read by another
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError:
        return content
    return path


def _open(model: Path | bytes, name: str, provider: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # batches run beside one another instead: no thread waits, or spins, for another
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # shapes change from batch to batch
    try:
        session = onnxruntime.InferenceSession(str(model) if isinstance(model, Path) else model, options, providers=[provider])
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        reason = str(error).partition("\n")[0][:200]
        raise InvalidInput(f"{name} cannot be loaded by ONNX Runtime: {reason}", field="model") from error
    if (
        session.get_providers()[0] != provider
    ):  # its libraries or its device are missing: the session would run on the CPU, and nobody be told
        raise InvalidInput(f"provider: {provider} can't be used here; see whether its device and libraries are there.", field="provider")
    return session
