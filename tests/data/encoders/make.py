"""Made the files beside it: tiny random encoders as `transformers` saves them, with what it computes for them.

Run in an environment of its own: `pip install torch==2.13.0 transformers`, then `python make.py`.
"""
# mypy: ignore-errors

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
SHAPE = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 24, "vocab_size": 30, "pad_token_id": 0}
ROBERTA = {**SHAPE, "pad_token_id": 1, "max_position_embeddings": 42, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
ENCODERS = {
    "bert": transformers.BertModel(transformers.BertConfig(**SHAPE, max_position_embeddings=40), add_pooling_layer=False),
    "bert-tanh": transformers.BertModel(transformers.BertConfig(**SHAPE, max_position_embeddings=40, hidden_act="gelu_new")),
    "roberta": transformers.RobertaModel(transformers.RobertaConfig(**ROBERTA), add_pooling_layer=False),
    "distilbert": transformers.DistilBertModel(
        transformers.DistilBertConfig(dim=16, n_heads=2, n_layers=2, hidden_dim=24, vocab_size=30, max_position_embeddings=40)
    ),
    # long enough for every kind of bucket of relative positions
    "mpnet": transformers.MPNetModel(transformers.MPNetConfig(**{**SHAPE, "pad_token_id": 1}, max_position_embeddings=202)),
}
for name, model in ENCODERS.items():
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    folder = HERE / name
    model.eval().save_pretrained(folder)
    length = 200 if name == "mpnet" else 40
    lengths = [length, 7, 1]
    mask = (torch.arange(length)[None, :] < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(2, 30, (3, length), generator=generator) * mask + model.config.pad_token_id * (1 - mask)
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    real = hidden[mask.bool()]  # (sum of lengths, d): what padding gets does not matter
    np.savez_compressed(folder / "expected.npz", ids=ids.numpy(), mask=mask.numpy(), real=real.numpy())
