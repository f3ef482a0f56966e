"""The graph built from safetensors computes what the model's formulas, and `transformers`, compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
from safetensors.numpy import load_file, save_file

from ragstone.adapters.onnx_bert_graph import build_graph
from ragstone.adapters.onnx_weights import load_weights
from ragstone.domain.errors import InvalidInput
from tests.support.tiny_encoder import CONFIG, forward, make_encoder

ENCODERS = Path(__file__).parents[2] / "data" / "encoders"


def run(folder: Path, ids: list[list[int]] | np.ndarray, mask: np.ndarray, **config: object) -> np.ndarray:
    settings = json.loads((folder / "config.json").read_text()) | config
    graph = build_graph(load_weights(folder / "model.safetensors", settings))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    [hidden] = session.run(None, {"input_ids": np.asarray(ids, np.int64), "attention_mask": mask})
    return np.asarray(hidden)


@pytest.mark.parametrize("family", ["bert", "bert-tanh", "roberta", "distilbert", "mpnet"])
def test_agrees_with_transformers(family: str) -> None:
    expected = np.load(ENCODERS / family / "expected.npz")
    hidden = run(ENCODERS / family, expected["ids"], expected["mask"])
    np.testing.assert_allclose(hidden[expected["mask"].astype(bool)], expected["real"], atol=2e-6)


@pytest.mark.parametrize("family", ["xlm-roberta", "camembert"])
def test_families_with_roberta_positions_are_built_alike(family: str) -> None:
    expected = np.load(ENCODERS / "roberta" / "expected.npz")
    hidden = run(ENCODERS / "roberta", expected["ids"], expected["mask"], model_type=family)
    np.testing.assert_allclose(hidden[expected["mask"].astype(bool)], expected["real"], atol=2e-6)


def test_a_random_bert_agrees_with_a_float64_forward_pass_whatever_the_padding(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    texts = [[2, 5, 6, 7, 8, 9, 10, 3], [2, 11, 3], [2, 4, 5, 3]]
    ids, mask = np.zeros((3, 8), np.int64), np.zeros((3, 8), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    hidden = run(folder, ids, mask)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(hidden[row, : len(text)], forward(folder / "model.safetensors", text, heads=2), atol=2e-6)


def test_half_precision_weights_are_read(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    tensors = {name: tensor.astype(np.float16) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    hidden = run(folder, [[2, 5, 3]], np.ones((1, 3), np.int64))
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, folder / "model.safetensors")
    np.testing.assert_allclose(hidden[0], forward(folder / "model.safetensors", [2, 5, 3], heads=2), atol=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "modernbert"}, "'modernbert' is not supported"),
        ({"position_embedding_type": "relative_key"}, "absolute position"),
        ({"hidden_act": "silu"}, "'silu' is not supported"),
        ({"num_attention_heads": 3}, "16 dimensions cannot be shared by 3 heads"),
        ({"hidden_size": 32}, "not what config.json says"),
        ({"num_hidden_layers": 3}, "encoder.layer.2.attention.self.query.weight is missing"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers or n_layers is missing"),
    ],
)
def test_what_is_not_supported_is_said(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = make_encoder(tmp_path / "tiny")
    with pytest.raises(InvalidInput, match=message):
        load_weights(folder / "model.safetensors", CONFIG | change)


def change_tensor(folder: Path, name: str, tensor: np.ndarray[Any, Any]) -> None:
    save_file(load_file(folder / "model.safetensors") | {name: tensor}, folder / "model.safetensors")


def test_a_layer_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    change_tensor(folder, "encoder.layer.1.output.dense.weight", np.zeros((16, 8), np.float32))
    with pytest.raises(InvalidInput, match=r"outer weights have the shape \(16, 8\)"):
        load_weights(folder / "model.safetensors", CONFIG)


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    change_tensor(folder, "embeddings.word_embeddings.weight", np.zeros((23, 16), np.int8))
    with pytest.raises(InvalidInput, match="of type I8"):
        load_weights(folder / "model.safetensors", CONFIG)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(InvalidInput, match="not a readable safetensors file"):
        load_weights(tmp_path / "model.safetensors", CONFIG)
