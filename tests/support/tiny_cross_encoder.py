"""Builds a tiny random cross-encoder of the BERT or RoBERTa family as a model directory, and computes its logit in plain numpy float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from tests.support.tiny_encoder import CONFIG, forward, random_weights, write_json, write_tokenizer

Family = Literal["bert", "roberta"]
WIDTH = 16
_HEADS = {"bert": ("bert.pooler.dense", "classifier"), "roberta": ("classifier.dense", "classifier.out_proj")}


def make_cross_encoder(folder: Path, *, family: Family = "bert", labels: int = 1, window: int = 20, seed: int = 1) -> Path:
    """A complete directory as `transformers` saves one; tests then change or remove single files.

    RoBERTa's has one type of token, positions numbered from its padding index 1 on, and two separators between question and text.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed + 100)
    tensors = {f"{family}.{name}": tensor for name, tensor in random_weights(seed).items()}
    config: dict[str, object] = CONFIG | {"model_type": family, "num_labels": labels}
    if family == "roberta":
        tensors["roberta.embeddings.token_type_embeddings.weight"] = tensors["roberta.embeddings.token_type_embeddings.weight"][:1]
        config |= {"pad_token_id": 1, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    for name, rows in zip(_HEADS[family], (WIDTH, labels), strict=True):
        tensors[f"{name}.weight"] = (random.standard_normal((rows, WIDTH)) * 0.5).astype(np.float32)
        tensors[f"{name}.bias"] = (random.standard_normal(rows) * 0.5).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer_config.json", {"model_max_length": window})
    write_tokenizer(folder / "tokenizer.json")
    if family == "roberta":
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def logit(folder: Path, ids: list[int], types: list[int]) -> float:
    """The score of one pair, straight from the formulas: a tanh layer over the first token's vector, then one row of weights."""
    config = json.loads((folder / "config.json").read_text())
    family: Family = config["model_type"]
    hidden = forward(
        folder / "model.safetensors",
        ids,
        heads=2,
        types=types if family == "bert" else None,
        prefix=f"{family}.",
        first=2 if family == "roberta" else 0,
        epsilon=config["layer_norm_eps"],
    )
    tensors: dict[str, NDArray[np.float32]] = load_file(folder / "model.safetensors")
    inner, score = _HEADS[family]
    vector = np.tanh(tensors[f"{inner}.weight"].astype(np.float64) @ hidden[0] + tensors[f"{inner}.bias"])
    return float((tensors[f"{score}.weight"].astype(np.float64) @ vector + tensors[f"{score}.bias"])[0])
