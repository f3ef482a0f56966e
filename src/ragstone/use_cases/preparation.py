"""Turns a change request into documents to put and paths to remove, against a given head."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from ragstone.domain.documents import DocumentInfo, StoredDocument
from ragstone.domain.errors import RagstoneError, UnreadableDocument
from ragstone.domain.jobs import ChangeRequest, Delete, DocumentFailure, Move, Put
from ragstone.ports.document_parser import DocumentParser
from ragstone.ports.version_store import VersionStore

_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a change request means for one head. Documents equal to the head's are in neither."""

    puts: dict[str, StoredDocument]
    removes: frozenset[str]
    failures: tuple[DocumentFailure, ...]


class Preparation:
    """One job's documents. Parsing is done once, however often the head moves."""

    def __init__(
        self,
        versions: VersionStore,
        parser: DocumentParser,
        load: Callable[[Put], Awaitable[bytes]],
        parsed: Callable[[], None] = lambda: None,
    ) -> None:
        self._versions = versions
        self._parser = parser
        self._load = load
        self._parsed = parsed
        self._documents: dict[str, StoredDocument | DocumentFailure] = {}  # by path, of which a request names each once

    async def parse(self, repo: str, head: str | None, request: ChangeRequest) -> None:
        """Parses what differs from the head, several documents at a time; needs no lease."""
        puts = [change for change in request.changes if isinstance(change, Put)]
        known = await self._infos(repo, head, [put.path for put in puts])
        gate = asyncio.Semaphore(4)  # the parser's own pool is smaller; this bounds the bytes held

        async def one(put: Put) -> None:
            async with gate:
                if not _same(put, known.get(put.path)):
                    await self._document(put)
                self._parsed()

        async with asyncio.TaskGroup() as group:
            for put in puts:
                group.create_task(one(put))

    @property
    def parsed(self) -> list[StoredDocument]:
        """The documents that could be read so far."""
        return [document for document in self._documents.values() if isinstance(document, StoredDocument)]

    async def resolve(self, repo: str, head: str | None, request: ChangeRequest) -> Resolved:
        """Applies the changes in their order."""
        named = {change.path for change in request.changes if isinstance(change, Put)}
        sources = {path for change in request.changes if isinstance(change, Move) for path in (change.source, change.target)}
        deletes = {change.path for change in request.changes if isinstance(change, Delete) and not change.prefix}
        known = await self._infos(repo, head, sorted(named | sources | deletes))
        overlay: dict[str, StoredDocument | None] = {}
        failures = list(request.rejected)
        for change in request.changes:
            match change:
                case Put(path=path):
                    if _same(change, known.get(path)) and path not in overlay:
                        continue
                    document = await self._document(change)
                    if isinstance(document, DocumentFailure):
                        failures.append(document)
                    else:
                        overlay[path] = document
                case Delete(path=prefix, prefix=True):
                    overlay.update({path: None for path in list(overlay) if path.startswith(prefix)})
                    async for info in self._all(repo, head, prefix):
                        overlay[info.path] = None
                case Delete(path=path):
                    if overlay.get(path, known.get(path)) is None:
                        failures.append(_failure(path, "not-found", 404, "is not in the collection, so it can't be deleted"))
                    else:
                        overlay[path] = None
                case Move():
                    failure = await self._move(repo, head, change, known, overlay)
                    failures.extend([failure] if failure else [])
        if request.mirror:
            keep = named | {failure.path for failure in failures}
            async for info in self._all(repo, head, request.mirror_prefix):
                if info.path not in keep and overlay.get(info.path) is None:
                    overlay[info.path] = None
        return Resolved(
            {path: document for path, document in overlay.items() if document is not None},
            frozenset(path for path, document in overlay.items() if document is None),
            tuple(failures),
        )

    async def _move(
        self, repo: str, head: str | None, move: Move, known: dict[str, DocumentInfo], overlay: dict[str, StoredDocument | None]
    ) -> DocumentFailure | None:
        if overlay.get(move.source, known.get(move.source)) is None:
            return _failure(move.source, "not-found", 404, "is not in the collection, so it can't be moved")
        if overlay.get(move.target, known.get(move.target)) is not None:
            return _failure(move.target, "conflict", 409, "exists already; delete it first, or move to another path")
        document = overlay.get(move.source)
        if document is None:
            if head is None:  # `known` came from the head, so there is one
                raise AssertionError("a document without a head")
            document = await self._versions.read(repo, head, move.source)
        overlay[move.target] = replace(document, info=replace(document.info, path=move.target))
        overlay[move.source] = None
        return None

    async def _document(self, put: Put) -> StoredDocument | DocumentFailure:
        if put.path not in self._documents:
            content = await self._load(put)
            try:
                extracted = await self._parser.parse(put.path, put.media_type, content)
                if not extracted.text.strip():
                    raise UnreadableDocument(f"{put.path}: it holds no text; leave it out.", field=put.path)
            except RagstoneError as error:
                if error.status >= 500:
                    raise
                self._documents[put.path] = DocumentFailure(put.path, error.code, error.message, error.status)
            else:
                info = DocumentInfo(put.path, put.media_type, put.size, put.staged, put.metadata, extracted.title)
                self._documents[put.path] = StoredDocument(info, content, extracted)
        return self._documents[put.path]

    async def _infos(self, repo: str, head: str | None, paths: list[str]) -> dict[str, DocumentInfo]:
        return await self._versions.infos(repo, head, paths) if head is not None and paths else {}

    async def _all(self, repo: str, head: str | None, prefix: str) -> AsyncIterator[DocumentInfo]:
        after = ""
        while head is not None:
            page = await self._versions.documents(repo, head, prefix=prefix, after=after, limit=_PAGE)
            for info in page:
                yield info
            if len(page) < _PAGE:
                return
            after = page[-1].path


def _same(put: Put, info: DocumentInfo | None) -> bool:
    return info is not None and (info.checksum, info.media_type, dict(info.metadata)) == (put.staged, put.media_type, dict(put.metadata))


def _failure(path: str, code: str, status: int, what: str) -> DocumentFailure:
    return DocumentFailure(path, code, f"{path}: it {what}.", status)
