"""Weights of a BERT-family checkpoint under one set of names, whichever family they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ragstone.adapters.model_files import EncoderFiles
from ragstone.domain.errors import InvalidInput

_DEFAULT_WINDOW = 512  # tokens
Array = NDArray[np.float32]

Activation = Literal["gelu", "gelu_tanh", "relu"]
_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_BERT_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "outer_norm": "output.LayerNorm",
}
_DISTILBERT_LAYER = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "inner": "ffn.lin1",
    "outer": "ffn.lin2",
    "outer_norm": "output_layer_norm",
}
_MPNET_LAYER = {
    **_BERT_LAYER,
    "query": "attention.attn.q",
    "key": "attention.attn.k",
    "value": "attention.attn.v",
    "attention": "attention.attn.o",
    "attention_norm": "attention.LayerNorm",
}


class Affine(NamedTuple):
    """A linear layer, weight (out, in), or a LayerNorm, weight (d,)."""

    weight: Array
    bias: Array


class _Family(NamedTuple):
    prefix: str
    layers: str
    names: Mapping[str, str]
    roberta_positions: bool = False
    token_types: bool = True
    relative: bool = False
    head: tuple[str, str] | None = None  # what is between a pair's first token and its score, where it is known


_BERT = _Family("bert.", "encoder.layer", _BERT_LAYER, head=("pooler.dense", "classifier"))
_ROBERTA = _Family("roberta.", "encoder.layer", _BERT_LAYER, roberta_positions=True, head=("classifier.dense", "classifier.out_proj"))
FAMILIES: Mapping[str, _Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _Family("distilbert.", "transformer.layer", _DISTILBERT_LAYER, token_types=False),
    "mpnet": _Family("mpnet.", "encoder.layer", _MPNET_LAYER, roberta_positions=True, token_types=False, relative=True),
}


@dataclass(frozen=True)
class EncoderWeights:
    """One checkpoint. Arrays are float32; `layer(i)` gives its affine parts by role.

    `padding_index` is set where positions are counted as RoBERTa does. `token_types` (t, d): an embedding a type.
    `relative_bias` (h, p, p) is what MPNet adds to attention scores. `epsilon` is LayerNorm's.
    """

    family: str
    dimension: int
    layers: int
    heads: int
    activation: Activation
    epsilon: float
    words: Array
    positions: Array
    token_types: Array | None
    embeddings_norm: Affine
    padding_index: int | None
    relative_bias: Array | None
    blocks: tuple[Mapping[str, Affine], ...]

    def layer(self, index: int) -> Mapping[str, Affine]:
        """Affine parts of layer `index`: query, key, value, attention, attention_norm, inner, outer, outer_norm."""
        return self.blocks[index]


@dataclass(frozen=True)
class PairHead:
    """What a cross-encoder makes a pair's score of, from the last hidden state h (d,) of its first token.

    The score is `score.weight @ tanh(hidden.weight @ h + hidden.bias) + score.bias`, hidden (d, d), score (1, d): BERT's pooler with a
    classifier (Devlin et al. 2019), and the same under RoBERTa's names.
    """

    hidden: Affine
    score: Affine


def check_family(config: Mapping[str, object]) -> None:
    """Raises `InvalidInput` when config.json describes an encoder that this module does not know."""
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise InvalidInput(
            f"config.json: model_type {family!r} is not supported; give an ONNX file of it, or a model of {known}.", field="model"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InvalidInput("config.json: only absolute position embeddings are supported.", field="model")
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    if activation not in _ACTIVATIONS:
        raise InvalidInput(f"config.json: activation {activation!r} is not supported; known are {', '.join(_ACTIVATIONS)}.", field="model")


def positions_before_text(config: Mapping[str, object]) -> int:
    """Rows of the position table that no token uses (RoBERTa numbers tokens from the padding index + 1)."""
    family = FAMILIES[str(config["model_type"])]
    return _integer(config, "pad_token_id", default=1) + 1 if family.roberta_positions else 0


def window_of(files: EncoderFiles) -> int:
    """Tokens that the model reads at most, special ones included: what its files say, never more than it has positions."""
    window = files.window or _DEFAULT_WINDOW
    positions = files.config.get("max_position_embeddings")
    if files.kind == "safetensors" and isinstance(positions, int):
        window = min(window, positions - positions_before_text(files.config))
    return window


def load_weights(path: Path, config: Mapping[str, object]) -> EncoderWeights:
    """Reads model.safetensors. Raises `InvalidInput` naming what is missing, of the wrong shape, or not a number type that is read."""
    check_family(config)
    model_type = str(config["model_type"])
    family = FAMILIES[model_type]
    tensors = _Tensors(path, family.prefix)
    dimension = _integer(config, "hidden_size", "dim")
    heads = _integer(config, "num_attention_heads", "n_heads")
    layers = _integer(config, "num_hidden_layers", "n_layers")
    if heads < 1 or dimension % heads:
        raise InvalidInput(f"config.json: {dimension} dimensions cannot be shared by {heads} heads.", field="model")
    positions = tensors.array("embeddings.position_embeddings.weight", (None, dimension))
    blocks = tuple(
        {role: tensors.affine(f"{family.layers}.{index}.{name}") for role, name in family.names.items()} for index in range(layers)
    )
    for block in blocks:
        _check_block(block, dimension)
    relative = None
    if family.relative:
        buckets = _integer(config, "relative_attention_num_buckets", default=32)
        table = tensors.array("encoder.relative_attention_bias.weight", (buckets, heads))
        relative = _relative_bias(table, len(positions) - positions_before_text(config))
    return EncoderWeights(
        family=model_type,
        dimension=dimension,
        layers=layers,
        heads=heads,
        activation=_ACTIVATIONS[str(config.get("hidden_act", config.get("activation", "gelu")))],
        epsilon=float(str(config.get("layer_norm_eps", 1e-12))),
        words=tensors.array("embeddings.word_embeddings.weight", (None, dimension)),
        positions=positions,
        token_types=tensors.array("embeddings.token_type_embeddings.weight", (None, dimension)) if family.token_types else None,
        embeddings_norm=tensors.affine("embeddings.LayerNorm"),
        padding_index=positions_before_text(config) - 1 if family.roberta_positions else None,
        relative_bias=relative,
        blocks=blocks,
    )


def load_head(path: Path, config: Mapping[str, object]) -> PairHead:
    """Reads the head of a sequence classification model with one label. Raises `InvalidInput` for other families, and for more labels."""
    check_family(config)
    family = FAMILIES[str(config["model_type"])]
    if family.head is None:
        known = ", ".join(name for name, each in FAMILIES.items() if each.head)
        raise InvalidInput(
            f"config.json: a reranker of model_type {config['model_type']!r} is not supported; give an ONNX file of it, or a model of {known}.",
            field="model",
        )
    tensors = _Tensors(path, family.prefix)
    dimension = _integer(config, "hidden_size", "dim")
    hidden, score = (tensors.affine(name) for name in family.head)
    if score.weight.ndim == 2 and score.weight.shape[0] != 1:
        raise several_labels(score.weight.shape[0])
    for part, shape in ((hidden, (dimension, dimension)), (score, (1, dimension))):
        if part.weight.shape != shape or part.bias.shape != shape[:1]:
            raise InvalidInput(f"model.safetensors: the head's weights have the shape {part.weight.shape}, not {shape}.", field="model")
    return PairHead(hidden, score)


def several_labels(count: int) -> InvalidInput:
    """The error of a classifier that tells several things apart."""
    return InvalidInput(
        f"The model gives {count} labels for two texts, where a reranker gives one score; take another model.", field="model"
    )


class _Tensors:
    """Tensors of a safetensors file by name, with or without the family's prefix, as float32."""

    def __init__(self, path: Path, prefix: str) -> None:
        try:
            self._file = cast(Any, safe_open(path, framework="np"))
        except (SafetensorError, OSError, ValueError) as error:
            raise InvalidInput(f"{path.name} is not a readable safetensors file: {error}.", field="model") from error
        self._names = frozenset(self._file.keys())
        self._prefix = prefix

    def array(self, name: str, shape: tuple[int | None, ...] | None = None) -> Array:
        full = name if name in self._names else self._prefix + name
        if full not in self._names:
            raise InvalidInput(f"model.safetensors: the tensor {name} is missing.", field="model")
        kind = self._file.get_slice(full).get_dtype()
        if kind not in ("F32", "F16", "F64"):
            raise InvalidInput(f"model.safetensors: {name} is of type {kind}; save the model as float32.", field="model")
        array: Array = self._file.get_tensor(full).astype(np.float32, copy=False)
        if shape is not None and (
            array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True))
        ):
            raise InvalidInput(f"model.safetensors: {name} has the shape {array.shape}, not what config.json says.", field="model")
        return array

    def affine(self, name: str) -> Affine:
        return Affine(self.array(f"{name}.weight"), self.array(f"{name}.bias"))


def _check_block(block: Mapping[str, Affine], dimension: int) -> None:
    inner = block["inner"].weight.shape[0]
    square, norm = (dimension, dimension), (dimension,)
    shapes = {"inner": (inner, dimension), "outer": (dimension, inner), "attention_norm": norm, "outer_norm": norm}
    for role, part in block.items():
        expected = shapes.get(role, square)
        if part.weight.shape != expected or part.bias.shape != expected[:1]:
            raise InvalidInput(f"model.safetensors: the {role} weights have the shape {part.weight.shape}, not {expected}.", field="model")


def _relative_bias(table: Array, length: int, farthest: int = 128) -> Array:
    """MPNet's bias by bucket of relative position, (buckets, h) -> (h, length, length). Half the buckets are for each direction."""
    half = len(table) // 2
    exact = half // 2
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]  # query minus key
    far = np.abs(distance)
    logarithmic = exact + (np.log(np.maximum(far, 1) / exact) / np.log(farthest / exact) * (half - exact)).astype(np.int64)
    bucket = np.where(far < exact, far, np.minimum(logarithmic, half - 1)) + np.where(distance < 0, half, 0)
    return np.ascontiguousarray(table[bucket].transpose(2, 0, 1))


def _integer(config: Mapping[str, object], *names: str, default: int | None = None) -> int:
    for name in names:
        if isinstance(value := config.get(name), int):
            return value
    if default is None:
        raise InvalidInput(f"config.json: {' or '.join(names)} is missing.", field="model")
    return default
