"""Cutting texts to the window: what is left is what the model would have read."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from ragstone.adapters.onnx_tokenizer import ModelTokenizer
from tests.support.tiny_encoder import write_tokenizer

LONG = ["oil flows " * 30, "The Red, red pump! " * 9, "水 " * 40, "漢字" * 20, "a " * 100 + "b"]


@pytest.fixture
def words(tmp_path: Path) -> ModelTokenizer:
    write_tokenizer(tmp_path / "tokenizer.json")
    return ModelTokenizer(tmp_path / "tokenizer.json", window=12, lower_case=False)


@pytest.fixture
def pieces(tmp_path: Path) -> ModelTokenizer:
    """Byte-level BPE, whose tokens may end within a character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        ["oil flows through the pump", "the water pump", "水が冷たい"],
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return ModelTokenizer(tmp_path / "tokenizer.json", window=12, lower_case=True)


@pytest.mark.parametrize("kind", ["words", "pieces"])
@pytest.mark.parametrize("prefix", ["", "the : ", "  Oil: "])
def test_what_is_cut_reads_as_the_whole_does(kind: str, prefix: str, request: pytest.FixtureRequest) -> None:
    tokenizer: ModelTokenizer = request.getfixturevalue(kind)
    texts = [*LONG, "", " oil ", "the pump"]
    behind, tokens = tokenizer.cut(texts, prefix, with_prefix=False)
    whole, same = tokenizer.cut(texts, prefix, with_prefix=True)
    assert tokens == same
    assert behind[-3:] == texts[-3:]
    for text, after, all_of_it, count in zip(texts, behind, whole, tokens, strict=True):
        [read] = tokenizer.encode([prefix + text])
        for sent in (prefix + after, all_of_it):
            assert len(tokenizer.count([sent])) == 1
            assert tokenizer.count([sent])[0] + tokenizer.special_tokens <= 12
            [ids] = tokenizer.encode([sent])
            assert ids == read[: len(ids)]
            assert len(ids) >= len(read) - 2  # of a character cut in two nothing is sent
        assert count == len(read)


def test_special_tokens_are_counted(words: ModelTokenizer, pieces: ModelTokenizer) -> None:
    assert (words.special_tokens, pieces.special_tokens) == (2, 1)
