"""What may be registered of a model on disk."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from ragstone.adapters.model_content import read_content
from ragstone.adapters.model_files import MANIFEST, file_digest
from ragstone.domain.errors import InvalidInput, NotFound
from tests.support.tiny_encoder import make_encoder

PROMPT = 'description = "x"\nsystem = "Answer."\nuser = "{{ question }}"\n'


def test_every_file_of_a_directory_is_listed_with_its_digest(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.bin").write_bytes(b"x")
    (folder / ".gitattributes").write_bytes(b"x")
    (folder / "LICENSE").write_text("Apache-2.0")
    content = read_content(folder, "embedder")
    assert (content.root, content.entry) == (folder, "")
    names = [file.path for file in content.files]
    assert names == sorted(["1_Pooling/config.json", "LICENSE", "config.json", "model.safetensors", "modules.json", *names[-2:]])
    assert all(file.sha256 == file_digest(folder / file.path) for file in content.files)
    assert all(file.size == (folder / file.path).stat().st_size for file in content.files)


def test_an_onnx_file_brings_the_files_beside_it_and_a_gguf_file_comes_alone(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"\x08\x0a")
    content = read_content(folder / "onnx" / "model.onnx", "embedder")
    assert (content.root, content.entry) == (folder, "onnx/model.onnx")
    assert len(content.files) == len(read_content(folder, "embedder").files)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "llama.gguf").write_bytes(b"GGUF\x03")
    (tmp_path / "files" / "other.bin").write_bytes(b"x")
    alone = read_content(tmp_path / "files" / "llama.gguf", "generator")
    assert (alone.root, alone.entry, [file.path for file in alone.files]) == (tmp_path / "files", "llama.gguf", ["llama.gguf"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", b"anything"),
        ("sub/weights.PT", b"anything"),
        ("model.onnx", pickle.dumps({"a": 1})),
        ("spiece.model", b"PK\x03\x04torch"),
        ("vocab.txt", pickle.dumps([1], protocol=2)),
    ],
)
def test_what_could_run_code_is_refused_under_whatever_name(tmp_path: Path, name: str, content: bytes) -> None:
    folder = make_encoder(tmp_path / "tiny")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidInput, match="can run code") as raised:
        read_content(folder, "embedder")
    assert raised.value.message.startswith(name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", pickle.dumps({"a": 1}), "is not a safetensors file"),
        ("model.safetensors", (2**40).to_bytes(8, "little"), "is not a safetensors file"),
        ("model.safetensors", b"\x02" + bytes(7) + b"[]", "is not a safetensors file"),
        ("model.gguf", b"GGML", "is not a GGUF file"),
        ("modeling.py", b"import os", "of no kind that belongs to a model"),
        ("bad\nname.json", b"{}", "is not the name of a model's file"),
    ],
)
def test_files_that_are_not_what_they_seem_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    folder = make_encoder(tmp_path / "tiny")
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_content(folder, "embedder")


def test_links_out_of_the_directory_are_not_followed(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    (tmp_path / "secret.json").write_text("{}")
    (folder / "extra.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(InvalidInput, match=r"extra\.json is a link out of"):
        read_content(folder, "embedder")


def test_a_file_that_is_missing_or_altered_against_the_lock_is_named(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    lock = {"files": {name: file_digest(folder / name) for name in ("config.json", "model.safetensors")}}
    (folder / MANIFEST).write_text(json.dumps(lock))
    assert MANIFEST in [file.path for file in read_content(folder, "embedder").files]
    (folder / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"config\.json of the model 'tiny' is not the file"):
        read_content(folder, "embedder")
    (folder / "config.json").unlink()
    with pytest.raises(InvalidInput, match=r"lacks config\.json"):
        read_content(folder, "embedder")


def test_prompts_are_texts_and_models_have_weights(tmp_path: Path) -> None:
    (tmp_path / "1.toml").write_text(PROMPT)
    assert [file.path for file in read_content(tmp_path / "1.toml", "prompt").files] == ["1.toml"]
    with pytest.raises(InvalidInput, match="has no weights"):
        read_content(tmp_path / "1.toml", "embedder")
    with pytest.raises(InvalidInput, match=r"A prompt is a \.toml file"):
        read_content(make_encoder(tmp_path / "tiny"), "prompt")
    (tmp_path / "2.toml").write_text('system = "x"')
    with pytest.raises(InvalidInput, match="needs the texts system and user"):
        read_content(tmp_path / "2.toml", "prompt")
    (tmp_path / "3.toml").write_text("system =")
    with pytest.raises(InvalidInput, match="is not valid TOML"):
        read_content(tmp_path / "3.toml", "prompt")
    with pytest.raises(NotFound):
        read_content(tmp_path / "absent", "embedder")
