"""The models on this machine, and what answers with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.adapters.llama_model_file import checked_digest, gguf_file, trained_window
from ragstone.adapters.model_store import ModelEntry, ModelStore
from ragstone.bootstrap.registry import generator_elsewhere, local_model_of, place
from ragstone.bootstrap.secrets import secret_of
from ragstone.domain.errors import InvalidInput, NotFound, RagstoneError
from ragstone.domain.registered_models import is_reference
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.generator import Generator
from ragstone.ports.reranker import Reranker
from ragstone.settings import embedders, rerankers
from ragstone.settings import model as configured
from ragstone.settings.model import Settings
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
from ragstone.use_cases.platform import Connection
from ragstone.use_cases.prompts import Prompts

if TYPE_CHECKING:
    from ragstone.adapters.onnx_embedder import OnnxEmbedder
    from ragstone.adapters.onnx_reranker import OnnxReranker


def model_store(settings: Settings) -> ModelStore:
    """The models on this machine."""
    return ModelStore(settings.models)


def prepare_model(settings: Settings, entry: ModelEntry) -> None:
    """Builds what an installed model needs beside its files, so that its cache may be read-only. Blocking. Raises `DataDirectoryError`."""
    from ragstone.adapters.onnx_session import prepare  # noqa: PLC0415 - who embeds on a server needs no ONNX Runtime

    if entry.path is not None:
        prepare(entry.path, model_store(settings).graphs)


def local_model(settings: Settings) -> str:
    """The preset or path of what this machine needs of the embedding model: all of it, or its tokenizer alone."""
    return settings.model if isinstance(settings.embedder, embedders.OnnxEmbedder) else settings.embedder.tokenizer


def embedding_model(settings: Settings) -> EmbeddingModel:
    """The model of the settings, loaded, or met on its server; a preset that is not here yet is fetched.

    Blocking; not to be called in an event loop's thread. Raises `NotFound`, `InvalidInput`, `Unavailable`.
    """
    store = model_store(settings)
    source = local_model(settings)
    field = "model" if isinstance(settings.embedder, embedders.OnnxEmbedder) else "embedder.tokenizer"
    path = local_model_of(settings, source, "embedder", field).path if is_reference(source) else store.path(source)
    match settings.embedder:
        case embedders.OnnxEmbedder():
            return onnx_embedder(settings, path)
        case remote:
            from ragstone.bootstrap.remote_embedder import remote_embedder  # noqa: PLC0415 - its HTTP client is slow to import

            return remote_embedder(remote, path, store.locks)


def further_models(settings: Settings) -> tuple[EmbeddingModel, ...]:
    """The models of spaces that are built, or that earlier commits are read from, loaded on this machine. Blocking. Raises as `embedding_model`."""
    store = model_store(settings)
    return tuple(onnx_embedder(settings, store.path(name)) for name in settings.further_models)


def onnx_embedder(settings: Settings, path: Path) -> OnnxEmbedder:
    """The model of that place, in this process. Blocking. Raises `NotFound`, `InvalidInput`."""
    from ragstone.adapters.onnx_embedder import OnnxEmbedder  # noqa: PLC0415 - who embeds on a server needs no ONNX Runtime

    provider = settings.embedder.provider if isinstance(settings.embedder, embedders.OnnxEmbedder) else embedders.CPU
    try:
        return OnnxEmbedder(path, graphs=model_store(settings).graphs, threads=settings.threads or None, provider=provider)
    except InvalidInput as error:
        raise (_of("embedder", error) if error.field == "provider" else error) from error


async def probe(settings: Settings) -> tuple[int, str]:
    """Dimension and fingerprint of the model behind the settings' embedding server. Raises `InvalidInput` where there is none that needs one, and as `embedding_model`."""
    if not isinstance(settings.embedder, embedders.OpenAIEmbedder):
        raise InvalidInput(
            f"embedder.kind: it is {settings.embedder.kind}, and a model of that kind is known by its digest; a probe tells models of the kind openai.",
            field="embedder.kind",
        )
    from ragstone.bootstrap.remote_embedder import measured_probe  # noqa: PLC0415

    return await measured_probe(settings.embedder, model_store(settings).path(local_model(settings)))


def generator(settings: Settings, embedder: EmbeddingModel) -> Generator:
    """The generator of the settings, loaded. Blocking. Raises `NotFound` or `InvalidInput` for a key file or a model that can't be used."""
    match settings.generator:
        case configured.ExtractiveGenerator():
            return ExtractiveGenerator(embedder)
        case configured.OpenAIGenerator() as openai:
            from ragstone.adapters.openai_generator import OpenAIGenerator  # noqa: PLC0415 - its HTTP client is slow to import

            model, revision = openai.model, ""
            if is_reference(openai.model):
                found = generator_elsewhere(settings, openai.model, openai.base_url)
                model, revision = found.model, found.revision
            return OpenAIGenerator(
                base_url=openai.base_url,
                model=model,
                revision=revision,
                api_key=secret_of("generator.api_key", openai.api_key, openai.api_key_file)
                if openai.api_key or openai.api_key_file
                else None,
                context_window=openai.context_window,
                first_token_timeout=openai.first_token_timeout,
                concurrency=openai.concurrency,
            )
        case configured.LlamaGenerator() as llama:
            if settings.role == "worker":  # answers no questions
                return ExtractiveGenerator(embedder)
            return _llama_generator(settings, llama) if llama.base_url is None else _llama_elsewhere(settings, llama, llama.base_url)


def _llama_elsewhere(settings: Settings, llama: configured.LlamaGenerator, base_url: str) -> Generator:
    """The same generator by its identity and its answers; the model itself is in a service's memory."""
    from ragstone.adapters.openai_generator import OpenAIGenerator  # noqa: PLC0415 - its HTTP client is slow to import

    file = gguf_of(settings, llama)
    try:
        digest = checked_digest(file, llama.digest)
    except InvalidInput as error:
        raise InvalidInput(f"generator.model: {error.message}", field="generator.model") from error
    return OpenAIGenerator(
        base_url=base_url,
        model=file.stem,
        kind="llama",
        revision=digest,
        api_key=secret_of("generator.api_key", None, llama.api_key_file) if llama.api_key_file else None,
        context_window=min(llama.context_window, trained_window(file) or llama.context_window),
        first_token_timeout=llama.first_token_timeout,
        concurrency=llama.concurrency,
    )


def gguf_of(settings: Settings, llama: configured.LlamaGenerator) -> Path:
    """The file of the model. Blocking. Raises `NotFound` or `InvalidInput`, naming the setting, and for a version of the registry as `place`."""
    path = place(settings, llama.model, "generator", "generator.model")
    try:
        return gguf_file(path)
    except (NotFound, InvalidInput) as error:
        raise type(error)(f"generator.model: {error.message}", field="generator.model") from error


def _llama_generator(settings: Settings, llama: configured.LlamaGenerator) -> Generator:
    try:
        from ragstone.adapters.llama_engine import LlamaServer  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "generator.kind: llama needs the package xllamacpp, which is not here: pip install 'ragstone[llama]'.", field="generator.kind"
        ) from error
    from ragstone.adapters.llama_generator import LlamaGenerator  # noqa: PLC0415

    path = place(settings, llama.model, "generator", "generator.model")
    try:
        server = LlamaServer(
            path,
            context_window=llama.context_window,
            slots=llama.slots,
            waiting=llama.concurrency,
            threads=llama.threads or None,
            digest=llama.digest,
        )
    except (NotFound, InvalidInput) as error:
        raise type(error)(f"generator.model: {error.message}", field="generator.model") from error
    return LlamaGenerator(server, first_token_timeout=llama.first_token_timeout, concurrency=llama.concurrency)


def reranker(settings: Settings) -> Reranker | None:
    """The reranker of the settings, loaded. Blocking. Raises `NotFound` or `InvalidInput`, naming the setting."""
    match settings.reranker:
        case rerankers.NoReranker():
            return None
        case rerankers.OnnxReranker() as onnx:
            return onnx_reranker(settings, onnx, place(settings, onnx.model, "reranker", "reranker.model"))
        case rerankers.HttpReranker() as http:
            from ragstone.adapters.http_reranker import HttpReranker  # noqa: PLC0415 - its HTTP client is slow to import

            return HttpReranker(
                http.base_url,
                http.model,
                dialect=http.dialect,
                api_key=secret_of("reranker.api_key", http.api_key, http.api_key_file) if http.api_key or http.api_key_file else None,
                batch=http.batch,
                timeout=http.timeout,
                concurrency=http.concurrency,
            )


def onnx_reranker(settings: Settings, onnx: rerankers.OnnxReranker, path: Path) -> OnnxReranker:
    """The cross-encoder of that place, in this process. Blocking. Raises `NotFound` or `InvalidInput`, naming the setting."""
    from ragstone.adapters.onnx_reranker import OnnxReranker  # noqa: PLC0415

    graphs = model_store(settings).graphs
    try:
        return OnnxReranker(path, graphs=graphs, threads=onnx.threads or None, digest=onnx.digest, provider=onnx.provider)
    except (NotFound, InvalidInput) as error:
        if error.field == "provider":
            raise _of("reranker", error) from error
        raise type(error)(f"reranker.model: {error.message}", field="reranker.model") from error


def _of(section: str, error: RagstoneError) -> InvalidInput:
    """The error of a setting with its section."""
    return InvalidInput(f"{section}.{error.message}", field=f"{section}.{error.field}")


def answering(
    settings: Settings, model: EmbeddingModel, further: Sequence[EmbeddingModel] = ()
) -> tuple[Answering, tuple[Connection, ...]]:
    """What answers with the settings' generator, and without it while it is down; and what of it has to be closed. Blocking. Raises as `generator`."""
    remembered = EmbeddingCache(model)  # answers look at the same sentences again and again
    own = generator(settings, remembered)
    fallback = None if isinstance(own, ExtractiveGenerator) else ExtractiveGenerator(remembered)
    others = [EmbeddingCache(other) for other in further]
    return Answering(remembered, own, Prompts(), Calibrations(), fallback, others), (own,) if isinstance(own, Connection) else ()
