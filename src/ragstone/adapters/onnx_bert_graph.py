"""Builds the ONNX graph of a BERT-family encoder or cross-encoder from its weights, with plain operators and without torch.

Architecture: Devlin et al. 2019 (post-LayerNorm encoder); position ids of RoBERTa: Liu et al. 2019; DistilBERT: Sanh et al. 2019;
relative position buckets of MPNet: Song et al. 2020, Raffel et al. 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ragstone.adapters.onnx_weights import Activation, EncoderWeights, PairHead

OPSET = 20
_MASKED = np.float32(-1e30)  # added to the scores of padding: softmax gives exactly 0

Array = NDArray[np.float32]
Attribute = int | float | str | Sequence[int]
Types = Callable[[], str]  # adds the embeddings of token types to the graph
_SHAPE: tuple[str, str] = ("batch", "sequence")


def build_graph(weights: EncoderWeights) -> ModelProto:
    """The encoder as an ONNX model.

    Inputs: `input_ids` int64 (b, s), `attention_mask` int64 (b, s). Output: `last_hidden_state` float32 (b, s, d). Token types are all 0.
    """
    graph = _Graph()
    hidden = _encoded(graph, weights, _one_type(graph, weights))
    graph.node("Identity", [hidden], output="last_hidden_state")
    return _model(graph, weights.family, ("input_ids", "attention_mask"), "last_hidden_state", (*_SHAPE, weights.dimension))


def build_pair_graph(weights: EncoderWeights, head: PairHead) -> ModelProto:
    """A cross-encoder as an ONNX model.

    Inputs: `input_ids`, `attention_mask` int64 (b, s), and `token_type_ids` int64 (b, s) where the model knows several types of tokens.
    Output: `logits` float32 (b, 1).
    """
    graph = _Graph()
    typed = weights.token_types is not None and len(weights.token_types) > 1
    hidden = _encoded(graph, weights, _given_types(graph, weights) if typed else _one_type(graph, weights))
    first = graph.node("Gather", [hidden, graph.constant(0, np.int64)], axis=1)
    inner = graph.node("Tanh", [graph.linear(first, "head.hidden", head.hidden.weight, head.hidden.bias)])
    graph.node("Identity", [graph.linear(inner, "head.score", head.score.weight, head.score.bias)], output="logits")
    inputs = ("input_ids", "attention_mask", "token_type_ids") if typed else ("input_ids", "attention_mask")
    return _model(graph, weights.family, inputs, "logits", (_SHAPE[0], 1))


def _model(graph: _Graph, name: str, inputs: Sequence[str], output: str, shape: Sequence[str | int]) -> ModelProto:
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [helper.make_tensor_value_info(each, TensorProto.INT64, _SHAPE) for each in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            graph.initialisers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="ragstone",
    )
    model.ir_version = 10  # the IR of opset 20 to 22: read by every ONNX Runtime since 1.18
    return model


class _Graph:
    """Nodes and initialisers under construction; values are referred to by name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self._constants: dict[bytes, str] = {}

    def weight(self, name: str, value: Array) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def constant(self, value: object, dtype: type[np.generic]) -> str:
        array = np.asarray(value, dtype)
        key = str((array.dtype, array.shape)).encode() + array.tobytes()
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self.initialisers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def node(self, op: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Attribute) -> str:
        output = output or f"{op}_{len(self.nodes)}"
        node = helper.make_node(op, list(inputs), [output], name=output)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return output

    def linear(self, x: str, name: str, weight: Array, bias: Array) -> str:
        """`x @ weight.T + bias`, weight (out, in) as checkpoints hold it."""
        product = self.node("MatMul", [x, self.weight(f"{name}.weight", weight.T)])
        return self.node("Add", [product, self.weight(f"{name}.bias", bias)])

    def layer_norm(self, x: str, name: str, weight: Array, bias: Array, epsilon: float) -> str:
        scale, shift = self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)
        return self.node("LayerNormalization", [x, scale, shift], axis=-1, epsilon=epsilon)

    def activation(self, x: str, name: Activation) -> str:
        match name:
            case "relu":
                return self.node("Relu", [x])
            case "gelu":  # exact, by the error function
                return self.node("Gelu", [x])
            case "gelu_tanh":
                return self.node("Gelu", [x], approximate="tanh")


def _one_type(graph: _Graph, weights: EncoderWeights) -> Types | None:
    table = weights.token_types
    return None if table is None else lambda: graph.weight("token_type_embedding", table[0])


def _given_types(graph: _Graph, weights: EncoderWeights) -> Types | None:
    table = weights.token_types
    return None if table is None else lambda: graph.node("Gather", [graph.weight("token_type_embeddings", table), "token_type_ids"])


def _encoded(graph: _Graph, weights: EncoderWeights, types: Types | None) -> str:
    """The last hidden state, (b, s, d)."""
    hidden = _embeddings(graph, weights, types)
    mask = _score_bias(graph, weights)
    for index in range(weights.layers):
        hidden = _layer(graph, weights, index, hidden, mask)
    return hidden


def _embeddings(graph: _Graph, weights: EncoderWeights, types: Types | None) -> str:
    words = graph.node("Gather", [graph.weight("word_embeddings", weights.words), "input_ids"])
    table = graph.weight("position_embeddings", weights.positions)
    if weights.padding_index is None:
        length = graph.node("Shape", ["input_ids"], start=1, end=2)
        start, step, axis = (graph.constant([number], np.int64) for number in (0, 1, 0))
        places = graph.node("Slice", [table, start, length, axis, step])
    else:  # real tokens are numbered from padding_index + 1, padding is padding_index
        padding = graph.constant(weights.padding_index, np.int64)
        real = graph.node("Cast", [graph.node("Not", [graph.node("Equal", ["input_ids", padding])])], to=TensorProto.INT64)
        numbers = graph.node("Mul", [graph.node("CumSum", [real, graph.constant(1, np.int64)]), real])
        places = graph.node("Gather", [table, graph.node("Add", [numbers, padding])])
    total = graph.node("Add", [words, places])
    if types is not None:
        total = graph.node("Add", [total, types()])
    norm = weights.embeddings_norm
    return graph.layer_norm(total, "embeddings.norm", norm.weight, norm.bias, weights.epsilon)


def _score_bias(graph: _Graph, weights: EncoderWeights) -> str:
    """What is added to attention scores: (b, 1, 1, s), or (b, h, s, s) with relative positions."""
    mask = graph.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    absent = graph.node("Sub", [graph.constant(1, np.float32), mask])
    bias = graph.node("Mul", [absent, graph.constant(_MASKED, np.float32)])
    bias = graph.node("Unsqueeze", [bias, graph.constant([1, 2], np.int64)])
    if weights.relative_bias is None:
        return bias
    length = graph.node("Shape", ["input_ids"], start=1, end=2)
    ends = graph.node("Concat", [length, length], axis=0)
    starts, axes = graph.constant([0, 0], np.int64), graph.constant([1, 2], np.int64)
    relative = graph.node("Slice", [graph.weight("relative_bias", weights.relative_bias), starts, ends, axes])
    return graph.node("Add", [bias, relative])


def _layer(graph: _Graph, weights: EncoderWeights, index: int, x: str, mask: str) -> str:
    layer, name = weights.layer(index), f"layer.{index}"
    heads, width = weights.heads, weights.dimension // weights.heads
    split, merge = graph.constant([0, 0, heads, width], np.int64), graph.constant([0, 0, weights.dimension], np.int64)

    def per_head(part: str, scale: float, perm: Sequence[int]) -> str:
        linear = layer[part]
        projected = graph.linear(x, f"{name}.{part}", linear.weight * np.float32(scale), linear.bias * np.float32(scale))
        return graph.node("Transpose", [graph.node("Reshape", [projected, split])], perm=perm)

    query, key, value = per_head("query", width**-0.5, (0, 2, 1, 3)), per_head("key", 1, (0, 2, 3, 1)), per_head("value", 1, (0, 2, 1, 3))
    scores = graph.node("Add", [graph.node("MatMul", [query, key]), mask])
    context = graph.node("MatMul", [graph.node("Softmax", [scores], axis=-1), value])
    context = graph.node("Reshape", [graph.node("Transpose", [context], perm=(0, 2, 1, 3)), merge])
    attended = graph.linear(context, f"{name}.attention", layer["attention"].weight, layer["attention"].bias)
    norm = layer["attention_norm"]
    x = graph.layer_norm(graph.node("Add", [attended, x]), f"{name}.attention_norm", norm.weight, norm.bias, weights.epsilon)
    inner = graph.linear(x, f"{name}.inner", layer["inner"].weight, layer["inner"].bias)
    inner = graph.activation(inner, weights.activation)
    outer = graph.linear(inner, f"{name}.outer", layer["outer"].weight, layer["outer"].bias)
    norm = layer["outer_norm"]
    return graph.layer_norm(graph.node("Add", [outer, x]), f"{name}.outer_norm", norm.weight, norm.bias, weights.epsilon)
