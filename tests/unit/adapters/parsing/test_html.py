"""HTML to text."""

from __future__ import annotations

import pytest

from ragstone.adapters.parsing.extraction import ParseFailure
from ragstone.adapters.parsing.html import parse_html
from tests.unit.adapters.parsing.samples import read, shown

PAGE = """<!DOCTYPE html>
<html><head><title>Site title</title><style>p{}</style><script>var x = "<p>no</p>";</script></head>
<body>
<header><a href="/">Home</a></header><nav><ul><li>Menu</li></ul></nav>
<main>
  <h1>The <em>guide</em><a class="headerlink" href="#x">¶</a></h1>
  <p>First   paragraph,<br>second line with <code>a_b</code> and <a href="x">a link</a>.</p>
  <ul><li>one</li><li>two<ol start="3"><li>deep</li></ol></li><li><p>three</p><p>more</p></li></ul>
  <pre><code>def f():
    return 1
</code></pre>
  <table><caption>Sizes</caption><thead><tr><th>a</th><th>b</th></tr></thead><tr><td>1<br>x</td><td><b>2</b></td></tr></table>
  <div hidden>hidden</div><p style="display: none">unseen</p><aside>An aside.</aside>
  Bare text<!-- comment --> here.
  <h2>Second</h2><blockquote><p>Quoted.</p></blockquote>
</main>
<footer>Imprint</footer>
</body></html>"""


def test_a_page() -> None:
    extracted = read(parse_html, PAGE)
    assert shown(extracted) == [
        ("heading1", "The guide"),
        ("paragraph", "First paragraph,\nsecond line with a_b and a link."),
        ("list", "- one\n- two\n  3. deep\n- three\n  more"),
        ("code", "def f():\n    return 1"),
        ("table", "Sizes\na | b\n1 x | 2"),
        ("paragraph", "An aside."),
        ("paragraph", "Bare text here."),
        ("heading2", "Second"),
        ("paragraph", "Quoted."),
    ]
    assert extracted.title == "The guide"


def test_without_a_main_part_frame_and_navigation_are_dropped() -> None:
    page = '<title>T &amp; t</title><header>Logo</header><nav>Menu</nav><div role="navigation">Crumbs</div><p>Text.</p><aside>Ads</aside><footer>F</footer>'
    extracted = read(parse_html, page)
    assert extracted.text == "Text."
    assert extracted.title == "T & t"


def test_a_header_with_the_title_is_kept() -> None:
    assert read(parse_html, "<header><h1>Title</h1></header><p>Text.</p>").text == "Title\n\nText."


def test_a_main_part_with_next_to_nothing_is_not_believed() -> None:
    page = "<main><p>Loading</p></main><div><p>" + "The real text. " * 20 + "</p></div>"
    assert "The real text." in read(parse_html, page).text


def test_tables_that_lay_out_a_page_are_not_data() -> None:
    page = "<table><tr><td><h1>Title</h1><p>One.</p></td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    assert shown(read(parse_html, page)) == [("heading1", "Title"), ("paragraph", "One."), ("table", "a | b")]


def test_unclosed_and_stray_tags() -> None:
    assert shown(read(parse_html, "<p>one<p>two</div></b><li>three<td>four")) == [
        ("paragraph", "one"),
        ("paragraph", "two"),
        ("paragraph", "three"),
        ("paragraph", "four"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "<p>Käse</p>".encode(),
        b"\xef\xbb\xbf" + "<p>Käse</p>".encode(),
        '<meta charset="iso-8859-1"><p>Käse</p>'.encode("latin-1"),
        '<META http-equiv=x content="text/html; charset=windows-1252"><p>Käse</p>'.encode("cp1252"),
        '<?xml version="1.0" encoding="ISO-8859-15"?><p>Käse</p>'.encode("latin-1"),
        "<p>Käse</p>".encode("utf-16"),
        '<meta charset="iso-2022-jp"><p>Käse</p>'.encode(),
        '<meta charset="no-such"><p>Käse</p>'.encode(),
    ],
    ids=["UTF-8", "BOM", "Latin-1", "Windows-1252", "XML", "UTF-16", "wrong declaration", "unknown declaration"],
)
def test_encodings(content: bytes) -> None:
    assert read(parse_html, content).text == "Käse"


def test_japanese_by_declaration() -> None:
    assert read(parse_html, "<meta charset=euc-jp><p>日本語</p>".encode("euc-jp")).text == "日本語"


@pytest.mark.parametrize("content", [b"<p>caf\xe9</p>", b'<meta charset="utf-8"><p>caf\xe9</p>', b'<meta charset="utf-7"><p>caf\xe9</p>'])
def test_bytes_of_no_known_encoding_are_refused(content: bytes) -> None:
    with pytest.raises(ParseFailure, match="UTF-8"):
        read(parse_html, content)


def test_entities_name_no_files() -> None:
    page = '<!DOCTYPE html [<!ENTITY secret SYSTEM "file:///etc/passwd">]><p>&secret; text</p>'
    assert "root:" not in read(parse_html, page).text
    assert read(parse_html, page).text.endswith("text")


@pytest.mark.parametrize("unit", ["<div>", "<ul><li>", "<table><tr><td>x", "<b>x"])
def test_nesting_without_end_is_refused(unit: str) -> None:
    with pytest.raises(ParseFailure, match="nested too deeply"):
        read(parse_html, unit * 50_000)


def test_deep_but_sane_nesting() -> None:
    assert read(parse_html, "<div>" * 500 + "<p>deep").text == "deep"


def test_characters_that_are_none() -> None:
    assert read(parse_html, "<p>a&#xD800;b&#0;c&#x110000;d&#27;e</p>").text.encode()
