"""Builds the platform: one match a port. The only module that knows every adapter."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ragstone.adapters.container import usable_memory
from ragstone.adapters.data_directory import open_data_directory, owner
from ragstone.adapters.disk_space import DiskSpace
from ragstone.adapters.embedded_backup import EmbeddedBackup
from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.adapters.failpoints import SIDE_EFFECTS, VARIABLE, Failpoint, Failpoints, parse
from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.key_file import KeyFile
from ragstone.adapters.model_store import ModelEntry, ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_session import prepare
from ragstone.adapters.parsing.sandbox import ParserLimits, SubprocessParser
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.redacting_log import RedactingInteractionLog
from ragstone.adapters.spooled_log import SpooledInteractionLog
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.errors import InvalidInput, RagstoneError
from ragstone.domain.redaction import Redaction
from ragstone.ports.authenticator import Authenticator
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.generator import Generator
from ragstone.ports.interaction_log import InteractionLog
from ragstone.settings import model as configured
from ragstone.settings.model import Settings
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, Platform, assemble
from ragstone.use_cases.prompts import Prompts

_DAY = 86_400.0  # seconds
Announce = Callable[[str], None]  # tells a data directory's lock at which URL its owner answers


def model_store(settings: Settings) -> ModelStore:
    """The models on this machine."""
    return ModelStore(settings.models)


def prepare_model(settings: Settings, entry: ModelEntry) -> None:
    """Builds what an installed model needs beside its files, so that its cache may be read-only. Blocking. Raises `DataDirectoryError`."""
    if entry.path is not None:
        prepare(entry.path, model_store(settings).graphs)


def find_owner(settings: Settings) -> str | None:
    """The URL of the process that owns the data directory, if one runs and has announced itself."""
    running = owner(settings.data_dir)
    return running.url if running else None


def authenticator(settings: Settings) -> Authenticator | None:
    """The keys of the settings, None where there are none. Blocking. Raises `InvalidInput` for a file that can't be used."""
    return KeyFile(settings.api_keys_file) if settings.api_keys_file is not None else None


def embedding_model(settings: Settings) -> EmbeddingModel:
    """The model of the settings, loaded; a preset that is not here yet is fetched. Blocking. Raises `NotFound`, `InvalidInput`, `Unavailable`."""
    store = model_store(settings)
    return OnnxEmbedder(store.path(settings.model), graphs=store.graphs, threads=settings.threads or None)


def generator(settings: Settings, embedder: EmbeddingModel) -> Generator:
    """The generator of the settings. Raises `InvalidInput` for a key file that can't be read."""
    match settings.generator:
        case configured.ExtractiveGenerator():
            return ExtractiveGenerator(embedder)
        case configured.OpenAIGenerator() as openai:
            from ragstone.adapters.openai_generator import OpenAIGenerator  # noqa: PLC0415 - its HTTP client is slow to import

            return OpenAIGenerator(
                base_url=openai.base_url, model=openai.model, api_key=_api_key(openai), context_window=openai.context_window
            )


def redaction(settings: configured.InteractionSettings) -> Redaction:
    """What is taken out of interactions before they are stored. Raises `InvalidInput` for an unknown field or a missing key."""
    key = b""
    if settings.redact_key_file is not None:
        try:
            key = settings.redact_key_file.read_bytes().strip()
        except OSError:
            name = "interactions.redact_key_file"
            raise InvalidInput(f"{name}: it can't be read; check its path and rights.", field=name) from None
    elif settings.redact_key is not None:
        key = settings.redact_key.get_secret_value().encode()
    return Redaction(settings.redact, key)


def interaction_log(settings: configured.InteractionSettings, log: InteractionLog, spool: Path) -> InteractionLog:
    """`log` behind its spool, and redaction before both. Raises what `redaction` raises."""
    spooled = SpooledInteractionLog(log, spool, settings.spool_bytes)
    spooled.start()
    rules = redaction(settings)
    return RedactingInteractionLog(spooled, rules) if rules.fields else spooled


@asynccontextmanager
async def open_platform(settings: Settings, *, embedder: EmbeddingModel | None = None) -> AsyncIterator[Platform]:
    """The embedded platform over the data directory, recovered and started; closed at the end.

    `embedder`: a model that is loaded already. Raises `DataDirectoryError` when another process owns the directory or it can't be used.
    """
    async with open_directory(settings, embedder=embedder) as (platform, _):
        yield platform


@asynccontextmanager
async def open_directory(settings: Settings, *, embedder: EmbeddingModel | None = None) -> AsyncIterator[tuple[Platform, Announce]]:
    """As `open_platform`, with the function that announces a URL."""
    armed = parse(os.environ.get(VARIABLE, ""))
    redaction(settings.interactions)  # refused before anything is touched
    data = open_data_directory(settings.data_dir)
    try:
        model = embedder if embedder is not None else await asyncio.to_thread(embedding_model, settings)
        remembered = EmbeddingCache(model)  # answers look at the same sentences again and again
        versions, index = GitVersionStore(data.versions), QdrantEdgeIndex(data.index)
        adapters = Adapters(
            catalog=SqliteCatalog(data.database),
            versions=versions,
            index=index,
            staging=FileStaging(data.staging),
            queue=InProcessJobQueue(),
            parser=SubprocessParser(ParserLimits.within(usable_memory())),
            embedder=model,
            interactions=interaction_log(settings.interactions, SqliteInteractionLog(data.database), data.spool),
            storage=DiskSpace(settings.data_dir),
            backup=EmbeddedBackup(data, versions, index),
        )
        if armed:
            adapters = _with_failpoints(adapters, armed)
        answering = Answering(remembered, generator(settings, remembered), Prompts(), Calibrations())
        platform = assemble(
            adapters,
            answering,
            Limits(**settings.limits.model_dump()),
            f"{socket.gethostname()}:{os.getpid()}",
            keep_interactions=settings.interactions.keep_days * _DAY or None,
        )
        try:
            await platform.start()
            yield platform, data.announce
        finally:
            await platform.close()
    finally:
        data.close()


async def migrate(settings: Settings) -> list[str]:
    """Brings the data directory, its database and its indexes to this release's formats, and makes what is not there; needs no model.

    Done again it changes nothing. Returns the indexes that could not be opened: they are for the doctor. Raises `DataDirectoryError` when
    another process owns the directory or a newer release made it.
    """
    data = open_data_directory(settings.data_dir)
    try:
        await SqliteCatalog(data.database).close()
        index = QdrantEdgeIndex(data.index)
        try:
            damaged: list[str] = []
            for name in await index.names():
                try:
                    await index.flush(name)
                except RagstoneError:
                    damaged.append(name)
            return damaged
        finally:
            await index.aclose()
    finally:
        data.close()


def _with_failpoints(adapters: Adapters, armed: Sequence[Failpoint]) -> Adapters:
    failpoints = Failpoints(armed)
    return replace(adapters, **{port: failpoints.wrap(port, getattr(adapters, port)) for port in SIDE_EFFECTS})


def _api_key(settings: configured.OpenAIGenerator) -> str | None:
    if settings.api_key_file is None:
        return settings.api_key.get_secret_value() if settings.api_key else None
    try:
        return Path(settings.api_key_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput("generator.api_key_file: it can't be read; check its path and rights.", field="generator.api_key_file") from None
