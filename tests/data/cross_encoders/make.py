"""Made the files beside it: tiny random cross-encoders as `transformers` saves them, with the logits that it computes.

Run in an environment of its own: `pip install torch==2.13.0 transformers==5.24.0`, then `python make.py`.
"""
# mypy: ignore-errors

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
SHAPE = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 24, "vocab_size": 30, "num_labels": 1}
ROBERTA = {**SHAPE, "pad_token_id": 1, "max_position_embeddings": 42, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
MODELS = {
    "bert": transformers.BertForSequenceClassification(transformers.BertConfig(**SHAPE, pad_token_id=0, max_position_embeddings=40)),
    "roberta": transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**ROBERTA)),
    "xlm-roberta": transformers.XLMRobertaForSequenceClassification(transformers.XLMRobertaConfig(**ROBERTA)),
    "camembert": transformers.CamembertForSequenceClassification(transformers.CamembertConfig(**ROBERTA)),
}
for name, model in MODELS.items():
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    folder = HERE / name
    model.eval().save_pretrained(folder)
    mask = (torch.arange(40)[None, :] < torch.tensor([40, 21, 3])[:, None]).long()
    ids = torch.randint(2, 30, (3, 40), generator=generator) * mask + model.config.pad_token_id * (1 - mask)
    types = (torch.arange(40)[None, :] >= torch.tensor([12, 5, 1])[:, None]).long() * mask if name == "bert" else torch.zeros_like(mask)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    np.savez_compressed(folder / "expected.npz", ids=ids.numpy(), mask=mask.numpy(), types=types.numpy(), logits=logits.numpy())
