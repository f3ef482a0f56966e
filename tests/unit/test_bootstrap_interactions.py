"""What the composition root refuses of the interaction log's settings, and how it puts the log together."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from ragstone.adapters.spooled_log import SpooledInteractionLog
from ragstone.bootstrap.logs import interaction_log, redaction
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.errors import InvalidInput
from ragstone.settings.model import InteractionSettings, Settings
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.interaction_log import InMemoryInteractionLog
from tests.support.interactions import interaction

KEY = "0123456789abcdef"


async def test_a_hashed_field_without_a_key_stops_the_start_before_anything_is_made(tmp_path: Path) -> None:
    for of_interactions in (
        InteractionSettings(redact={"question": "hash"}),
        InteractionSettings(redact={"question": "hash"}, redact_key=SecretStr("short")),
        InteractionSettings(redact={"question": "hash"}, redact_key_file=tmp_path / "absent"),
        InteractionSettings(redact={"questions": "drop"}),
    ):
        settings = Settings(data_dir=tmp_path / "data", interactions=of_interactions)
        with pytest.raises(InvalidInput):
            async with open_platform(settings, embedder=HashingEmbeddingModel()):
                pytest.fail("it started")
        assert not (tmp_path / "data").exists()


def test_the_key_comes_from_a_file_or_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    by_file = redaction(InteractionSettings(redact={"question": "hash"}, redact_key_file=file))
    by_setting = redaction(InteractionSettings(redact={"question": "hash"}, redact_key=SecretStr(KEY)))
    assert by_file.interaction(interaction()).question == by_setting.interaction(interaction()).question != "Who is Ada?"


async def test_redaction_stands_before_the_spool_and_the_log(tmp_path: Path) -> None:
    inner = InMemoryInteractionLog()
    log = interaction_log(InteractionSettings(redact={"question": "drop"}), inner, tmp_path / "spool")
    await log.append(interaction("a"))
    assert (await inner.get("a")).question == ""
    await log.close()
    plain = interaction_log(InteractionSettings(), inner, tmp_path / "spool")
    assert isinstance(plain, SpooledInteractionLog)
    await plain.close()
