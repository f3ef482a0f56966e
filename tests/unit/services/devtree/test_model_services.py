"""Which services that run models are started with a tree, and how."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidInput
from ragstone.services.devtree import asking, model_services, programs
from ragstone.services.devtree.model_services import Offer, embedding, find_embedding, find_generation, generation
from ragstone.services.devtree.programs import MLFLOW
from ragstone.services.devtree.specs import Spec
from ragstone.services.devtree.state import State
from ragstone.settings.load import load_settings
from ragstone.settings.model import LlamaGenerator, Settings

OWN = (sys.executable, "-m", "ragstone.cli.main")
BENTO, LLAMA = "bentoml", "xllamacpp"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path / "data")
    with made.locked():
        yield made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages beside this Python."""
    packages: set[str] = set()
    monkeypatch.setattr(model_services, "find_spec", lambda name: name if name in packages else None)
    return packages


def ragstone(folder: Path, *packages: str) -> Path:
    """A program with a Python beside it that has these packages."""
    python, program = folder / "python", folder / "ragstone"
    lacking = [name for name in ("ragstone", BENTO, LLAMA) if name not in packages]
    python.write_text("#!/bin/sh\n" + "".join(f'case "$3" in *{name}*) exit 1;; esac\n' for name in lacking))
    program.write_text("#!/bin/sh\n")
    for file in (python, program):
        file.chmod(0o755)
    return program


def answered(**more: object) -> Settings:
    return load_settings(generator={"kind": "llama", "model": "/models/small.gguf", **more})


def test_the_embedding_service_needs_a_ragstone_with_bentoml_beside_it(tmp_path: Path, here: set[str]) -> None:
    settings = load_settings()
    why = "there is no BentoML beside this ragstone (--services names one that has it); each process embeds by itself."
    assert find_embedding(settings) == Offer(missing=f"embedding: {why}")
    with pytest.raises(InvalidInput, match="--services: ragstone is not a ragstone with BentoML"):
        find_embedding(settings, ragstone(tmp_path, "ragstone"))
    assert find_embedding(settings, ragstone(tmp_path, "ragstone", BENTO)).command == (str(tmp_path / "ragstone"),)
    here.add(BENTO)
    assert find_embedding(settings).command == OWN
    remote = load_settings(embedder={"kind": "ragstone", "base_url": "http://127.0.0.1:1/v1", "model": "m", "tokenizer": "m"})
    assert find_embedding(remote, tmp_path / "ragstone") == Offer()
    gpu = load_settings(embedder={"kind": "onnx", "provider": "CUDAExecutionProvider"})  # laid over it, an address would be refused
    assert "the settings name a provider" in find_embedding(gpu, tmp_path / "ragstone").missing


def test_the_generation_service_is_for_a_gguf_model_of_the_settings(tmp_path: Path, here: set[str]) -> None:
    here |= {BENTO, LLAMA}
    assert find_generation(answered()) == Offer(OWN)
    program = ragstone(tmp_path, "ragstone", BENTO, LLAMA)
    assert find_generation(answered(), program) == Offer((str(program),))
    openai = load_settings(generator={"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"})
    for other in (load_settings(), openai, answered(base_url="http://127.0.0.1:1/v1")):
        assert find_generation(other, program) == Offer()


def test_what_keeps_the_generation_service_from_being_started_is_told(tmp_path: Path, here: set[str]) -> None:
    tail = "; the model is in the API's memory."
    without = Offer(missing="generation: there is no BentoML beside this ragstone (--services names one that has it)" + tail)
    assert find_generation(answered()) == without
    no_llama = Offer(missing="generation: there is no llama.cpp beside its BentoML (pip install 'ragstone[llama]')" + tail)
    assert find_generation(answered(), ragstone(tmp_path, "ragstone", BENTO)) == no_llama
    here.add(BENTO)
    assert find_generation(answered()) == no_llama
    here.add(LLAMA)
    registered = answered(model="models:/small@live")
    assert find_generation(registered) == Offer(OWN)
    assert "the registry that has models:/small@live is not there" in find_generation(registered, servers={MLFLOW}).missing
    engine = load_settings(generator={"kind": "llama", "model": "/m.gguf"}, generation_service={"engine": {"kind": "vllm"}})
    assert "another engine, vllm;" in find_generation(engine).missing
    with pytest.raises(InvalidInput, match="--services: ragstone is not a ragstone with BentoML"):
        find_generation(answered(), ragstone(tmp_path, "ragstone"))


def test_a_program_is_looked_for_in_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def has(_: Path, *modules: str) -> bool:
        asked.append(modules)
        return True

    monkeypatch.setattr(model_services, "has", has)
    find_generation(answered(), tmp_path / "ragstone")
    assert asked == [(BENTO, "ragstone"), (LLAMA,)]
    assert programs.has(Path(sys.executable), "pytest")
    assert not programs.has(Path(sys.executable), "pytest", "no_such_package")


def test_the_others_know_the_embedding_model_by_its_name_at_the_service(state: State) -> None:
    for model, name in (("all-minilm-l6-v2", "all-minilm-l6-v2"), ("/models/tiny", "tiny"), ("/models/tiny/model.onnx", "model")):
        one = embedding(("/bin/ragstone",), model, state, asking.http)
        assert one.command[:4] == ("/bin/ragstone", "--model", model, "serve-embedding")
        assert (one.variables["RAGSTONE_EMBEDDER__MODEL"], one.variables["RAGSTONE_EMBEDDER__TOKENIZER"]) == (name, model)
        assert one.variables["RAGSTONE_EMBEDDER__BASE_URL"] == f"{one.address}/v1"


def test_the_generation_service_has_the_generators_settings(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llama = answered(digest="a" * 64, context_window=2_048, slots=3, concurrency=7, threads=5, timeout=50).generator
    assert isinstance(llama, LlamaGenerator)
    one = generation(("/bin/ragstone",), llama, Path("/models/small.gguf"), state, asking.http)
    with monkeypatch.context() as patch:
        for name, value in one.environment.items():
            patch.setenv(name, value)
        own = load_settings().generation_service
    assert (own.model, own.name, own.digest, own.context_window) == ("/models/small.gguf", "small", "a" * 64, 2_048)
    assert (own.running, own.waiting, own.max_tokens, own.answer_seconds) == (3, 4, 2_048, 50.0)
    assert (own.engine.kind, getattr(own.engine, "threads", None)) == ("llama.cpp", 5)
    for name, value in one.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ragstone.toml").write_text('[generator]\nkind = "llama"\nmodel = "small.gguf"\nslots = 3\nthreads = 5\n')
    given = load_settings().generator
    assert isinstance(given, LlamaGenerator)
    assert (given.base_url, given.model, given.slots) == (f"{one.address}/v1", "/models/small.gguf", 3)


@pytest.mark.parametrize("name", ["embedding", "generation"])
def test_a_service_has_ports_and_a_key_of_its_own(state: State, name: str) -> None:
    one = _made(name, state)
    keys = Path(one.environment["RAGSTONE_API_KEYS_FILE"])
    secret = Path(next(value for variable, value in one.variables.items() if variable.endswith("API_KEY_FILE")))
    assert keys.read_text() == f"profile:read:{hashlib.sha256(secret.read_bytes()).hexdigest()}\n"
    assert [path.stat().st_mode & 0o777 for path in (keys, secret)] == [0o600, 0o600]
    assert not any(secret.read_text() in word for word in (*one.command, *one.environment.values(), *one.variables.values()))
    ports = [one.command[one.command.index(option) + 1] for option in ("--port", "--management-port")]
    assert one.address == f"http://127.0.0.1:{ports[0]}"
    assert len({*ports}) == 2
    assert _made(name, state).command == one.command  # the next start uses the same


def _made(name: str, state: State) -> Spec:
    if name == "embedding":
        return embedding(("/bin/ragstone",), "m", state, asking.http)
    llama = answered().generator
    assert isinstance(llama, LlamaGenerator)
    return generation(("/bin/ragstone",), llama, Path("/models/small.gguf"), state, asking.http)
