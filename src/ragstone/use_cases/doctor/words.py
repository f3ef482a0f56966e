"""What each kind of finding means, and what can be done about it, in plain words."""

from __future__ import annotations

from typing import NamedTuple

from ragstone.domain.findings import Finding, FindingKind, Severity

_BACKUP = "It can't be made anew: restore the data directory from a backup."
_POINTS = "Deletes them, or gives them their right validity."


class _Words(NamedTuple):
    severity: Severity
    repairable: bool
    meaning: str
    repair: str


_WORDS: dict[FindingKind, _Words] = {
    "missing-points": _Words(
        "error",
        True,
        "Passages of the document can't be found.",
        "Writes them anew from the version store; texts without a vector are embedded.",
    ),
    "orphan-points": _Words("error", True, "Searches find passages of a document that is not there.", _POINTS),
    "stale-points": _Words("error", True, "Searches find passages of another version of the document.", _POINTS),
    "ghost-points": _Words("error", True, "Points were written or closed by an attempt that never became a commit.", _POINTS),
    "malformed-points": _Words(
        "error", True, "Text, vector or id of stored passages is damaged.", "Writes them anew from the version store, or deletes them."
    ),
    "overlapping-points": _Words("error", True, "Searches find the same passage twice.", "Deletes all but one."),
    "remains": _Words("info", True, "A writer that failed left points that no search sees.", "Deletes them."),
    "lost-index": _Words(
        "error",
        True,
        "Nothing can be searched: the index is gone.",
        "Makes it anew from the version store, which embeds every text again; searches go on to fail until it is whole.",
    ),
    "broken-index": _Words(
        "error",
        True,
        "Nothing can be searched: the index can't be read.",
        "Makes it anew from the version store, which embeds every text again; searches go on to fail until it is whole.",
    ),
    "other-model": _Words(
        "error",
        False,
        "The collection was embedded with another model than the loaded one: it can be neither searched nor added to, and its points can't be checked.",
        "Start ragstone with that model (--model), or make a new collection.",
    ),
    "lost-main": _Words("warning", True, "The branch main is gone; Git's own tools don't see the documents.", "Sets it to the head."),
    "main-behind": _Words(
        "warning", True, "The branch main is behind the head; Git's own tools see old documents.", "Brings it to the head."
    ),
    "foreign-main": _Words(
        "warning",
        False,
        "The branch main has commits that ragstone did not make; they are not part of the collection.",
        "Move them to another branch and main back to the head by hand; ingest what shall stay.",
    ),
    "unreadable-commit": _Words("error", False, "Documents of this commit can't be read: objects are lost or damaged.", _BACKUP),
    "lost-versions": _Words("error", False, "The collection's version store can't be opened.", _BACKUP),
    "orphan-branch": _Words("warning", True, "A branch of an attempt that has ended was left behind.", "Deletes it."),
    "stuck-job": _Words("warning", True, "An accepted job waits, and nobody works on it.", "Queues it again."),
    "lost-bytes": _Words(
        "error",
        False,
        "Bytes that were accepted for a job are gone; the job will fail.",
        "Send its documents again.",
    ),
    "leftover-bytes": _Words("warning", True, "Bytes of a job that has ended, or never began, take up space.", "Deletes them."),
    "purge-unfinished": _Words("warning", True, "An erasure was begun and not ended: bytes of the document may be left.", "Ends it."),
    "orphan-collection": _Words(
        "warning", True, "Data of a deleted collection, or of a repair that was cut short, is still there.", "Deletes it."
    ),
    "damaged-catalog": _Words("error", False, "The catalog's database is damaged; jobs and commits may be lost.", _BACKUP),
    "damaged-collection": _Words(
        "error", False, "The collection could not be checked.", "See what it says and the log; if it stays, restore from a backup."
    ),
    "little-space": _Words(
        "warning", False, "Little space is left; ingests are refused when it ends.", "Free some: prune old commits, or enlarge the volume."
    ),
    "unusable-directory": _Words(
        "error", False, "The data directory can't be opened.", "Do what the message says, or restore the directory from a backup."
    ),
}


def finding(
    kind: FindingKind, collection: str | None, what: str, *, count: int = 1, severity: Severity | None = None, repair: str | None = None
) -> Finding:
    """A finding with its words. `repair`: why it can't be repaired this time."""
    words = _WORDS[kind]
    return Finding(
        kind,
        severity or words.severity,
        collection,
        what,
        count,
        words.meaning,
        repair or words.repair,
        words.repairable and repair is None,
    )
