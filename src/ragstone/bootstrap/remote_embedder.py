"""The embedding model of a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ragstone.adapters.embedding_probe import ProbeRecord
from ragstone.adapters.model_files import TokenizerFiles, read_tokenizer
from ragstone.adapters.onnx_tokenizer import ModelTokenizer
from ragstone.adapters.openai_embedder import OpenAIEmbedder
from ragstone.adapters.openai_embedding_endpoint import EmbeddingEndpoint
from ragstone.adapters.openai_embedding_servers import AnyServer, RagstoneServer, Told, check_tokenizer, measure, meet_any, meet_ragstone
from ragstone.bootstrap.secrets import secret_of
from ragstone.domain.errors import InvalidInput
from ragstone.settings.embedders import OpenAIEmbedder as OpenAISettings
from ragstone.settings.embedders import RagstoneEmbedder as RagstoneSettings


def remote_embedder(settings: RagstoneSettings | OpenAISettings, tokenizer: Path, records: Path) -> OpenAIEmbedder:
    """The model, met: its server was asked, and serves what it should. Blocking; not to be called in an event loop's thread.

    `tokenizer`: a model directory. `records`: folder where probes are kept. Raises `InvalidInput`, `NotFound`, `Unavailable`.
    """
    files = read_tokenizer(tokenizer)
    server, reader = asyncio.run(_met(settings, files, records))
    return OpenAIEmbedder(
        _endpoint(settings),  # another than the one that met the server: connections belong to an event loop
        server,
        reader,
        batch_texts=settings.batch_texts,
        batch_tokens=settings.batch_tokens,
        in_flight=settings.in_flight,
    )


async def measured_probe(settings: OpenAISettings, tokenizer: Path) -> tuple[int, str]:
    """Dimension and fingerprint of the model that the server serves now, whatever was seen before. Raises `InvalidInput`, `NotFound`, `Unavailable`."""
    files = read_tokenizer(tokenizer)
    reader = ModelTokenizer(files.tokenizer, window=_told(settings, files).window, lower_case=files.lower_case)
    endpoint = _endpoint(settings)
    try:
        return await measure(endpoint, reader)
    finally:
        await endpoint.aclose()


async def _met(
    settings: RagstoneSettings | OpenAISettings, files: TokenizerFiles, records: Path
) -> tuple[RagstoneServer | AnyServer, ModelTokenizer]:
    endpoint = _endpoint(settings)
    server: RagstoneServer | AnyServer
    try:
        if isinstance(settings, RagstoneSettings):
            server = await meet_ragstone(endpoint, digest=settings.digest)
            tokenizer = ModelTokenizer(files.tokenizer, window=server.identity.window, lower_case=files.lower_case)
        else:
            told = _told(settings, files)
            tokenizer = ModelTokenizer(files.tokenizer, window=told.window, lower_case=files.lower_case)
            record = ProbeRecord(records, told.name, told.revision, told.known_digest)
            server = await meet_any(endpoint, told, tokenizer, record, probe=settings.probe)
        await check_tokenizer(endpoint, server, tokenizer)
    finally:
        await endpoint.aclose()
    return server, tokenizer


def _endpoint(settings: RagstoneSettings | OpenAISettings) -> EmbeddingEndpoint:
    has_key = settings.api_key is not None or settings.api_key_file is not None
    return EmbeddingEndpoint(
        settings.base_url,
        settings.model,
        api_key=secret_of("embedder.api_key", settings.api_key, settings.api_key_file) if has_key else None,
        timeout=settings.timeout,
        concurrency=settings.concurrency,
        encoding=settings.encoding,
    )


def _told(settings: OpenAISettings, files: TokenizerFiles) -> Told:
    window = settings.window or files.window
    if window is None:
        raise InvalidInput(
            "embedder.window: the files beside the tokenizer do not say how many tokens the model reads; set it.", field="embedder.window"
        )
    return Told(
        settings.model,
        settings.revision,
        settings.digest,
        settings.pooling,
        window,
        files.query_prefix if settings.query_prefix is None else settings.query_prefix,
        files.passage_prefix if settings.passage_prefix is None else settings.passage_prefix,
    )
