"""Which media types can be parsed, which parser takes each, and how a type is guessed from a path."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Literal

from ragstone.domain.errors import InvalidInput
from ragstone.domain.jsonl import JSON_LINES

ParserName = Literal["code", "html", "json", "markdown", "pdf", "plain", "rst"]

PARSERS: dict[str, ParserName] = {
    "text/markdown": "markdown",
    "text/plain": "plain",
    "text/x-rst": "rst",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/json": "json",
}
# Raise a parser's number whenever it gives another text for the same bytes: it is part of the embedding space.
_REVISIONS: dict[ParserName, tuple[int, tuple[str, ...]]] = {
    "code": (1, ()),
    "html": (1, ("lxml",)),
    "json": (1, ()),
    "markdown": (1, ("markdown-it-py",)),
    "pdf": (1, ("pypdf",)),
    "plain": (1, ()),
    "rst": (1, ("docutils",)),
}
_DOCUMENTS = {
    **dict.fromkeys(("jsonl", "ndjson"), JSON_LINES),
    **dict.fromkeys(("md", "markdown", "mdown", "mkd", "mdx"), "text/markdown"),
    **dict.fromkeys(("txt", "text", "log"), "text/plain"),
    **dict.fromkeys(("rst", "rest"), "text/x-rst"),
    **dict.fromkeys(("html", "htm", "xhtml"), "text/html"),
    "pdf": "application/pdf",
    "json": "application/json",
}
_SAME_NAME = (
    "awk bat c cmake css csv dart diff erl ex fish go graphql groovy haskell ini java jl lua nix php proto r sass scala scss sh sql svelte "
    "swift tcl tex tf toml tsv vb vue xml xsl yaml zig"
)
_CODE = {
    **{name: name for name in _SAME_NAME.split()},
    **dict.fromkeys(("py", "pyi", "pyx"), "python"),
    **dict.fromkeys(("js", "mjs", "cjs", "jsx"), "javascript"),
    **dict.fromkeys(("ts", "tsx", "mts"), "typescript"),
    **dict.fromkeys(("cc", "cpp", "cxx", "h", "hh", "hpp", "hxx"), "c++"),
    **dict.fromkeys(("bash", "zsh", "ksh"), "sh"),
    **dict.fromkeys(("clj", "cljs"), "clojure"),
    **dict.fromkeys(("conf", "cfg", "properties", "env"), "ini"),
    **dict.fromkeys(("kt", "kts"), "kotlin"),
    **dict.fromkeys(("m", "mm"), "objective-c"),
    **dict.fromkeys(("ml", "mli"), "ocaml"),
    **dict.fromkeys(("pl", "pm"), "perl"),
    **dict.fromkeys(("ps1", "psm1"), "powershell"),
    **{"cs": "csharp", "exs": "ex", "fs": "fsharp", "hs": "haskell", "patch": "diff", "rb": "ruby", "rs": "rust", "yml": "yaml"},
}
_NO_SUFFIX = {
    "dockerfile": "text/x-dockerfile",
    "makefile": "text/x-makefile",
    "jenkinsfile": "text/x-groovy",
    "justfile": "text/x-makefile",
}
_SOURCE_CODE = re.compile(r"text/x-[a-z0-9+.-]{1,60}")
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_LOOKED_AT = 8192  # bytes


def versions() -> tuple[str, ...]:
    """`name/revision+library-version` of every parser, sorted."""
    return tuple(sorted(parser_version(name) for name in _REVISIONS))


def parser_version(name: ParserName) -> str:
    """`name/revision`, then the versions of the libraries that it works with."""
    revision, libraries = _REVISIONS[name]
    return "+".join([f"{name}/{revision}", *(f"{library}-{version(library)}" for library in libraries)])


def parser_for(path: str, media_type: str) -> ParserName:
    """The parser of a media type (parameters such as `charset` are ignored). Raises `InvalidInput` when there is none."""
    bare = media_type.partition(";")[0].strip().lower()
    if bare in PARSERS:
        return PARSERS[bare]
    if _SOURCE_CODE.fullmatch(bare):
        return "code"
    known = ", ".join(sorted(PARSERS))
    raise InvalidInput(
        f"{path}: documents of type {media_type[:80]!r} can't be read; supported are {known} and text/x-<language>.", field=path
    )


def guess_media_type(path: str, content: bytes) -> str:
    """The media type by the path's suffix and a look at the first bytes. Raises `InvalidInput` when it is no type that can be parsed."""
    name = PurePosixPath(path).name.lower()
    suffix = name.rpartition(".")[2] if "." in name[1:] else ""
    if content.startswith(b"%PDF-"):
        return "application/pdf"
    if suffix in _DOCUMENTS:
        return _DOCUMENTS[suffix]
    if b"\x00" in content[:_LOOKED_AT]:
        raise InvalidInput(
            f"{path} is not text and not of a type that can be read; leave it out or convert it to PDF, HTML or text.", field=path
        )
    if suffix in _CODE:
        return f"text/x-{_CODE[suffix]}"
    if name in _NO_SUFFIX:
        return _NO_SUFFIX[name]
    if _HTML.match(content):
        return "text/html"
    if suffix and not _is_text(content[:_LOOKED_AT]):
        raise InvalidInput(
            f"{path}: files ending in .{suffix[:20]} can't be read; leave it out or convert it to PDF, HTML or text.", field=path
        )
    return "text/plain"


def _is_text(start: bytes) -> bool:
    """Whether `start` begins a UTF-8 text; the last character may be cut off."""
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(start) - 3 and len(start) == _LOOKED_AT
    return True
