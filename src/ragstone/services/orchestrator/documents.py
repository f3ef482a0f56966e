"""/v1/collections/{c}/documents: single documents, now and as they were."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError

from ragstone.domain.access import Scope
from ragstone.domain.jobs import Delete, Move
from ragstone.domain.names import check_document_path
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.services.orchestrator.access import author, caller, needs
from ragstone.services.orchestrator.bodies import json_header, read_bytes, read_json
from ragstone.services.orchestrator.context import Context, commit_header, job_response, read_response, view_of
from ragstone.services.orchestrator.documentation import accepted, body, errors, read
from ragstone.services.orchestrator.hurry import accepting, unhurried
from ragstone.services.orchestrator.ingest import IdempotencyKey, IfMatch, expected_head, stored_metadata
from ragstone.services.orchestrator.params import AsOf, CollectionPath, DocumentPath, Limit, MinCommit, WriteParameters
from ragstone.services.orchestrator.problems import invalid
from ragstone.services.orchestrator.schemas import responses
from ragstone.services.orchestrator.schemas.requests import MetadataByPath, MoveBody
from ragstone.services.orchestrator.views import chunk_json, document_json, info_json

_WRITE = {**accepted(responses.JobResponse), **errors(404, 409, 412, 413, 415, 422, 429, 503, 507)}
_METADATA = "X-Ragstone-Metadata"
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}


def routes(context: Context) -> APIRouter:
    """The routes, with their platform."""
    router = APIRouter(prefix="/v1/collections/{collection}", tags=["documents"])
    documents = context.platform.documents
    ingest = context.platform.ingest

    @router.get(
        "/documents",
        summary="List documents",
        response_model=None,
        responses={**read(responses.DocumentsResponse), **errors(404, 410, 503)},
    )
    @needs(Scope.READ)
    async def page(
        request: Request,
        collection: CollectionPath,
        prefix: Annotated[str, Query(description="only paths that begin so", max_length=5000)] = "",
        after: Annotated[str, Query(description="`next` of the page before", max_length=5000)] = "",
        limit: Limit = 100,
        as_of: AsOf = None,
        min_commit: MinCommit = None,
    ) -> Response:
        """In order of path."""
        view = await view_of(context, request, collection)
        snapshot, infos = await documents.page(
            collection, as_of=as_of, min_commit=min_commit, prefix=prefix, after=after, limit=limit + 1, view=view
        )
        more = len(infos) > limit
        form = {"documents": [info_json(info) for info in infos[:limit]], "next": infos[limit - 1].path if more else None}
        return read_response(snapshot, form)

    document_responses = read(responses.Document)
    document_responses[200]["model"] = responses.Document | responses.ChunksResponse
    document_responses[200]["content"] = {**_TEXT, **_BYTES}

    @router.get(
        "/documents/{path:path}", summary="Read a document", response_model=None, responses={**document_responses, **errors(404, 410, 503)}
    )
    @needs(Scope.READ)
    async def one(
        request: Request,
        collection: CollectionPath,
        path: DocumentPath,
        form: Annotated[
            Literal["json", "original", "text", "chunks"],
            Query(
                description="json: what is known of it and its extracted text; original: its bytes; text: the text alone; chunks: as indexed"
            ),
        ] = "json",
        as_of: AsOf = None,
        min_commit: MinCommit = None,
    ) -> Response:
        """As it was at a commit. Originals always come as attachments of an inert type: they are somebody's files, not this server's pages."""
        view = await view_of(context, request, collection)
        snapshot, document = await documents.get(collection, path, as_of=as_of, min_commit=min_commit, view=view)
        headers = commit_header(snapshot.commit_id)
        if form == "chunks":
            snapshot, chunks = await documents.chunks(collection, path, as_of=snapshot.commit_id, view=view)
            return read_response(snapshot, {"chunks": [chunk_json(chunk) for chunk in chunks]})
        if form == "text":
            return Response(document.extracted.text, headers=headers, media_type="text/plain; charset=utf-8")
        if form == "original":
            kind = {"Content-Disposition": "attachment", "X-Ragstone-Media-Type": document.info.media_type}
            return Response(document.content, headers=headers | kind, media_type="application/octet-stream")
        return read_response(snapshot, document_json(document))

    @router.put(
        "/documents/{path:path}",
        summary="Add or change a document",
        response_model=None,
        responses=_WRITE,
        openapi_extra={"requestBody": {"required": True, "content": _BYTES, "description": "the bytes; Content-Type is the media type"}},
    )
    @needs(Scope.WRITE)
    @unhurried
    async def put(
        request: Request,
        collection: CollectionPath,
        path: DocumentPath,
        write: WriteParameters,
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatch = None,
        metadata: Annotated[str | None, Header(alias=_METADATA, description="JSON object", max_length=100_000)] = None,
    ) -> Response:
        """One commit with this document. With application/octet-stream or no Content-Type, the media type is told from path and bytes."""
        path = check_document_path(path)
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        media_type = given if given != "application/octet-stream" else ""
        fields = stored_metadata(_header_metadata(request, metadata))
        async with context.uploads:
            content = await read_bytes(request, context.platform.limits.document_bytes, path)
            await context.allowances.documents(request, 1, len(content))
            wanted = IngestRequest(
                uploads=(Upload(path, content, media_type or None, fields),),
                expected_head=expected_head(if_match),
                author=author(request, write.author),
                message=write.message,
            )
            with accepting(context.platform.limits.request_seconds):
                job = await ingest.submit(collection, wanted, principal=caller(request), idempotency_key=idempotency_key)
        return await job_response(context, request, job, wait=write.wait, within=write.timeout)

    @router.delete("/documents/{path:path}", summary="Remove a document", response_model=None, responses=_WRITE)
    @needs(Scope.WRITE)
    async def delete(
        request: Request,
        collection: CollectionPath,
        path: DocumentPath,
        write: WriteParameters,
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Response:
        """One commit without this document; earlier commits keep it."""
        wanted = IngestRequest(
            deletes=(Delete(path),), expected_head=expected_head(if_match), author=author(request, write.author), message=write.message
        )
        job = await ingest.submit(collection, wanted, principal=caller(request), idempotency_key=idempotency_key)
        return await job_response(context, request, job, wait=write.wait, within=write.timeout)

    @router.post("/moves", summary="Move a document", response_model=None, responses=_WRITE, openapi_extra=body(MoveBody))
    @needs(Scope.WRITE)
    async def move(
        request: Request, collection: CollectionPath, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Gives a document another path; nothing is embedded."""
        asked = await read_json(request, MoveBody)
        wanted = IngestRequest(
            moves=(Move(asked.source, asked.target),),
            expected_head=expected_head(if_match),
            author=author(request, asked.author),
            message=asked.message,
        )
        job = await ingest.submit(collection, wanted, principal=caller(request), idempotency_key=idempotency_key)
        return await job_response(context, request, job, wait=asked.wait, within=asked.timeout)

    return router


def _header_metadata(request: Request, given: str | None) -> dict[str, object]:
    if given is None:
        return {}
    try:
        return dict(MetadataByPath.model_validate({_METADATA: json_header(request.headers, _METADATA)}).root[_METADATA])
    except ValidationError as error:
        raise invalid(error) from None
