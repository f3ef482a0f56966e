"""Builds a tiny random BERT as a Sentence-Transformers directory, and computes a BERT forward pass in plain numpy float64."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

WORDS = [
    "the",
    "a",
    "red",
    "green",
    "blue",
    "pump",
    "valve",
    "engine",
    "water",
    "oil",
    "flows",
    "stops",
    "hot",
    "cold",
    "query",
    "passage",
    ":",
    ",",
    ".",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CONFIG: dict[str, object] = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "vocab_size": len(SPECIAL + WORDS),
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def random_weights(seed: int = 1) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    width, inner = 16, 24
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(SPECIAL + WORDS), width),
        "embeddings.position_embeddings.weight": (24, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(2):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"encoder.layer.{layer}.{part}.weight": (width, width), f"encoder.layer.{layer}.{part}.bias": (width,)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"encoder.layer.{layer}.{part}.weight": (width,), f"encoder.layer.{layer}.{part}.bias": (width,)}
        shapes |= {
            f"encoder.layer.{layer}.intermediate.dense.weight": (inner, width),
            f"encoder.layer.{layer}.intermediate.dense.bias": (inner,),
        }
        shapes |= {f"encoder.layer.{layer}.output.dense.weight": (width, inner), f"encoder.layer.{layer}.output.dense.bias": (width,)}
    return {name: (random.standard_normal(shape) * 0.5).astype(np.float32) for name, shape in shapes.items()}


def write_tokenizer(path: Path) -> None:
    """With padding and truncation to 6 tokens baked in, as published files have it."""
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=6)
    tokenizer.enable_truncation(6)
    tokenizer.save(str(path))


def make_encoder(
    folder: Path, *, pooling: str = "mean", prompts: dict[str, str] | None = None, window: int | None = 20, seed: int = 1
) -> Path:
    """A complete directory; tests then change or remove single files."""
    folder.mkdir(parents=True)
    save_file(random_weights(seed), folder / "model.safetensors")
    write_json(folder / "config.json", CONFIG)
    write_tokenizer(folder / "tokenizer.json")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(folder / "modules.json", [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in modules])
    write_json(
        folder / "1_Pooling" / "config.json", {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in ("cls_token", "mean_tokens")}
    )
    if window is not None:
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": window, "do_lower_case": False})
    if prompts is not None:
        write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    return folder


def forward(
    weights: Path, ids: list[int], *, heads: int, types: list[int] | None = None, prefix: str = "", first: int = 0, epsilon: float = 1e-12
) -> NDArray[np.float64]:
    """BERT's last hidden state (s, d) of one text, straight from the formulas (Devlin et al. 2019; Vaswani et al. 2017), without batch or mask.

    `types`: of each token, 0 by default. `prefix` comes before the names of tensors. `first`: row of the first token's position.
    """
    loaded = load_file(weights)
    tensors = {name.removeprefix(prefix): tensor.astype(np.float64) for name, tensor in loaded.items() if tensor.dtype == np.float32}

    def affine(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scaled: NDArray[np.float64] = (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
        )
        return scaled

    x = tensors["embeddings.word_embeddings.weight"][ids] + tensors["embeddings.position_embeddings.weight"][first : first + len(ids)]
    x = norm("embeddings.LayerNorm", x + tensors["embeddings.token_type_embeddings.weight"][types or [0] * len(ids)])
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in tensors:
        prefix = f"encoder.layer.{layer}."
        parts = (affine(f"{prefix}attention.self.{part}", x) for part in ("query", "key", "value"))
        query, key, value = (part.reshape(len(ids), heads, -1).transpose(1, 0, 2) for part in parts)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        context = (shares / shares.sum(-1, keepdims=True)) @ value
        attended = affine(f"{prefix}attention.output.dense", context.transpose(1, 0, 2).reshape(len(ids), -1))
        x = norm(f"{prefix}attention.output.LayerNorm", attended + x)
        inner = affine(f"{prefix}intermediate.dense", x)
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(f"{prefix}output.LayerNorm", affine(f"{prefix}output.dense", inner) + x)
        layer += 1
    return x
