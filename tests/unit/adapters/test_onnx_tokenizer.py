"""Cutting texts to the window: what is left is what the model would have read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from ragstone.adapters.onnx_tokenizer import ModelTokenizer, PairTokenizer
from tests.support.tiny_cross_encoder import Family, make_cross_encoder
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


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("window", [6, 11, 20])
def test_pairs_are_joined_and_cut_as_the_library_does(tmp_path: Path, family: Family, window: int) -> None:
    """By `longest_first`, for questions and texts of every length below, at and beyond what fits."""
    path = make_cross_encoder(tmp_path / "tiny", family=family) / "tokenizer.json"
    library = Tokenizer.from_file(str(path))
    library.no_padding()
    library.enable_truncation(window, strategy="longest_first")
    pairs = PairTokenizer(path, window=window, lower_case=False)
    texts = ["oil flows " * (length // 2) + "pump " * (length % 2) for length in range(24)]
    for question in texts:
        expected = library.encode_batch([(question, text) for text in texts])
        assert pairs.encode(question, texts) == [(each.ids, each.type_ids) for each in expected]


def test_what_is_cut_off_costs_nothing(tmp_path: Path) -> None:
    """The library joins each piece that it cuts off a question with each piece of the text: seconds for one pair."""
    path = make_cross_encoder(tmp_path / "tiny") / "tokenizer.json"
    pairs = PairTokenizer(path, window=20, lower_case=False)
    began = time.process_time()
    [pair] = pairs.encode("red pump " * 1000, ["oil " * 5000])
    assert time.process_time() - began < 1
    assert len(pair.ids) == len(pair.types) == 20
