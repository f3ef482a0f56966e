"""What the API says, in the commands' words: problem documents, events, paths. No HTTP in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ragstone.domain.errors import RagstoneError

Json = dict[str, Any]


class ProblemError(Exception):
    """The API said no; `document` is its problem document (RFC 9457)."""

    def __init__(self, document: Json) -> None:
        super().__init__(str(document.get("detail") or document.get("title")))
        self.document = document

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.document.get("status") or 500)

    @classmethod
    def of(cls, error: RagstoneError) -> ProblemError:
        """An error raised on this side, in the same form."""
        document = {"type": f"urn:ragstone:problem:{error.code}", "title": error.title, "status": error.status, "detail": error.message}
        return cls(document | ({"field": error.field} if error.field else {}))


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: Json


def url(*parts: str) -> str:
    """A path under `/v1`; each part is quoted, and keeps its slashes."""
    return "/v1/" + "/".join(quote(part, safe="/") for part in parts)
