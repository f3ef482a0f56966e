"""/v1/hooks/lakefs: lakeFS tells of a push to an inbox, signed; what is new there is ingested (docs/lakefs.md)."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from ragstone.domain.access import Principal
from ragstone.domain.errors import Unauthorized
from ragstone.services.orchestrator.access import MEANT, open_to_all
from ragstone.services.orchestrator.bodies import check_json_type, parse, read_bytes
from ragstone.services.orchestrator.context import Context, json_response
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.problems import NoSuchRoute
from ragstone.services.orchestrator.schemas import hooks as schemas
from ragstone.use_cases.inbox import PRINCIPAL

SIGNATURE = "X-Ragstone-Signature"
WINDOW = 300.0  # seconds that a message may be old, or ahead of this clock
_LIMIT = 64 * 2**10  # bytes
_FORM = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)

Secret = Callable[[], str]


def routes(context: Context) -> APIRouter:
    """The routes, with their platform. Without a secret or an inbox there is nothing at the path."""
    router = APIRouter(prefix="/v1/hooks", tags=["ingest"])
    inboxes, secret = context.platform.inboxes, context.hook_secret

    @router.post(
        "/lakefs",
        summary="A push to lakeFS",
        response_model=None,
        responses={200: {"model": schemas.TakenResponse}, **errors(401, 404, 409, 413, 415, 429, 503, 507)},
        openapi_extra=body(schemas.PushBody),
    )
    @open_to_all
    async def pushed(request: Request) -> Response:
        """For lakeFS' action alone: `X-Ragstone-Signature: sha256=<HMAC-SHA256 of the body, in hexadecimal>`. What was told before changes nothing."""
        if inboxes is None or secret is None:
            raise NoSuchRoute("There is nothing at this path; see /docs.")
        check_json_type(request)
        content = await read_bytes(request, _LIMIT)
        check_signature(content, request.headers.get(SIGNATURE, ""), secret())
        push = parse(schemas.PushBody, content)
        if abs(time.time() - push.sent_at) > WINDOW:
            raise Unauthorized(
                f"sent_at: the message is older than {WINDOW:g} s, or from a clock that is ahead; it may be a repetition.", field="sent_at"
            )
        state = request.scope["state"]
        state["principal"] = Principal(PRINCIPAL)
        taken = await inboxes.take(push.repository)
        state[MEANT] = taken.collection
        form = {"collection": taken.collection, "commit": taken.tip, "jobs": [job.id for job in taken.jobs], "too_large": taken.too_large}
        return json_response(form)

    return router


def check_signature(content: bytes, given: str, secret: str) -> None:
    """Compared in constant time. Raises `Unauthorized`, in the same words whatever is wrong."""
    expected = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    found = _FORM.fullmatch(given)
    if not hmac.compare_digest(expected, found[1] if found else ""):
        raise Unauthorized(f"{SIGNATURE}: it is missing, or not this body's.", field=SIGNATURE)
