"""Damage to a Git repository that verification finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.adapters.git import GitVersionStore
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument, checksum

REPO = "c0ffee"


async def commit(store: GitVersionStore, attempt: int, base: str | None, text: str) -> str:
    info = DocumentInfo(f"{attempt}.txt", "text/plain", len(text), checksum(text.encode()))
    document = StoredDocument(info, text.encode(), ExtractedText(text, (), "text/1"))
    made = await store.stage(REPO, attempt, base, [document], [], author="a", message="m", metadata={})
    assert made is not None
    return made


def cut_short(pack: Path) -> None:
    with pack.open("r+b") as file:
        file.truncate(pack.stat().st_size // 2)


def flip_bits(pack: Path) -> None:
    content = bytearray(pack.read_bytes())
    for at in range(40, len(content) - 40, 7):
        content[at] ^= 0xFF
    pack.write_bytes(content)


def remove(pack: Path) -> None:
    pack.unlink()
    pack.with_suffix(".idx").unlink()


@pytest.mark.parametrize("damage", [cut_short, flip_bits, remove])
async def test_a_commit_whose_objects_were_damaged_is_told_and_no_other(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    store = GitVersionStore(tmp_path)
    await store.create(REPO)
    first = await commit(store, 1, None, "quartz " * 500)
    packs = tmp_path / f"{REPO}.git" / "objects" / "pack"
    before = set(packs.glob("*.pack"))
    second = await commit(store, 2, first, "basalt " * 500)
    (newer,) = set(packs.glob("*.pack")) - before
    await store.close()
    damage(newer)
    store = GitVersionStore(tmp_path)
    assert await store.verify(REPO, [first, second]) == [second]
    await store.close()
