"""The subprocess in which documents are parsed, one after another. Started by `process`; speaks on stdin and stdout.

A message is two lengths (4 bytes each, big-endian), a JSON header, a body. The request's header names a parser; its body is the document,
or there is no media type and the parser is only made ready. The answer's body is the text in UTF-8.
While a document is parsed, this process can open no file or socket, write no file, start no process, dump no core.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ragstone.adapters.parsing.extraction import ParseFailure, Source
from ragstone.domain.documents import ExtractedText

Parse = Callable[[Source], ExtractedText]
LENGTHS = struct.Struct(">II")
RECYCLE_SHARE = 0.4  # of the memory limit: a process that has grown beyond it ends, so that each document finds about the same room
_RECURSION_LIMIT = 5000
_LOOK_EVERY = 0.5  # seconds
_SMALLEST_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R>>endobj\ntrailer<</Root 1 0 R>>\n"
)
_ENTRY_POINTS = {
    "code": ("plain", "parse_code", b"x = 1\n"),
    "html": ("html", "parse_html", b"<p>Caf\xe9</p>"),
    "json": ("plain", "parse_json", b'{"text": "x"}'),
    "markdown": ("markdown", "parse_markdown", b"---\ntitle: x\n---\n# x\n\n- <b>x</b> &amp;\n\n<p>x</p>\n"),
    "pdf": ("pdf", "parse_pdf", _SMALLEST_PDF),
    "plain": ("plain", "parse_plain", b"x"),
    "rst": ("rst", "parse_rst", b"x\n=\n\n.. note:: x\n\n:ref:`x` |x|_\n"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes of address space, for the whole life; `cpu` in seconds for one document."""

    memory: int
    cpu: float


def main() -> None:
    """Serves until stdin ends."""
    limits = Limits(memory=int(sys.argv[1]), cpu=float(sys.argv[2]))
    _end_with(parent=int(sys.argv[3]))
    _limit(resource.RLIMIT_CORE, 0, hard=True)
    _limit(resource.RLIMIT_AS, limits.memory, hard=True)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    # What a library prints must not get between the messages.
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    parsers: dict[str, Parse] = {}
    while (request := read_message(source)) is not None:
        header, content = request
        answer, text = _serve(header, content, parsers, limits)
        write_message(target, answer, text)
        if answer.get("last"):
            return


def _end_with(parent: int) -> None:
    """Has this process end, in the middle of a document too, soon after the one that started it was killed."""

    def look(_number: int, _frame: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)  # a thread would take tens of megabytes of address space
    signal.setitimer(signal.ITIMER_REAL, _LOOK_EVERY, _LOOK_EVERY)


def read_message(stream: IO[bytes], limit: int = 2**31) -> tuple[dict[str, Any], bytes] | None:
    """The next header and body; None at the end of the stream. Raises `EOFError` for half a message, `ValueError` beyond `limit` bytes."""
    lengths = stream.read(LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < LENGTHS.size:
        raise EOFError
    header_length, body_length = LENGTHS.unpack(lengths)
    if header_length + body_length > limit:
        raise ValueError("message too long")
    header, body = stream.read(header_length), stream.read(body_length)
    if len(header) < header_length or len(body) < body_length:
        raise EOFError
    return json.loads(header), body


def write_message(stream: IO[bytes], header: dict[str, Any], body: bytes) -> None:
    """Writes and flushes one message."""
    encoded = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(encoded), len(body)))
    stream.write(encoded)
    stream.write(body)
    stream.flush()


def _serve(header: dict[str, Any], content: bytes, parsers: dict[str, Parse], limits: Limits) -> tuple[dict[str, Any], bytes]:
    name = header["parser"]
    if name not in parsers:
        parsers[name] = _ready(name)
    if "media_type" not in header:
        return {"status": "ready"}, b""
    source = Source(content, header["media_type"], header["version"], header["max_characters"])
    try:
        with _sealed(limits):
            extracted = parsers[name](source)
            body = _checked(extracted).encode()
    except ParseFailure as error:
        return {"status": "unreadable", "message": str(error), "last": _has_grown(limits)}, b""
    except MemoryError:
        return {"status": "memory", "last": True}, b""
    except RecursionError:
        return {"status": "unreadable", "message": "is nested too deeply to be read.", "last": _has_grown(limits)}, b""
    except Exception as error:  # whatever a third-party parser raises on hostile bytes is the document's fault, never ours to die of
        return {
            "status": "unreadable",
            "message": f"is broken and can't be read ({type(error).__name__}).",
            "last": _has_grown(limits),
        }, b""
    blocks = [(block.kind, block.start, block.end, block.level, block.page) for block in extracted.blocks]
    return {"status": "ok", "title": extracted.title, "blocks": blocks, "last": _has_grown(limits)}, body


def _checked(extracted: ExtractedText) -> str:
    if not extracted.text.strip():
        raise ParseFailure("holds no text.")
    return extracted.text


def _ready(name: str) -> Parse:
    """Imports a parser and lets it parse something, so that it needs to open no file later."""
    module, function, sample = _ENTRY_POINTS[name]
    parse: Parse = getattr(importlib.import_module(f"ragstone.adapters.parsing.{module}"), function)
    with suppress(ParseFailure):
        parse(Source(sample, "", "", 1000))
    return parse


@contextmanager
def _sealed(limits: Limits) -> Iterator[None]:
    """Closes every way out and starts the clock; the hard limits stay, so that it can be undone for the next import."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + limits.cpu))
    ways = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC)
    before = [resource.getrlimit(way)[0] for way in ways]
    for way in ways:
        _limit(way, 0)
    try:
        yield
    finally:
        for way, soft in zip(ways, before, strict=True):
            _limit(way, soft)
        _limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)


def _limit(which: int, value: int, *, hard: bool = False) -> None:
    """Sets a limit as far as the system knows it (macOS refuses some)."""
    _, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY and (value == resource.RLIM_INFINITY or value > ceiling):
        value = ceiling
    try:
        resource.setrlimit(which, (value, value if hard else ceiling))
    except (ValueError, OSError):
        if sys.platform == "linux":
            raise


def _has_grown(limits: Limits) -> bool:
    """Whether what is left behind takes more than its share of the memory (looked at only where the limit is enforced)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return False
    return pages * resource.getpagesize() > RECYCLE_SHARE * limits.memory
