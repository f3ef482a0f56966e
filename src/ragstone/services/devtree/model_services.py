"""The services that run models for the others: whether they can be started here, and how."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ragstone.domain.errors import InvalidInput
from ragstone.domain.registered_models import is_reference
from ragstone.services.devtree.programs import MLFLOW, has
from ragstone.services.devtree.specs import PATIENCE, Http, Spec
from ragstone.services.devtree.state import State, write_private
from ragstone.settings.embedders import OnnxEmbedder
from ragstone.settings.generation_service import LlamaCppEngine
from ragstone.settings.model import LlamaGenerator, Settings

EMBEDDING, GENERATION = "embedding", "generation"
_OWN = (sys.executable, "-m", "ragstone.cli.main")
_LOADS = 900.0  # seconds until a model of many gigabytes is read, compared and loaded
_NO_BENTO = "there is no BentoML beside this ragstone (--services names one that has it)"


@dataclass(frozen=True, slots=True)
class Offer:
    """`command`: of the ragstone that runs it, empty where there is none. `missing`: why not, in a sentence, empty where nobody wants it."""

    command: tuple[str, ...] = ()
    missing: str = ""


def find_embedding(settings: Settings, program: Path | None = None) -> Offer:
    """The embedding service: of `program`, a `ragstone` with BentoML beside it, or of this ragstone where it has that; else each process embeds itself.

    None either where the settings name an embedding server of their own. Blocking. Raises `InvalidInput` for a program that is none.
    """
    if not isinstance(settings.embedder, OnnxEmbedder):
        return Offer()
    command = _command(program)
    if not command:
        why = _NO_BENTO
    elif "provider" in settings.embedder.model_fields_set:
        why = "the settings name a provider (embedder.provider), which only a process with the model takes"
    else:
        return Offer(command)
    return Offer(missing=f"{EMBEDDING}: {why}; each process embeds by itself.")


def find_generation(settings: Settings, program: Path | None = None, servers: Collection[str] = ()) -> Offer:
    """The generation service, where the settings say that a GGUF model answers: as `find_embedding`. `servers`: those that the tree starts."""
    llama = settings.generator
    if not isinstance(llama, LlamaGenerator) or llama.base_url is not None:
        return Offer()
    command = _command(program)
    if not command:
        why = _NO_BENTO
    elif not (find_spec("xllamacpp") if program is None else has(program, "xllamacpp")):
        why = "there is no llama.cpp beside its BentoML (pip install 'ragstone[llama]')"
    elif not isinstance(settings.generation_service.engine, LlamaCppEngine):
        why = f"the settings give it another engine, {settings.generation_service.engine.kind}"
    elif is_reference(llama.model) and MLFLOW in servers:
        why = f"the registry that has {llama.model} is not there before the others"
    else:
        return Offer(command)
    return Offer(missing=f"{GENERATION}: {why}; the model is in the API's memory.")


def embedding(command: tuple[str, ...], model: str, state: State, http: Http) -> Spec:
    """`model`: as in the settings, by which the others know its tokenizer."""
    own = Path(model)
    return _service(
        EMBEDDING,
        (*command, "--model", model),
        state,
        http,
        environment={"RAGSTONE_EMBEDDER__KIND": "onnx"},
        variables={
            "RAGSTONE_EMBEDDER__KIND": "ragstone",
            "RAGSTONE_EMBEDDER__MODEL": own.stem if own.suffix == ".onnx" else own.name,
            "RAGSTONE_EMBEDDER__TOKENIZER": model,
        },
        section="RAGSTONE_EMBEDDER",
    )


def generation(command: tuple[str, ...], llama: LlamaGenerator, file: Path, state: State, http: Http) -> Spec:
    """`file`: the settings' model, which has the name that a process of its own would give it. As much at once, and as long, as in the settings."""
    model = str(file.absolute())
    own = {
        "MODEL": model,
        "NAME": file.stem,
        "CONTEXT_WINDOW": str(llama.context_window),
        "RUNNING": str(llama.slots),
        "WAITING": str(max(0, llama.concurrency - llama.slots)),
        "MAX_TOKENS": str(llama.context_window),
        "ANSWER_SECONDS": str(llama.timeout),
        "ENGINE__KIND": "llama.cpp",
        "ENGINE__THREADS": str(llama.threads),
        **({"DIGEST": llama.digest} if llama.digest else {}),
    }
    return _service(
        GENERATION,
        command,
        state,
        http,
        environment={f"RAGSTONE_GENERATION_SERVICE__{name}": value for name, value in own.items()},
        variables={"RAGSTONE_GENERATOR__MODEL": model},
        section="RAGSTONE_GENERATOR",
        patience=_LOADS,
    )


def _service(
    name: str,
    command: tuple[str, ...],
    state: State,
    http: Http,
    *,
    environment: Mapping[str, str],
    variables: Mapping[str, str],
    section: str,
    patience: float = PATIENCE,
) -> Spec:
    """With a port for its own, and a key that the others send: neither the settings' management port nor their keys are for it. `section`: of the others' settings."""
    port, management, secret = state.port(name), state.port(f"{name} (management)"), state.secret(f"{name}-key")
    keys = secret.with_name(f"{name}-keys")
    write_private(keys, f"profile:read:{hashlib.sha256(secret.read_bytes()).hexdigest()}\n")
    return Spec(
        name,
        (*command, f"serve-{name}", "--host", "127.0.0.1", "--port", str(port), "--management-port", str(management)),
        Path.cwd(),  # where ragstone.toml may be
        http(port, "/readyz"),
        f"http://127.0.0.1:{port}",
        environment={"RAGSTONE_API_KEYS_FILE": str(keys), **environment},
        variables={f"{section}__BASE_URL": f"http://127.0.0.1:{port}/v1", f"{section}__API_KEY_FILE": str(secret), **variables},
        patience=patience,
    )


def _command(program: Path | None) -> tuple[str, ...]:
    if program is None:
        return _OWN if find_spec("bentoml") is not None else ()
    if not has(program, "bentoml", "ragstone"):
        raise InvalidInput(
            f"--services: {program.name} is not a ragstone with BentoML beside it; `make env-bento` makes .venv-bento/bin/ragstone.",
            field="services",
        )
    return (str(program.absolute()),)
