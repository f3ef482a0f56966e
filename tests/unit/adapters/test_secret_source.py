"""Secrets that may change while the process runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.adapters.secret_source import SecretSource
from ragstone.domain.errors import InvalidInput


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("one\n")
    source = SecretSource("catalog.uri", file=file)
    assert source() == "one"
    other = tmp_path / "other"
    other.write_text("two")
    other.replace(file)  # as Kubernetes does
    assert source() == "two"


def test_a_file_that_is_gone_or_broken_leaves_the_secret_of_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "secret"
    file.write_text("one")
    source = SecretSource("catalog.uri", file=file)
    file.write_text("")
    assert source() == "one"
    assert "catalog.uri_file: it is empty" in caplog.text
    file.unlink()
    assert source() == "one"
    file.write_text("three")
    assert source() == "three"


@pytest.mark.parametrize("content", [None, b"", b"  \n", b"\xff\xfe", b"x" * (2**20 + 1)])
def test_a_file_that_is_no_secret_is_refused_at_the_start_without_quoting_it(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"^catalog\.uri_file: it ") as refused:
        SecretSource("catalog.uri", file=file)
    assert "xxx" not in refused.value.message


def test_a_value_of_the_environment_is_given_as_it_is() -> None:
    assert SecretSource("index.api_key", value="abc")() == "abc"
