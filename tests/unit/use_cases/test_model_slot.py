"""A model that is replaced while requests run."""

from __future__ import annotations

import asyncio

from ragstone.use_cases.model_slot import ModelSlot


class Model:
    """Knows whether it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_a_request_keeps_the_model_that_it_began_with_and_the_next_gets_the_new_one() -> None:
    old, new = Model(), Model()
    slot = ModelSlot(old)
    with slot.use() as mine:
        with slot.use() as other:
            swapping = asyncio.ensure_future(slot.swap(new))
            await asyncio.sleep(0)
            with slot.use() as later:
                assert later is new
            assert mine is other is old
        await asyncio.sleep(0)
        assert not old.closed
        assert not swapping.done()
    await swapping
    assert old.closed
    assert not new.closed
    assert slot.now is new


async def test_an_unused_model_is_closed_at_once() -> None:
    old, new = Model(), Model()
    slot = ModelSlot(old)
    await slot.swap(new)
    assert old.closed
    await slot.close()
    assert new.closed


async def test_a_change_that_is_given_up_leaves_the_old_model_to_the_end() -> None:
    old, new = Model(), Model()
    slot = ModelSlot(old)
    with slot.use():
        swapping = asyncio.ensure_future(slot.swap(new))
        await asyncio.sleep(0)
        swapping.cancel()
        await asyncio.wait([swapping])
        assert slot.now is new
        assert not old.closed
    await slot.close()
    assert old.closed
    assert new.closed
