"""POST /v1/backup: everything that the server keeps, as one file, while it goes on working."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from ragstone.domain.access import Scope
from ragstone.ports.backup import BackupCopy
from ragstone.services.orchestrator.access import needs
from ragstone.services.orchestrator.context import Context
from ragstone.services.orchestrator.documentation import errors
from ragstone.services.orchestrator.hurry import unhurried

MEDIA_TYPE = "application/gzip"
_ARCHIVE = {MEDIA_TYPE: {"schema": {"type": "string", "contentMediaType": MEDIA_TYPE}}}


class _Archive(StreamingResponse):
    """Lets go of the copy however the response ends, also if it never begins."""

    def __init__(self, copy: BackupCopy) -> None:
        name = f"ragstone-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz"
        super().__init__(copy.stream(), media_type=MEDIA_TYPE, headers={"Content-Disposition": f'attachment; filename="{name}"'})
        self._copy = copy

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._copy.close()


def routes(context: Context) -> APIRouter:
    """The route, with its platform."""
    router = APIRouter(prefix="/v1", tags=["operation"])
    backups = context.platform.backups

    @router.post(
        "/backup",
        summary="Back up everything",
        response_model=None,
        response_class=StreamingResponse,
        responses={
            200: {"description": "The archive; `ragstone restore` reads it", "content": _ARCHIVE},
            **errors(404, 409, 429, 503, 507),
        },
    )
    @needs(Scope.ADMIN)
    @unhurried
    async def backup() -> StreamingResponse:
        """Consistent at one commit of each collection; readers and writers go on. A stream that breaks off is no backup: check the file that came."""
        return _Archive(await backups.take())

    return router
