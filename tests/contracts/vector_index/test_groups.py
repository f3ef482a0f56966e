"""What every vector index promises about documents that are for some groups only."""

from __future__ import annotations

from dataclasses import replace

from ragstone.domain.filters import Filter
from ragstone.ports.vector_index import VectorIndex
from tests.contracts.vector_index.reading import NAME, find
from tests.support.points import point, unit


async def test_what_groups_may_not_see_is_not_in_their_snapshot_nor_in_its_statistics(index: VectorIndex) -> None:
    open_, hidden = point("open.md", "quartz basalt"), replace(point("hidden.md", "quartz"), groups=frozenset({"hr", "legal"}))
    others = [point(f"{i}.md", "basalt") for i in range(4)]
    await index.insert(NAME, [open_, hidden, *others])

    async def seen(groups: frozenset[str] | None) -> dict[str, float]:
        found = await index.search(NAME, 1, (), vector=unit(1), text="quartz", filter=Filter(), limit=100, exact=True, groups=groups)
        chunks = await index.chunks(NAME, [one.id for one in found])
        read = {chunk.path for chunk in await index.visible(NAME, 1, (), [p.chunk.path for p in (open_, hidden, *others)], groups=groups)}
        assert read == {chunk.path for chunk in chunks.values()}
        assert await index.count_visible(NAME, 1, (), groups=groups) == len(read)
        return {chunks[one.id].path: one.bm25 for one in found}

    everything, nobody, member = await seen(None), await seen(frozenset()), await seen(frozenset({"hr", "other"}))
    assert member == everything
    assert everything.keys() - nobody.keys() == {"hidden.md"}
    await index.erase_path(NAME, "hidden.md", 1)
    assert await seen(None) == nobody  # as if it were not there: its words weigh nothing


async def test_groups_are_set_on_every_point_of_a_document_and_count_at_once(index: VectorIndex) -> None:
    old, new = point("a.md", "old quartz"), point("a.md", "new quartz", seq_from=2)
    await index.insert(NAME, [old, new, point("b.md", "quartz")])
    await index.close_points(NAME, [old.chunk.id], 2, ())

    async def counts(groups: frozenset[str] | None) -> list[int]:
        return [await index.count_visible(NAME, seq, (), groups=groups) for seq in (1, 2)]

    nobody, staff = frozenset[str](), frozenset({"staff"})
    before = await find(index, 2)
    await index.set_groups(NAME, "a.md", staff)
    await index.set_groups(NAME, "never.md", staff)
    assert (await counts(None), await counts(nobody), await counts(staff)) == ([2, 2], [1, 1], [2, 2])
    assert await find(index, 2) == before  # whoever may see everything sees no difference
    assert {stored.chunk.path for stored in await index.scan(NAME) if stored.chunk} == {"a.md", "b.md"}
    await index.set_groups(NAME, "a.md", nobody)
    assert await counts(nobody) == [2, 2]
