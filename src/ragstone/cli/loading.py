"""Bringing a collection up to date with what was found on this machine: compare, send what differs, follow the jobs."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragstone.cli.api import Json, ProblemError, url
from ragstone.cli.following import follow
from ragstone.cli.local import LocalDocument
from ragstone.cli.multipart import Form
from ragstone.cli.output import Output
from ragstone.cli.progress import bar, size
from ragstone.cli.scan import Scan
from ragstone.cli.values import if_match_header
from ragstone.domain.errors import TooLarge

if TYPE_CHECKING:
    from ragstone.cli.client import Client

_PAGE = 1000  # documents a listing asks for at once
_TRIES = 3  # comparisons of a mirror whose collection moves meanwhile
_OVERHEAD = 1024  # bytes of a document's multipart head, more than enough
_METADATA_BYTES = 4 * 2**20  # of one request: half of what the server takes


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """See `ragstone ingest --help`. `prefix`: what a mirror covers. `groups`: of the documents; with them all are sent, also those that did not change."""

    collection: str
    mirror: bool = False
    prefix: str = ""
    strict: bool = False
    atomic: bool = False
    wait: bool = True
    message: str = ""
    language: str | None = None
    if_match: str | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs from the head `commit_id` (None: nothing there yet)."""

    commit_id: str | None
    position: int | None
    exists: bool
    changed: list[LocalDocument]
    unchanged: int
    deletes: list[str]


@dataclass(slots=True)
class Loaded:
    """What was done. `jobs` in order, one an ingest; empty when nothing differed. `refused`: failures of requests in which no document was good."""

    comparison: Comparison
    jobs: list[Json] = field(default_factory=list)
    refused: list[Json] = field(default_factory=list)


async def compare(client: Client, found: Scan, options: LoadOptions) -> Comparison:
    """Against the head, by checksum and metadata."""
    try:
        head = (await client.get(url("collections", options.collection)))["head"]
    except ProblemError as error:
        if error.status != 404:
            raise
        return Comparison(None, None, False, found.documents, 0, [])
    if head is None:
        return Comparison(None, None, True, found.documents, 0, [])
    prefix = options.prefix if options.mirror else _common([document.path for document in found.documents])
    there = {info["path"]: info async for info in documents(client, options.collection, head["id"], prefix)}
    changed = [document for document in found.documents if options.groups or not _same(document, there.get(document.path))]
    deletes: list[str] = []
    if options.mirror:
        kept = tuple(found.folders)
        deletes = [path for path in there if path not in found.present and not (kept and path.startswith(kept))]
    return Comparison(head["id"], head["position"], True, changed, len(found.documents) - len(changed), deletes)


async def documents(client: Client, collection: str, as_of: str | None, prefix: str = "") -> Any:
    """Every document of one commit, page by page, in order of path."""
    after: str | None = None
    while True:
        page = await client.get(url("collections", collection, "documents"), as_of=as_of, prefix=prefix or None, after=after, limit=_PAGE)
        for info in page["documents"]:
            yield info
        after, as_of = page.get("next"), page["snapshot"]["commit_id"]
        if not after:
            return


async def load(client: Client, found: Scan, options: LoadOptions, limits: Json, output: Output) -> Loaded:
    """Sends what differs. A mirror whose collection moved meanwhile compares again. Raises `ProblemError`, `TooLarge`."""
    for attempt in range(1, _TRIES + 1):
        comparison = await compare(client, found, options)
        loaded = Loaded(comparison)
        try:
            await _send(client, loaded, options, limits, output)
        except ProblemError as error:
            if error.status != 412 or not options.mirror or options.if_match is not None or attempt == _TRIES:
                raise
            output.note("The collection moved meanwhile; comparing again.")
        else:
            return loaded
    raise AssertionError("the last attempt returns or raises")


async def plan(client: Client, found: Scan, options: LoadOptions, limits: Json) -> tuple[Comparison, Json]:
    """What `load` would do, as the server counts it. Counts of chunks are None for a collection that is not there yet."""
    comparison = await compare(client, found, options)
    whole: Json = {"commit_id": comparison.commit_id, "added": [], "changed": [], "removed": [], "failures": []}
    whole |= dict.fromkeys(("chunks_added", "chunks_removed", "chunks_kept", "chunks_to_embed"), 0)
    if not comparison.exists:
        return comparison, whole | {"added": [document.path for document in comparison.changed]} | dict.fromkeys(_chunk_counts(whole))
    for part, is_last in parts(comparison.changed, limits):
        request = _request(options) | {"dry_run": True, "deletes": comparison.deletes if is_last else []}
        if part or request["deletes"]:
            answer = (await _post(client, part, request, {}, lambda _: None))["plan"]
            whole = {name: whole[name] if name == "commit_id" else _both(whole[name], answer[name]) for name in whole}
    return comparison, whole


def _both(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other  # None: the server does not tell


def parts(changed: list[LocalDocument], limits: Json) -> Iterator[tuple[list[LocalDocument], bool]]:
    """Cuts what is to be sent into requests within the server's limits; the last one is told apart. At least one, maybe empty."""
    part: list[LocalDocument] = []
    weight = described = 0
    for document in changed:
        metadata = len(json.dumps({document.path: document.metadata})) if document.metadata else 0
        cost = document.size + len(document.path.encode()) + metadata + _OVERHEAD
        full = len(part) >= limits["documents"] or weight + cost > limits["request_bytes"] or described + metadata > _METADATA_BYTES
        if part and full:
            yield part, False
            part, weight, described = [], 0, 0
        part.append(document)
        weight += cost
        described += metadata
    yield part, True


async def _send(client: Client, loaded: Loaded, options: LoadOptions, limits: Json, output: Output) -> None:
    comparison = loaded.comparison
    if not comparison.changed and not comparison.deletes and comparison.exists:
        return
    cut = list(parts(comparison.changed, limits))
    if len(cut) > 1 and options.atomic:
        raise TooLarge(
            f"--atomic: {len(comparison.changed):,} documents with {size(sum(document.size for document in comparison.changed))} are beyond one "
            f"request's limits ({limits['documents']:,} documents, {size(limits['request_bytes'])}); leave --atomic out to make {len(cut)} commits.",
            field="atomic",
        )
    head = if_match_header(comparison.commit_id or "" if options.if_match is None else options.if_match)
    for number, (part, is_last) in enumerate(cut, start=1):
        name = f" part {number} of {len(cut)}" if len(cut) > 1 else ""
        request = _request(options) | {"deletes": comparison.deletes if is_last else []}
        if len(cut) > 1 and options.message:
            request["message"] = f"{options.message} ({number}/{len(cut)})"
        headers: dict[str, str] = {}
        if options.mirror and (options.wait or number == 1):
            headers, request["exact_head"] = head, True
        elif not options.mirror:  # the parts have no document in common: each is compared with the same commit
            headers = if_match_header(options.if_match)
        try:
            job = await _one(client, part, request, headers, output, name)
            if options.wait:
                job = await follow(client, job, output, f"Ingesting{name}")
        except ProblemError as error:
            failures = error.document.get("failures") or []
            all_bad = bool(failures) and {failure["path"] for failure in failures} == {document.path for document in part}
            other_good = bool(comparison.unchanged or loaded.jobs or not is_last)
            if options.strict or not (all_bad and other_good):
                raise
            loaded.refused += failures
            continue
        if commit := (job.get("result") or {}).get("commit_id"):
            head = if_match_header(commit)
        loaded.jobs.append(job)


async def _one(client: Client, part: list[LocalDocument], request: Json, headers: dict[str, str], output: Output, name: str) -> Json:
    """Sends one request; the job, accepted."""
    total = sum(document.size for document in part)
    sent = 0
    with bar(output, f"Sending{name}") as shown:

        def tell(count: int) -> None:
            nonlocal sent
            sent += count
            shown.show(sent, total, f"{size(sent)} of {size(total)}")

        job: Json = (await _post(client, part, request, headers, tell))["job"]
        return job


async def _post(client: Client, part: list[LocalDocument], request: Json, headers: dict[str, str], sent: Any) -> Json:
    if not part:
        return await client.post("/ingest", request, headers=headers)
    form = Form(request, part, sent)
    return await client.upload("/ingest", form.body(), form.content_type, headers)


def _request(options: LoadOptions) -> Json:
    request: Json = {
        "collection": options.collection,
        **({"groups": list(options.groups)} if options.groups else {}),
        "create": True,
        "strict": options.strict,
        "message": options.message,
        "author": author(),
        "wait": False,
    }
    return request | ({"language": options.language} if options.language else {})


def author() -> str:
    """Who is at the keyboard."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "anonymous"


def _common(paths: list[str]) -> str:
    """The longest beginning of all `paths`, so that only what can be there is listed."""
    first, last = min(paths), max(paths)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _same(document: LocalDocument, info: Json | None) -> bool:
    return info is not None and info["checksum"] == document.checksum and info["metadata"] == document.metadata


def _chunk_counts(whole: Json) -> list[str]:
    return [name for name in whole if name.startswith("chunks_")]
