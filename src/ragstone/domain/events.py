"""What others are told of: published commits and the documents that they changed, as CloudEvents 1.0 (docs/events.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit, DocumentChange
from ragstone.domain.documents import DocumentInfo

EventType = Literal["commit.published", "document.changed"]
_VERSION = 1  # of the data's schemas (docs/schemas)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a collection. `id` is the same whenever the same thing is told again. `time`: Unix seconds."""

    id: str
    type: EventType
    collection: str
    subject: str
    time: float
    data: Mapping[str, Any]

    def envelope(self) -> dict[str, Any]:
        """As CloudEvents' structured mode has it, in JSON."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/v1/collections/{self.collection}",
            "type": f"ragstone.{self.type}",
            "subject": self.subject,
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "dataschema": f"urn:ragstone:schema:{self.type}:{_VERSION}",
            "data": dict(self.data),
        }


def commit_published(collection: Collection, commit: Commit, document_events: int | None) -> Event:
    """`document_events`: how many `document.changed` came before it; None where the difference is no longer known."""
    data = {
        **_place(collection, commit),
        "parent": commit.parent_id,
        "author": commit.author,
        "message": commit.message,
        "job": commit.job_id,
        "space": commit.space_id,
        "stats": asdict(commit.stats),
        "document_events": document_events,
    }
    return Event(_id(collection, commit), "commit.published", collection.name, commit.id, commit.created_at, data)


def document_changed(collection: Collection, commit: Commit, change: DocumentChange, info: DocumentInfo | None) -> Event:
    """`info`: of the document as the commit has it; None where it was removed."""
    data = {
        **_place(collection, commit),
        "path": change.path,
        "change": change.kind,
        "checksum": info.checksum if info else None,
        "size": info.size if info else None,
        "media_type": info.media_type if info else None,
    }
    known_by = hashlib.sha256(change.path.encode()).hexdigest()[:32]
    return Event(f"{_id(collection, commit)}.{known_by}", "document.changed", collection.name, change.path, commit.created_at, data)


def _id(collection: Collection, commit: Commit) -> str:
    return f"{collection.uid}.{commit.seq}"


def _place(collection: Collection, commit: Commit) -> dict[str, Any]:
    return {
        "collection": collection.name,
        "collection_uid": collection.uid,
        "commit": commit.id,
        "seq": commit.seq,
        "position": commit.position,
    }
