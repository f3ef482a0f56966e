"""A model of the llama family as a GGUF file that says given words: no download, 2 MB, thousands of tokens a second.

Attention and feed-forward weights are zero, embeddings are one-hot, and the output matrix is a table of which token follows which. So the whole path
through an engine (template, tokens, batches, sampling, stream) is real, and what comes out is known.

The layout is GGUF's version 3: header, key-values, tensor infos, then tensors at multiples of 32 bytes, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WORDS = ("Quartz", " is", " a", " mineral", " made", " of", " silica", " [1]", ".")
_SIZE = 320  # of an embedding, and so the most tokens there may be; a multiple of 32
_HEAD = 32
_ALIGNMENT = 32
_UINT32, _FLOAT32, _STRING, _ARRAY, _INT32 = 4, 6, 8, 9, 5  # GGUF's types of values
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # SentencePiece's types of tokens
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}<|answer|>"


def write_tiny_llama(path: Path, words: Sequence[str] = WORDS, *, endless: bool = False, trained: int = 4096, broken: bool = False) -> Path:
    """Writes a model that answers any chat with `words`, each of them once, or over and over. `trained`: its context window in tokens.

    `broken`: one of its weights is not a number.
    """
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        "<|answer|>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *(word.replace(" ", "▁") for word in words),
    ]
    types = [_UNKNOWN, _CONTROL, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(words)]
    assert len(tokens) <= _SIZE
    first = len(tokens) - len(words)
    chain = [3, *range(first, len(tokens)), first if endless else 2]
    follows = np.zeros((len(tokens), _SIZE), np.float32)
    for token, following in pairwise(chain):
        follows[following, token] = 3.0  # times the norm's sqrt(320): far above the others' zero
    if broken:
        follows[0, 0] = np.nan
    values = [
        _text("general.architecture", "llama"),
        _text("general.name", "tiny"),
        _number("llama.context_length", trained),
        _number("llama.embedding_length", _SIZE),
        _number("llama.block_count", 1),
        _number("llama.feed_forward_length", _HEAD),
        _number("llama.attention.head_count", _SIZE // _HEAD),
        _number("llama.attention.head_count_kv", 1),
        _number("llama.rope.dimension_count", _HEAD),
        _key("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", _FLOAT32, 1e-5),
        _text("tokenizer.ggml.model", "llama"),
        _array("tokenizer.ggml.tokens", _STRING, b"".join(map(_string, tokens)), len(tokens)),
        _array("tokenizer.ggml.scores", _FLOAT32, np.zeros(len(tokens), "<f4").tobytes(), len(tokens)),
        _array("tokenizer.ggml.token_type", _INT32, np.array(types, "<i4").tobytes(), len(tokens)),
        _number("tokenizer.ggml.bos_token_id", 1),
        _number("tokenizer.ggml.eos_token_id", 2),
        _number("tokenizer.ggml.unknown_token_id", 0),
        _text("tokenizer.chat_template", _TEMPLATE),
    ]
    path.write_bytes(_header(values, _tensors(follows)))
    return path


def _tensors(follows: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Each (rows out, columns in), as the file wants them."""
    square, narrow = np.zeros((_SIZE, _SIZE), np.float32), np.zeros((_HEAD, _SIZE), np.float32)
    ones = np.ones(_SIZE, np.float32)
    return {
        "token_embd.weight": np.eye(len(follows), _SIZE, dtype=np.float32),
        "output_norm.weight": ones,
        "output.weight": follows,
        "blk.0.attn_norm.weight": ones,
        "blk.0.attn_q.weight": square,
        "blk.0.attn_k.weight": narrow,
        "blk.0.attn_v.weight": narrow,
        "blk.0.attn_output.weight": square,
        "blk.0.ffn_norm.weight": ones,
        "blk.0.ffn_gate.weight": narrow,
        "blk.0.ffn_up.weight": narrow,
        "blk.0.ffn_down.weight": narrow.T,
    }


def _header(values: Sequence[bytes], tensors: dict[str, NDArray[np.float32]]) -> bytes:
    infos, data = b"", b""
    for name, tensor in tensors.items():
        dimensions = tensor.shape[::-1]  # the fastest first
        infos += _string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, 0, len(data))
        data += _padded(np.ascontiguousarray(tensor, "<f4").tobytes())
    return _padded(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values)) + b"".join(values) + infos) + data


def _padded(piece: bytes) -> bytes:
    return piece + b"\0" * (-len(piece) % _ALIGNMENT)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _key(name: str) -> bytes:
    return _string(name)


def _number(name: str, value: int) -> bytes:
    return _string(name) + struct.pack("<II", _UINT32, value)


def _text(name: str, value: str) -> bytes:
    return _string(name) + struct.pack("<I", _STRING) + _string(value)


def _array(name: str, kind: int, items: bytes, count: int) -> bytes:
    return _string(name) + struct.pack("<IIQ", _ARRAY, kind, count) + items
