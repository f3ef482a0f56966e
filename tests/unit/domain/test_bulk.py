"""Which shard embeds what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.bulk import BulkPart, owner_of, parts_of, run_id, shard_of
from ragstone.domain.ids import new_id

texts = st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=2), st.text(max_size=5), max_size=6)
documents = st.lists(st.tuples(st.text(max_size=4), texts), max_size=20)


@given(documents, st.integers(1, 7), st.integers(1, 5))
def test_every_text_is_in_exactly_one_part(given_: list[tuple[str, dict[str, str]]], shards: int, size: int) -> None:
    parts = parts_of(given_, shards, size)
    hashes = [hashed for part in parts for hashed in part.texts]
    assert sorted(hashes) == sorted({hashed for _, own in given_ for hashed in own})
    assert all(0 <= part.shard < shards and 1 <= len(part.texts) <= size for part in parts)
    first: dict[str, str] = {}
    for path, own in given_:
        for hashed in own:
            first.setdefault(hashed, path)
    assert all(part.shard == shard_of(first[hashed], shards) for part in parts for hashed in part.texts)
    assert [part.id for part in parts] == [part.id for part in parts_of(given_, shards, size)]
    assert len({part.id for part in parts}) == len(parts)


def test_documents_are_spread_evenly_and_the_same_everywhere() -> None:
    counts = [0] * 8
    for number in range(8_000):
        counts[shard_of(f"pages/{number:05}.md", 8)] += 1
    assert max(counts) < 1_120
    assert min(counts) > 880
    assert [shard_of(path, 1000) for path in ("", "a.md", "é\ud800")] == [
        876,
        549,
        271,
    ]  # stays as it is: shards of two releases may work together


def test_a_part_is_known_by_its_shard_and_hashes() -> None:
    ids = {BulkPart(0, {"a": "x"}).id, BulkPart(1, {"a": "x"}).id, BulkPart(0, {"b": "x"}).id, BulkPart(0, {"a": "x", "b": "x"}).id}
    assert len(ids) == 4
    assert BulkPart(0, {"a": "x"}).id == BulkPart(0, {"a": "y"}).id


def test_a_run_tells_its_owner() -> None:
    owner = new_id()
    assert owner_of(run_id(owner, "0123456789abcdef")) == owner
