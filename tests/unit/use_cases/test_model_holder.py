"""A model that is replaced while requests use it."""

from __future__ import annotations

import threading

import pytest

from ragstone.use_cases.model_holder import ModelHolder


async def test_requests_in_flight_keep_the_model_that_they_began_with_and_it_is_closed_after_the_last() -> None:
    closed: list[str] = []
    holder = ModelHolder("old", "models:/m/1", closed.append)
    with holder.use() as first:
        with holder.use() as second:
            holder.swap("new", "models:/m/2")
            with holder.use() as later:
                assert (later.model, later.version) == ("new", "models:/m/2")
            assert first is second
            assert (first.model, first.version) == ("old", "models:/m/1")
            await holder.settled()
            assert closed == []
        await holder.settled()
        assert closed == []
    await holder.settled()
    assert closed == ["old"]
    assert holder.current.model == "new"
    await holder.close()
    await holder.close()
    assert closed == ["old", "new"]


async def test_a_model_that_nobody_uses_is_closed_at_once_and_one_that_fails_to_close_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def close(model: str) -> None:
        raise RuntimeError(model)

    holder = ModelHolder("old", "1", close)
    holder.swap("new", "2")
    await holder.settled()
    assert "closing 1 failed" in caplog.text


async def test_a_request_that_fails_gives_its_model_back() -> None:
    closed: list[str] = []
    holder = ModelHolder("old", "1", closed.append)
    with pytest.raises(ValueError, match="x"), holder.use():
        raise ValueError("x")
    holder.swap("new", "2")
    await holder.settled()
    assert closed == ["old"]


async def test_threads_that_use_and_swap_it_close_each_model_once() -> None:
    closed: list[int] = []
    holder = ModelHolder(0, "0", closed.append)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(300):
            with holder.use() as held:
                if held.model in closed:
                    wrong.append(held.model)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 50):
        holder.swap(number, str(number))
    for thread in threads:
        thread.join()
    await holder.close()
    assert sorted(closed) == list(range(50))
    assert wrong == []
