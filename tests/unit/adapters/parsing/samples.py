"""Documents for the parsers' tests, made in memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

from pypdf import PdfWriter

from ragstone.adapters.parsing.extraction import Source
from ragstone.domain.documents import ExtractedText

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def read(parse: Callable[[Source], ExtractedText], content: bytes | str, *, max_characters: int = 1_000_000) -> ExtractedText:
    """`content` by one parser, in this process; every block is checked against the text."""
    source = Source(content if isinstance(content, bytes) else content.encode(), "", "test/1", max_characters)
    extracted = parse(source)
    position = 0
    for block in extracted.blocks:
        assert position <= block.start < block.end <= len(extracted.text)
        assert extracted.text[block.start : block.end].strip()
        position = block.end
    return extracted


def shown(extracted: ExtractedText) -> list[tuple[str, str]]:
    """(kind with the level of headings, text) of every block."""
    return [(f"{block.kind}{block.level or ''}", extracted.text[block.start : block.end]) for block in extracted.blocks]


def pdf(*objects: bytes) -> bytes:
    """A PDF file of these objects, numbered from 1; the first is the catalogue."""
    content = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return content + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        size,
        table,
        size,
        len(content),
    )


def stream(data: bytes, entries: bytes = b"") -> bytes:
    """A stream object's body."""
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(data), entries, data)


def pdf_of_stream(data: bytes, entries: bytes = b"") -> bytes:
    """One page whose content is this stream."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>"
    return pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page, stream(data, entries), FONT)


def page_stream(*lines: str) -> bytes:
    """What draws lines of text."""
    drawn = b"".join(b"(%s) Tj 0 -14 Td\n" % line.encode("latin-1").replace(b"(", b"\\(").replace(b")", b"\\)") for line in lines)
    return b"BT /F1 12 Tf 72 720 Td\n" + drawn + b"ET"


def pdf_of_pages(
    *pages: tuple[str, ...], outline: tuple[tuple[str, int], ...] = (), title: str | None = None, password: str | None = None
) -> bytes:
    """Pages of lines; `outline` are (title, page from 0); `password` None leaves it open."""
    writer = PdfWriter()
    for lines in pages:
        writer.append(io.BytesIO(pdf_of_stream(page_stream(*lines))))
    for name, page in outline:
        writer.add_outline_item(title=name, page_number=page)
    if title is not None:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def bomb(unit: bytes, times: int) -> bytes:
    """`unit`, so many times over, deflated."""
    compressor = zlib.compressobj(9)
    return b"".join(compressor.compress(unit) for _ in range(times)) + compressor.flush()
