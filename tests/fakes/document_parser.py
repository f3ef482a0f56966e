"""A document parser without a subprocess: paragraphs and `#` headings, nothing else."""

from __future__ import annotations

import json
import re

from ragstone.domain.documents import Block, BlockKind, ExtractedText
from ragstone.domain.errors import InvalidInput, Unavailable, UnreadableDocument

_TYPES = {"md": "text/markdown", "txt": "text/plain", "json": "application/json", "jsonl": "application/jsonl", "py": "text/x-python"}
_PARAGRAPH = re.compile(r"[^\n]+(?:\n[^\n]+)*")
_HEADING = re.compile(r"(#{1,6}) +(\S.*)")


class ParagraphParser:
    """Reads Markdown, plain text, code and JSON records; in Markdown, a paragraph that begins with `#` is a heading."""

    def __init__(self) -> None:
        self._closed = False

    @property
    def versions(self) -> tuple[str, ...]:
        return ("paragraph/1",)

    def media_type(self, path: str, content: bytes) -> str:
        if b"\x00" in content:
            raise InvalidInput(f"{path} is not text.", field=path)
        return _TYPES.get(path.rpartition(".")[2], "text/plain")

    async def parse(self, path: str, media_type: str, content: bytes) -> ExtractedText:
        if media_type not in _TYPES.values() or media_type == "application/jsonl":
            raise InvalidInput(f"{path}: documents of type {media_type} can't be read.", field=path)
        if self._closed:
            raise Unavailable("The document parser is closed.")
        text = self._text(path, content)
        title = None
        if media_type == "application/json":
            record = self._record(path, text)
            text, title = record.get("text", text), record.get("title")
        blocks: list[Block] = []
        parts: list[str] = []
        length = 0
        for match in _PARAGRAPH.finditer(text):
            heading = _HEADING.fullmatch(match[0]) if media_type == "text/markdown" else None
            part, level = (heading[2], len(heading[1])) if heading else (match[0], 0)
            title = title or (part if level == 1 else None)
            kind: BlockKind = "heading" if heading else "code" if media_type == "text/x-python" else "paragraph"
            blocks.append(Block(kind, length, length + len(part), level))
            parts.append(part)
            length += len(part) + 2
        return ExtractedText("\n\n".join(parts), tuple(blocks), "paragraph/1", title)

    async def close(self) -> None:
        self._closed = True

    def _text(self, path: str, content: bytes) -> str:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UnreadableDocument(f"{path} is not UTF-8 text.", field=path) from None
        if not text.strip() or "\x00" in text:
            raise UnreadableDocument(f"{path} is empty or not text.", field=path)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _record(self, path: str, text: str) -> dict[str, str]:
        try:
            record = json.loads(text)
        except ValueError:
            raise UnreadableDocument(f"{path} is not JSON.", field=path) from None
        return record if isinstance(record, dict) and record.get("text") else {}
