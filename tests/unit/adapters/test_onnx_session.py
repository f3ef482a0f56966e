"""ONNX files given by path, and the cache of built graphs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, helper, numpy_helper

from ragstone.adapters.model_files import read_encoder
from ragstone.adapters.onnx_bert_graph import build_graph
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_session import OnnxSession, prepare, run_failed, weights_digest
from ragstone.adapters.onnx_weights import load_weights
from ragstone.domain.errors import InternalError, InvalidInput, RagstoneError, Unavailable
from tests.support.tiny_encoder import CONFIG, make_encoder, random_weights

TEXTS = ["red pump", "the oil flows , the engine stops"]


def test_the_runtime_reports_to_nobody_and_leaves_nothing_at_home(tmp_path: Path) -> None:
    told_otherwise = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    environment = {name: value for name, value in os.environ.items() if name not in told_otherwise}
    command = [sys.executable, "-c", "import ragstone.adapters.onnx_session"]
    subprocess.run(command, env=environment | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_a_provider_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no CUDAExecutionProvider; it has .*CPUExecutionProvider") as refused:
        OnnxEmbedder(folder, graphs=folder.parent / "graphs", provider="CUDAExecutionProvider")
    assert refused.value.field == "provider"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_gives_way_to_the_cpu_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime does so where a device or its libraries are missing."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(InvalidInput, match="CUDAExecutionProvider can't be used here"):
        OnnxEmbedder(folder, graphs=folder.parent / "graphs", provider="CUDAExecutionProvider")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer",
            Unavailable,
        ),
        ("CUDA failure 2: out of memory", Unavailable),
        ("std::bad_alloc", Unavailable),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : indices element out of data bounds", InternalError),
    ],
)
def test_memory_that_runs_out_may_come_back_and_other_failures_do_not(said: str, kind: type[RagstoneError]) -> None:
    assert type(run_failed(RuntimeError(said), "It failed.")) is kind
    assert type(run_failed(MemoryError(), "It failed.")) is Unavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_encoder(tmp_path / "tiny")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The same encoder as an ONNX file, with its companions."""
    folder = make_encoder(tmp_path / "exported")
    onnx.save(build_graph(load_weights(folder / "model.safetensors", CONFIG)), folder / "model.onnx")
    (folder / "model.safetensors").unlink()
    return folder


def load(model: Path) -> OnnxEmbedder:
    return OnnxEmbedder(model, graphs=model.parent / "graphs")


async def test_an_onnx_file_gives_what_the_directory_gives(folder: Path, exported: Path) -> None:
    expected = await load(folder).embed_passages(TEXTS)
    for path in (exported, exported / "model.onnx"):
        model = load(path)
        np.testing.assert_array_equal(await model.embed_passages(TEXTS), expected)
        assert (model.identity.window, model.identity.dimension) == (20, 16)
    assert not (exported.parent / "graphs" / "model.onnx").exists()


def lookup(path: Path, output: str, inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids")) -> None:
    """A graph that looks word vectors up; `sentence_embedding` is the sum over real tokens, the last 8 of its 16 numbers left out."""
    table = random_weights()["embeddings.word_embeddings.weight"]
    nodes = [helper.make_node("Gather", ["table", inputs[0]], ["words"])]
    shape: list[int | str] = ["batch", "sequence", 16]
    if output == "sentence_embedding":
        axes = {"axes": np.array([1], np.int64), "starts": np.array([0], np.int64), "ends": np.array([8], np.int64)}
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["words", "column"], ["real"]),
            helper.make_node("ReduceSum", ["real", "axes"], ["sum"], keepdims=0),
            helper.make_node("Slice", ["sum", "starts", "ends", "axes"], [output]),
        ]
        shape = ["batch", "any"]  # the width is not declared: it has to be measured
    else:
        axes = {}
        nodes.append(helper.make_node("Identity", ["words"], [output]))
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2], np.int64), "last")]
    constants += [numpy_helper.from_array(value, name) for name, value in axes.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in inputs]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "lookup", values, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


async def test_token_embeddings_and_token_types(exported: Path) -> None:
    lookup(exported / "model.onnx", "token_embeddings")
    [vector] = await load(exported).embed_passages(["red pump"])
    mean = random_weights()["embeddings.word_embeddings.weight"][[2, 6, 9, 3]].mean(axis=0)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


async def test_a_model_that_pools_needs_no_pooling_settings(exported: Path) -> None:
    (exported / "modules.json").unlink()
    (exported / "1_Pooling" / "config.json").unlink()
    lookup(exported / "model.onnx", "sentence_embedding")
    model = load(exported)
    assert model.identity.dimension == 8
    [vector, _] = await model.embed_passages(TEXTS)
    total = random_weights()["embeddings.word_embeddings.weight"][[2, 6, 9, 3], :8].sum(axis=0)
    np.testing.assert_allclose(vector, total / np.linalg.norm(total), atol=1e-6)


def test_a_model_that_does_not_pool_needs_them(exported: Path) -> None:
    (exported / "modules.json").unlink()
    (exported / "1_Pooling" / "config.json").unlink()
    with pytest.raises(InvalidInput, match=r"1_Pooling/config\.json is missing"):
        load(exported)


@pytest.mark.parametrize(
    ("output", "inputs", "message"),
    [
        ("logits", ["input_ids"], "no output named last_hidden_state, token_embeddings, sentence_embedding"),
        ("token_embeddings", ["input_ids", "pixels"], "the input pixels is not one of"),
        ("token_embeddings", ["attention_mask"], "no input named input_ids"),
    ],
)
def test_a_graph_that_is_no_encoder_is_refused(exported: Path, output: str, inputs: list[str], message: str) -> None:
    lookup(exported / "model.onnx", output, inputs)
    with pytest.raises(InvalidInput, match=message):
        load(exported)


@pytest.mark.parametrize("content", [b"", b"not a graph at all"])
def test_a_broken_onnx_file_is_refused(exported: Path, content: bytes) -> None:
    (exported / "model.onnx").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"model\.onnx"):
        load(exported)


def test_the_digest_covers_weights_kept_outside_the_onnx_file(exported: Path) -> None:
    graph = onnx.load(exported / "model.onnx")
    inline = weights_digest(read_encoder(exported))
    onnx.save_model(graph, exported / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    first = weights_digest(read_encoder(exported))
    content = bytearray((exported / "weights.bin").read_bytes())
    content[100] ^= 1
    (exported / "weights.bin").write_bytes(content)
    assert len({inline, first, weights_digest(read_encoder(exported))}) == 3
    (exported / "weights.bin").unlink()
    with pytest.raises(InvalidInput, match=r"weights\.bin, which is missing"):
        weights_digest(read_encoder(exported))


def test_a_built_graph_is_kept_and_used_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = tmp_path / "graphs"
    OnnxSession(read_encoder(folder), graphs=graphs)
    [kept] = graphs.iterdir()
    monkeypatch.setattr("ragstone.adapters.onnx_bert_graph.build_graph", None)  # a second build would fail
    OnnxSession(read_encoder(folder), graphs=graphs)
    assert list(graphs.iterdir()) == [kept]


def test_a_graph_that_was_cut_short_is_built_again_and_may_be_read_by_others(folder: Path, tmp_path: Path) -> None:
    graphs = tmp_path / "graphs"
    prepare(folder, graphs)
    [kept] = graphs.iterdir()
    whole = kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o644
    for use in (lambda: prepare(folder, graphs), lambda: OnnxSession(read_encoder(folder), graphs=graphs)):
        kept.write_bytes(whole[:1000])
        use()
        assert kept.read_bytes() == whole


def test_other_weights_and_other_settings_have_graphs_of_their_own(folder: Path, tmp_path: Path) -> None:
    OnnxSession(read_encoder(folder), graphs=tmp_path / "graphs")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"gelu"', '"relu"'))
    OnnxSession(read_encoder(folder), graphs=tmp_path / "graphs")
    OnnxSession(read_encoder(make_encoder(tmp_path / "other", seed=2)), graphs=tmp_path / "graphs")
    assert len(list((tmp_path / "graphs").iterdir())) == 3


async def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, tmp_path: Path) -> None:
    expected = await load(folder).embed_passages(TEXTS)
    (tmp_path / "file").write_bytes(b"")
    model = OnnxEmbedder(folder, graphs=tmp_path / "file" / "graphs")
    np.testing.assert_array_equal(await model.embed_passages(TEXTS), expected)
