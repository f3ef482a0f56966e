"""Where things lie in a lakeFS repository, and how a document's sidecar is written (ADR 0025).

    documents/<path>    the original bytes, with the SHA-256 of the sidecar as user metadata
    extracted/<path>    the sidecar, three lines: the path, what is known of the document and its extracted text as JSON
    branch attempt-<a>  a staged commit
    branch main         follows the head; each commit there merges a staged one
    branch inbox        where people put documents themselves (docs/lakefs.md)
    branch ragstone     state/<id>.json: what must not be read any more (`lakefs_state.py`)

What is known of a document does not lie in lakeFS' own metadata: nobody can take anything out of that again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ragstone.adapters.document_codec import decode_info, decode_text, encode_info, encode_text
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument

DOCUMENTS, SIDECARS, ACTIONS = "documents/", "extracted/", "_lakefs_actions/"
MAIN, INBOX, STATE, ATTEMPTS = "main", "inbox", "ragstone", "attempt-"
SIDECAR, ATTEMPT = "ragstone-sidecar", "ragstone-attempt"  # user metadata of a document
COUNT, HEAD, TOKEN = "ragstone-documents", "ragstone-head", "ragstone-token"  # metadata of a commit
_LONGEST = 1_000  # bytes of a path that is a key as it is; lakeFS takes 1,024 with the folder
_KEPT = 900  # bytes kept of a longer one
_BRANCH = re.compile(r"attempt-([0-9]{1,18})")
_COMMIT = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"(?!multipart/)[A-Za-z0-9.+-]{1,100}/[A-Za-z0-9.+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A document's sidecar as bytes. `digest`: its SHA-256; it covers the document's own through what is known of it."""

    encoded: bytes
    digest: str

    @classmethod
    def of(cls, document: StoredDocument) -> Sidecar:
        """Equal documents, equal sidecars."""
        encoded = b"\n".join((document.info.path.encode(), encode_info(document.info), encode_text(document.extracted)))
        return cls(encoded, hashlib.sha256(encoded).hexdigest())


def head(encoded: bytes) -> DocumentInfo | None:
    """What is known of the document, from a sidecar or its beginning; None when that is too short."""
    path, _, rest = encoded.partition(b"\n")
    info, end, _ = rest.partition(b"\n")
    return decode_info(path.decode(), info) if end else None


def parse(encoded: bytes) -> tuple[DocumentInfo, ExtractedText]:
    """A whole sidecar. Raises `ValueError` or `KeyError` for what is none."""
    path, info, text = encoded.split(b"\n", 2)
    return decode_info(path.decode(), info), decode_text(text)


def key(path: str) -> str:
    """The key of a document under its folder: the path, or for a very long one its beginning and a hash, which no path can look like."""
    raw = path.encode()
    if len(raw) <= _LONGEST:
        return path
    return raw[:_KEPT].decode(errors="ignore") + "\\" + hashlib.sha256(raw).hexdigest()


def key_prefix(prefix: str) -> str:
    """What the keys of all paths that begin with `prefix` begin with."""
    return prefix.encode()[:_KEPT].decode(errors="ignore")


def shortened(found: str) -> bool:
    """Whether a key does not say its path."""
    return "\\" in found


def document_key(path: str) -> str:
    """Where the bytes lie."""
    return DOCUMENTS + key(path)


def sidecar_key(path: str) -> str:
    """Where the sidecar lies."""
    return SIDECARS + key(path)


def branch(attempt: int) -> str:
    """lakeFS takes no slash in the name of a branch."""
    return f"{ATTEMPTS}{attempt}"


def attempt_of(name: str) -> int | None:
    """The attempt whose branch this is."""
    found = _BRANCH.fullmatch(name)
    return int(found[1]) if found else None


def is_commit_id(text: str) -> bool:
    """Whether it can be the id of one of lakeFS' commits."""
    return _COMMIT.fullmatch(text) is not None


def content_type(media_type: str) -> str:
    """As lakeFS can be told it: it takes a multipart type for a form."""
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream"
