"""The cross-encoder in this process: its logits are those of the formulas, what is cut, threads, and clear refusals."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from ragstone.adapters.model_files import MANIFEST, file_digest, read_encoder
from ragstone.adapters.onnx_batches import BATCH_TOKENS
from ragstone.adapters.onnx_bert_graph import build_pair_graph
from ragstone.adapters.onnx_pair_session import OnnxPairSession
from ragstone.adapters.onnx_reranker import OnnxReranker
from ragstone.adapters.onnx_session import OnnxSession, built_graph, weights_digest
from ragstone.adapters.onnx_weights import load_head, load_weights
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from tests.support.tiny_cross_encoder import Family, logit, make_cross_encoder
from tests.support.tiny_encoder import make_encoder, write_json, write_tokenizer

CROSS_ENCODERS = Path(__file__).parents[2] / "data" / "cross_encoders"
# ids of the tiny vocabulary: CLS=2 SEP=3 the=4 a=5 red=6 pump=9 oil=13
RED_PUMP, OIL = [6, 9], 13


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_cross_encoder(tmp_path / "tiny")


def load(folder: Path, *, threads: int | None = None, digest: str | None = None) -> OnnxReranker:
    return OnnxReranker(folder, graphs=folder.parent / "graphs", threads=threads, digest=digest)


def bert_pair(question: list[int], text: list[int]) -> tuple[list[int], list[int]]:
    return [2, *question, 3, *text, 3], [0] * (len(question) + 2) + [1] * (len(text) + 1)


def roberta_pair(question: list[int], text: list[int]) -> tuple[list[int], list[int]]:
    ids = [2, *question, 3, 3, *text, 3]
    return ids, [0] * len(ids)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert"])
def test_logits_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    expected = np.load(CROSS_ENCODERS / family / "expected.npz")
    folder = shutil.copytree(CROSS_ENCODERS / family, tmp_path / family)
    write_tokenizer(folder / "tokenizer.json")  # to be a directory that is read; ids are given
    files = read_encoder(folder)
    session = OnnxPairSession(files, weights_digest(files), graphs=tmp_path / "graphs")
    np.testing.assert_allclose(session.run(expected["ids"], expected["mask"], expected["types"]), expected["logits"], atol=5e-6)


@pytest.mark.parametrize(("family", "pair"), [("bert", bert_pair), ("roberta", roberta_pair)])
async def test_logits_are_those_of_the_formulas_whatever_is_padded(
    tmp_path: Path, family: Family, pair: Callable[[list[int], list[int]], tuple[list[int], list[int]]]
) -> None:
    folder = make_cross_encoder(tmp_path / "tiny", family=family)
    scores = await load(folder).score("red pump", ["oil", "the red pump", "oil " * 9, ""])
    texts = [[OIL], [4, *RED_PUMP], [OIL] * 9, []]
    np.testing.assert_allclose(scores, [logit(folder, *pair(RED_PUMP, text)) for text in texts], atol=5e-6)
    assert len({round(score, 3) for score in scores}) == 4


async def test_the_types_of_tokens_count(folder: Path) -> None:
    [score] = await load(folder).score("red pump", ["oil"])
    ids, types = bert_pair(RED_PUMP, [OIL])
    assert abs(score - logit(folder, ids, types)) < 5e-6
    assert abs(score - logit(folder, ids, [0] * len(ids))) > 1e-2


async def test_only_the_text_is_cut_beside_a_question_that_leaves_it_half(folder: Path) -> None:
    question, near, far = "red pump " * 3, "oil " * 11, "oil " * 11 + "the " * 50
    [whole, cut] = await load(folder).score(question, [near, far])  # 6 + 11 + 3 tokens fill the window of 20
    assert abs(whole - cut) < 1e-5
    np.testing.assert_allclose(whole, logit(folder, *bert_pair(RED_PUMP * 3, [OIL] * 11)), atol=5e-6)


async def test_a_question_longer_than_half_of_the_window_keeps_what_the_text_leaves(folder: Path) -> None:
    [long, short] = await load(folder).score("red pump " * 400, ["oil " * 40, "oil " * 3])
    np.testing.assert_allclose(long, logit(folder, *bert_pair([*RED_PUMP * 4, RED_PUMP[0]], [OIL] * 8)), atol=5e-6)  # 17 tokens for both
    np.testing.assert_allclose(short, logit(folder, *bert_pair(RED_PUMP * 7, [OIL] * 3)), atol=5e-6)


async def test_a_window_beyond_the_positions_is_theirs(tmp_path: Path) -> None:
    folder = make_cross_encoder(tmp_path / "tiny", family="roberta", window=512)
    [score] = await load(folder).score("red pump", ["oil " * 600])  # 24 positions, 2 of them no token's
    np.testing.assert_allclose(score, logit(folder, *roberta_pair(RED_PUMP, [OIL] * 16)), atol=5e-6)


async def test_an_onnx_file_gives_what_the_directory_gives(folder: Path, tmp_path: Path) -> None:
    expected = await load(folder).score("red pump", ["oil", "a valve"])
    exported = make_cross_encoder(tmp_path / "exported")
    config = json.loads((exported / "config.json").read_text())
    weights = exported / "model.safetensors"
    onnx.save(build_pair_graph(load_weights(weights, config), load_head(weights, config)), exported / "model.onnx")
    weights.unlink()
    for path in (exported, exported / "model.onnx"):
        model = load(path)
        assert await model.score("red pump", ["oil", "a valve"]) == expected
        assert model.identity.digest == file_digest(exported / "model.onnx")


def test_the_identity_is_of_the_files(folder: Path) -> None:
    identity = load(folder).identity
    assert (identity.kind, identity.name, identity.digest) == ("onnx", "tiny", file_digest(folder / "model.safetensors"))
    before = identity.revision
    write_json(folder / "tokenizer_config.json", {"model_max_length": 18})
    assert load(folder).identity.revision != before


def test_batches_are_bounded_sorted_and_complete(folder: Path) -> None:
    batches = load(folder).batches("red pump", ["oil " * (number % 14) for number in range(300)])
    assert sorted(np.concatenate([batch.texts.rows for batch in batches]).tolist()) == list(range(300))
    assert all(batch.texts.ids.size <= BATCH_TOKENS and batch.texts.ids.shape == batch.types.shape for batch in batches)
    lengths = [batch.texts.ids.shape[1] for batch in batches]
    assert lengths == sorted(lengths, reverse=True)


async def test_graphs_are_kept_apart_from_those_of_encoders(folder: Path) -> None:
    files, graphs = read_encoder(folder), folder.parent / "graphs"
    load(folder)
    [pair] = graphs.iterdir()
    assert built_graph(files, weights_digest(files), graphs) != pair


def test_a_built_graph_is_used_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(folder)
    monkeypatch.setattr("ragstone.adapters.onnx_bert_graph.build_pair_graph", None)  # a second build would fail
    load(folder)


def test_the_key_of_an_encoder_s_graph_is_the_one_of_before(tmp_path: Path) -> None:
    OnnxSession(read_encoder(make_encoder(tmp_path / "tiny")), graphs=tmp_path / "graphs")
    assert [path.name for path in (tmp_path / "graphs").iterdir()] == ["b4980eac2ccf40c2a91dee93f0c628cd.onnx"]


class HeldSession:
    """Stands in for the session: batches wait until they are released."""

    def __init__(self) -> None:
        self.entered, self.both, self.release = threading.Event(), threading.Event(), threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == 2:
                self.both.set()
        self.entered.set()
        assert self.release.wait(10)
        with self._lock:
            self.running -= 1
        return np.ones((len(ids), 1), np.float32)


async def test_the_event_loop_does_not_wait_and_threads_are_bounded(folder: Path) -> None:
    model, held = load(folder, threads=2), HeldSession()
    model.session = held  # type: ignore[assignment]
    asking = [asyncio.create_task(model.score("red pump", ["oil " * 12] * 100)) for _ in range(3)]
    assert await asyncio.to_thread(held.both.wait, 10)
    await asyncio.sleep(0.05)  # for a third one, if there were any
    assert not any(task.done() for task in asking)
    held.release.set()
    assert await asyncio.gather(*asking) == [[1.0] * 100] * 3
    assert held.most == 2


async def test_a_cancelled_call_leaves_the_model_usable(folder: Path) -> None:
    model, held = load(folder, threads=1), HeldSession()
    real, model.session = model.session, held  # type: ignore[assignment]
    asking = asyncio.create_task(model.score("red pump", ["oil"] * 500))
    await asyncio.to_thread(held.entered.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    held.release.set()
    model.session = real
    assert len(await model.score("red pump", ["oil"])) == 1


async def test_logits_that_are_not_finite_are_refused_as_they_come(folder: Path) -> None:
    model = load(folder)

    class Broken:
        def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
            return np.full((len(ids), 1), np.nan, np.float32)

    model.session = Broken()  # type: ignore[assignment]
    with pytest.raises(Unavailable, match="not finite"):
        await model.score("red pump", ["oil"])


async def test_a_run_that_fails_is_unavailable(folder: Path) -> None:
    model = load(folder)
    [batch] = model.batches("red pump", ["oil"])
    with pytest.raises(Unavailable, match="failed on 1 texts of 6 tokens"):
        model.session.run(batch.texts.ids + 1000, batch.texts.mask, batch.types)


def change(folder: Path, **tensors: np.ndarray) -> None:
    held = load_file(folder / "model.safetensors")
    save_file(held | {name.replace("__", "."): value for name, value in tensors.items()}, folder / "model.safetensors")


def without(folder: Path, name: str) -> None:
    held = load_file(folder / "model.safetensors")
    held.pop(name)
    save_file(held, folder / "model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])


def one_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"model_type": "distilbert"})


def single_template(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"]["pair"] = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    write_json(folder / "tokenizer.json", tokenizer)


NAN = np.full((1, 16), np.nan, np.float32)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled": (pickled, "pickled weights only; save it as safetensors"),
    "not finite": (lambda folder: change(folder, classifier__weight=NAN), "a score that is not finite"),
    "no head": (lambda folder: without(folder, "bert.pooler.dense.weight"), r"the tensor pooler\.dense\.weight is missing"),
    "head of another shape": (lambda folder: change(folder, classifier__weight=NAN[:, :3]), "head's weights have the shape"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"no tokenizer\.json"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
    "cut short": (cut_short, "not a readable safetensors file"),
    "another family": (one_type, "a reranker of model_type 'distilbert' is not supported"),
    "no pairs": (single_template, "does not say how two texts are put together"),
    "no window": (lambda folder: write_json(folder / "tokenizer_config.json", {"model_max_length": 4}), "window of 4 tokens is too small"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_can_not_be_used_is_refused_with_a_sentence(folder: Path, what: str) -> None:
    spoil, message = REFUSED[what]
    spoil(folder)
    with pytest.raises(InvalidInput, match=message):
        load(folder)


def test_a_model_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load(tmp_path / "absent")


def test_several_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="gives 3 labels"):
        load(make_cross_encoder(tmp_path / "tiny", labels=3))


def constant(path: Path, output: str, shape: list[int | str], columns: int) -> None:
    """A graph that gives the same row for every text."""
    numbers = {"zero": 0, "one": 1, "columns": columns}
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["rows"]),
        helper.make_node("Concat", ["rows", "columns"], ["both"], axis=0),
        helper.make_node("Expand", ["row", "both"], [output]),
    ]
    constants = [numpy_helper.from_array(np.array([number], np.int64), name) for name, number in numbers.items()]
    constants.append(numpy_helper.from_array(np.zeros((1, columns), np.float32), "row"))
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.mark.parametrize(
    ("output", "shape", "columns", "message"),
    [
        ("last_hidden_state", ["batch", 1], 1, "no output named logits"),
        ("logits", ["batch", 2], 2, "gives 2 labels"),
        ("logits", ["batch", "labels"], 2, "gives 2 labels"),  # it shows only when it runs
    ],
)
def test_an_onnx_file_that_gives_no_single_logit_is_refused(
    folder: Path, output: str, shape: list[int | str], columns: int, message: str
) -> None:
    constant(folder / "other.onnx", output, shape, columns)
    with pytest.raises(InvalidInput, match=message):
        load(folder / "other.onnx")


async def test_an_onnx_file_whose_shape_is_not_declared_is_used(folder: Path) -> None:
    constant(folder / "other.onnx", "logits", ["batch", "labels"], 1)
    assert await load(folder / "other.onnx").score("red pump", ["oil", "a"]) == [0.0, 0.0]


def test_weights_other_than_the_digest_that_is_set_are_refused(folder: Path) -> None:
    digest = file_digest(folder / "model.safetensors")
    assert load(folder, digest=digest).identity.digest == digest
    change(folder, classifier__bias=np.array([0.25], np.float32))
    with pytest.raises(InvalidInput, match=f"not {digest}, which is set; nothing is loaded"):
        load(folder, digest=digest)


def test_files_are_those_of_the_manifest(folder: Path) -> None:
    files = {name: file_digest(folder / name) for name in ("model.safetensors", "config.json", "tokenizer.json")}
    write_json(folder / MANIFEST, {"name": "judge", "revision": "r1", "files": files})
    identity = load(folder).identity
    assert (identity.name, identity.revision) == ("judge", "r1")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config + " ")
    with pytest.raises(InvalidInput, match=r"config\.json of the model 'tiny' is not the file"):
        load(folder)
    (folder / "config.json").write_text(config)
    write_json(folder / MANIFEST, {"files": files | {"vocab.txt": "0"}})
    with pytest.raises(InvalidInput, match=r"lacks vocab\.txt"):
        load(folder)
    write_json(folder / MANIFEST, {"files": {"../outside": "0"}})
    with pytest.raises(InvalidInput, match="leaves the model directory"):
        load(folder)
