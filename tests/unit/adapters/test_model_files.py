"""What is read from a model's own files, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragstone.adapters.model_files import read_encoder, read_tokenizer
from ragstone.domain.errors import InvalidInput, NotFound
from tests.support.tiny_encoder import CONFIG, make_encoder, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_encoder(tmp_path / "my-model", prompts={"query": "query: ", "document": "passage: "})


def test_a_directory_says_how_it_is_to_be_used(folder: Path) -> None:
    files = read_encoder(folder)
    assert (files.name, files.kind, files.pooling, files.window) == ("my-model", "safetensors", "mean", 20)
    assert (files.query_prefix, files.passage_prefix) == ("query: ", "passage: ")
    assert files.weights == folder / "model.safetensors"


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "mean", "embedding_dimension": 16, "include_prompt": True}, "mean"),  # sentence-transformers 6
    ],
)
def test_pooling_in_both_formats(folder: Path, settings: dict[str, object], pooling: str) -> None:
    write_json(folder / "1_Pooling" / "config.json", settings)
    assert read_encoder(folder).pooling == pooling


def test_module_names_of_newer_releases(folder: Path) -> None:
    package = "sentence_transformers.base.modules"
    modules = [{"path": "", "type": f"{package}.transformer.Transformer"}, {"path": "1_Pooling", "type": f"{package}.pooling.Pooling"}]
    write_json(folder / "modules.json", modules)
    assert read_encoder(folder).pooling == "mean"


def test_a_transformer_in_a_folder_of_its_own(folder: Path) -> None:
    (folder / "0_Transformer").mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "sentence_bert_config.json"):
        (folder / name).rename(folder / "0_Transformer" / name)
    names = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling")]
    write_json(folder / "modules.json", [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in names])
    files = read_encoder(folder)
    assert files.weights == folder / "0_Transformer" / "model.safetensors"
    assert (files.window, files.config["hidden_size"]) == (20, 16)


@pytest.mark.parametrize(
    ("settings", "prefixes"),
    [
        ({"prompts": {"query": "q ", "passage": "p "}}, ("q ", "p ")),
        ({"prompts": {"query": "q "}}, ("q ", "")),
        ({"prompts": {"any": "x ", "query": "q "}, "default_prompt_name": "any"}, ("q ", "x ")),
        ({"prompts": {}}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_prefixes(folder: Path, settings: dict[str, object], prefixes: tuple[str, str]) -> None:
    write_json(folder / "config_sentence_transformers.json", settings)
    files = read_encoder(folder)
    assert (files.query_prefix, files.passage_prefix) == prefixes


def test_window_is_the_sentence_settings_else_the_tokenizers_else_the_positions(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", {"model_max_length": 18})
    assert read_encoder(folder).window == 20
    (folder / "sentence_bert_config.json").unlink()
    assert read_encoder(folder).window == 18
    write_json(folder / "tokenizer_config.json", {"model_max_length": 10**30})
    assert read_encoder(folder).window == CONFIG["max_position_embeddings"]


def test_the_revision_changes_with_any_small_file(folder: Path) -> None:
    seen = {read_encoder(folder).revision}
    for name, value in {"sentence_bert_config.json": {"max_seq_length": 9}, "1_Pooling/config.json": {"pooling_mode": "cls"}}.items():
        write_json(folder / name, value)
        seen.add(read_encoder(folder).revision)
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    assert len(seen | {read_encoder(folder).revision}) == 4


def test_an_onnx_file_finds_its_companions_beside_it_or_above(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"")
    assert read_encoder(folder).weights == folder / "onnx" / "model.onnx"
    files = read_encoder(folder / "onnx" / "model.onnx")
    assert (files.kind, files.pooling, files.window, files.query_prefix) == ("onnx", "mean", 20, "query: ")
    (folder / "other.onnx").write_bytes(b"")
    assert read_encoder(folder / "other.onnx").name == "other"


def unlink(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def put(name: str, value: object) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / name, value)


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unlink("model.safetensors"), "no model.safetensors and no model.onnx"),
        (only_pickle, "pickled weights only"),
        (unlink("tokenizer.json"), "no tokenizer.json"),
        (unlink("config.json"), "no config.json"),
        (unlink("1_Pooling/config.json"), "1_Pooling/config.json is missing"),
        (put("1_Pooling/config.json", {"pooling_mode_max_tokens": True}), "pooling 'max' is not supported"),
        (
            put("1_Pooling/config.json", {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}),
            r"'mean \+ max' is not supported",
        ),
        (put("1_Pooling/config.json", {}), "pooling 'none'"),
        (put("1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False}), "include_prompt"),
        (put("config.json", [1]), "config.json does not hold a JSON object"),
        (put("modules.json", [{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]), "the module Dense is not supported"),
        (put("modules.json", [{"path": "../elsewhere", "type": "x.Transformer"}]), "leaves the model directory"),
        (put("modules.json", [{"path": ""}]), "needs a type and a path"),
        (put("modules.json", []), "no Transformer module"),
    ],
)
def test_what_is_missing_or_not_supported_is_said(folder: Path, change: Callable[[Path], None], message: str) -> None:
    change(folder)
    with pytest.raises(InvalidInput, match=message):
        read_encoder(folder)


def test_a_model_trained_for_the_dot_product_is_refused_unless_it_normalises(folder: Path) -> None:
    write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "dot"})
    assert read_encoder(folder).pooling == "mean"
    modules = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", modules[:2])
    with pytest.raises(InvalidInput, match="'dot' similarity"):
        read_encoder(folder)


def test_broken_and_huge_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"{")
    with pytest.raises(InvalidInput, match=r"config\.json is not valid JSON"):
        read_encoder(folder)
    (folder / "config.json").write_bytes(b" " * 2_000_000)
    with pytest.raises(InvalidInput, match="too large"):
        read_encoder(folder)


def test_nothing_there_and_something_else_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=rf"'{tmp_path / 'absent'}'"):
        read_encoder(tmp_path / "absent")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"neither a model directory nor an \.onnx file"):
        read_encoder(tmp_path / "model.bin")


def test_a_tokenizer_needs_no_weights_and_says_what_the_model_would(folder: Path) -> None:
    whole = read_encoder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "1_Pooling" / "config.json").unlink()
    for path in (folder, folder / "tokenizer.json"):
        files = read_tokenizer(path)
        assert (files.tokenizer, files.window, files.lower_case) == (whole.tokenizer, 20, False)
        assert (files.query_prefix, files.passage_prefix) == ("query: ", "passage: ")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 18, "do_lower_case": True})
    assert (read_tokenizer(folder).window, read_tokenizer(folder).lower_case) == (18, True)


def test_a_tokenizer_alone_says_nothing_else(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (folder / "tokenizer.json").rename(tmp_path / "alone" / "tokenizer.json")
    files = read_tokenizer(tmp_path / "alone")
    assert (files.window, files.lower_case, files.query_prefix, files.passage_prefix) == (None, False, "", "")
    with pytest.raises(InvalidInput, match=r"'my-model' has no tokenizer\.json"):
        read_tokenizer(folder)
    with pytest.raises(NotFound):
        read_tokenizer(tmp_path / "nowhere")
