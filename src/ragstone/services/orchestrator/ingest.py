"""POST /ingest: documents in, a commit out."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from ragstone.domain.access import Scope
from ragstone.domain.documents import Metadata
from ragstone.domain.errors import Conflict, InvalidInput, NotFound
from ragstone.domain.jobs import Delete, Job, Move
from ragstone.domain.names import check_collection_name
from ragstone.domain.uploads import IngestPlan, IngestRequest, Upload
from ragstone.services.orchestrator.access import allow, allow_making, author, caller, needs_where_asked
from ragstone.services.orchestrator.bodies import parse, read_json
from ragstone.services.orchestrator.context import Context, commit_header, job_response, json_response
from ragstone.services.orchestrator.documentation import accepted, errors, json_body, multipart_body
from ragstone.services.orchestrator.hurry import accepting, unhurried
from ragstone.services.orchestrator.multipart import Form, read_multipart
from ragstone.services.orchestrator.schemas.requests import DocumentUpload, IngestBody, IngestOptions, MetadataByPath, PrefixDelete
from ragstone.services.orchestrator.schemas.responses import JobResponse, PlanResponse
from ragstone.services.orchestrator.views import plan_json

IdempotencyKey = Annotated[
    str | None,
    Header(description="the same request under the same key is done once; another body under it is refused", min_length=1, max_length=200),
]
IfMatch = Annotated[
    str | None,
    Header(
        description='a commit id (quotes optional), or `""` for an empty collection: if a document that this request touches has changed since, '
        "nothing is done, and a 412 names the head and these documents; a request that touches every document (mirror, rollback) "
        "conflicts with any newer commit",
        max_length=200,
    ),
]


def routes(context: Context) -> APIRouter:
    """The route, with its platform."""
    router = APIRouter(tags=["ingest"])

    @router.post(
        "/ingest",
        summary="Ingest documents as one commit",
        response_model=None,
        responses={**accepted(JobResponse | PlanResponse), **errors(404, 409, 412, 413, 415, 422, 429, 503, 507)},
        openapi_extra={"requestBody": {"required": True, "content": {**json_body(IngestBody), **multipart_body()}}},
    )
    @needs_where_asked(Scope.WRITE)
    @unhurried
    async def ingest(request: Request, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None) -> Response:
        """Adds, changes, moves and removes documents. Unchanged content embeds and writes nothing.

        With `wait` (the default) the answer comes when the commit is published; otherwise 202 with the job to watch.
        Documents that can't be read are reported in the job's `failures`; with `strict` they fail the whole request.
        """
        async with context.uploads:
            options, uploads = await _read(context, request)
            with accepting(context.platform.limits.request_seconds):
                outcome = await _accept(context, request, options, uploads, idempotency_key, expected_head(if_match))
        if isinstance(outcome, IngestPlan):
            return json_response({"plan": plan_json(outcome)}, headers=commit_header(outcome.commit_id) if outcome.commit_id else None)
        return await job_response(context, request, outcome, wait=options.wait, within=options.timeout)

    return router


def expected_head(if_match: str | None) -> str | None:
    """The commit id of an If-Match header; the empty string stands for an empty collection."""
    if if_match is None:
        return None
    bare = if_match.strip().removeprefix("W/").strip('"').lower()
    if bare == "*":
        raise InvalidInput("If-Match: name the commit id; '*' is not taken.", field="If-Match")
    return bare


async def _read(context: Context, request: Request) -> tuple[IngestOptions, tuple[Upload, ...]]:
    limits = context.platform.limits
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = await read_multipart(request, limit=limits.request_bytes, documents=limits.documents)
        return await asyncio.to_thread(_from_form, form)
    body = await read_json(request, IngestBody, limits.request_bytes * 3 // 2)  # base64 takes four bytes for three
    return body, await asyncio.to_thread(_uploads, body)


async def _accept(
    context: Context, request: Request, options: IngestOptions, uploads: tuple[Upload, ...], key: str | None, expected: str | None
) -> Job | IngestPlan:
    ingest = context.platform.ingest
    name = check_collection_name(options.collection or "")
    (allow_making if options.create else allow)(request, name)
    wanted = IngestRequest(
        uploads=uploads,
        deletes=tuple(
            Delete(delete.prefix, prefix=True) if isinstance(delete, PrefixDelete) else Delete(delete) for delete in options.deletes
        ),
        moves=tuple(Move(move.source, move.target) for move in options.moves),
        mirror=options.mirror,
        mirror_prefix=options.mirror_prefix,
        strict=options.strict,
        expected_head=expected,
        exact_head=options.exact_head,
        author=author(request, options.author),
        message=options.message,
    )
    if options.dry_run:
        return await ingest.plan(name, wanted, principal=caller(request))
    await context.allowances.documents(request, len(uploads), sum(len(upload.content) for upload in uploads))
    if options.create:
        await _make(context, name, options.language, wanted)
    return await ingest.submit(name, wanted, principal=caller(request), idempotency_key=key)


async def _make(context: Context, name: str, language: str, wanted: IngestRequest) -> None:
    """Makes the collection if it is not there; a request that is not acceptable makes none."""
    try:
        await context.platform.collections.get(name)
    except NotFound:
        await context.platform.ingest.check(wanted)
        try:
            await context.platform.collections.create(name, language)
        except Conflict:  # another request made it meanwhile
            return


def _uploads(body: IngestBody) -> tuple[Upload, ...]:
    return tuple(
        Upload(
            document.path,
            _content(document),
            document.media_type,
            stored_metadata(document.metadata),
            _groups(body.groups if document.groups is None else document.groups),
        )
        for document in body.documents
    )


def _groups(given: list[str] | None) -> frozenset[str] | None:
    return None if given is None else frozenset(given)


def _content(document: DocumentUpload) -> bytes:
    if document.text is not None:
        return document.text.encode()
    try:
        return base64.b64decode(document.content_base64 or "", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(
            f"{document.path[:200]}: content_base64 is not base64 (standard alphabet, padded).", field=document.path[:200]
        ) from None


def stored_metadata(form: Mapping[str, Any]) -> Metadata:
    """Lists become tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in form.items()}


def _from_form(form: Form) -> tuple[IngestOptions, tuple[Upload, ...]]:
    options = parse(IngestOptions, form.fields.get("options", b"{}"))
    if "collection" in form.fields:
        collection = form.fields["collection"].decode("utf-8", "replace")
        if options.collection not in (None, collection):
            raise InvalidInput("collection: the field and the options name two; give one.", field="collection")
        options = options.model_copy(update={"collection": collection})
    if options.collection is None:
        raise InvalidInput("collection: name the collection, as a field or in options.", field="collection")
    by_path = parse(MetadataByPath, form.fields.get("metadata", b"{}")).root
    unknown = sorted(by_path.keys() - {upload.path for upload in form.uploads})
    if unknown:
        raise InvalidInput(f"metadata: there is no file {unknown[0][:200]!r} in this request.", field="metadata")
    return options, tuple(
        Upload(upload.path, upload.content, upload.media_type, stored_metadata(by_path.get(upload.path, {})), _groups(options.groups))
        for upload in form.uploads
    )
