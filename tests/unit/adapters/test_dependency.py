"""Time-outs, retries, the circuit breaker and the bound on calls at once, around a server's client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import stamina
import structlog

from ragstone.adapters.circuit_breaker import CircuitBreaker, CircuitOpen
from ragstone.adapters.dependency import Dependency
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import Conflict, RagstoneError, StorageFull, Unavailable
from ragstone.telemetry.metrics import Metrics


class ClientError(Exception):
    """What a server's client raises."""


def translate(error: Exception) -> RagstoneError | None:
    match str(error):
        case "full":
            return StorageFull("full")
        case "taken":
            return Conflict("taken")
        case _:
            return Unavailable("down") if isinstance(error, ClientError) else None


class Server:
    """Fails with each of `errors`, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def __call__(self, seconds: float) -> float:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return seconds


def catalog(timeout: float = 5.0, concurrency: int = 4) -> Dependency:
    return Dependency("catalog", timeout=timeout, concurrency=concurrency, translate=translate)


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


async def test_the_work_gets_the_timeout() -> None:
    assert await catalog().call(Server(), retry=False) == 5.0


async def test_the_work_gets_what_the_request_has_left() -> None:
    with deadline(0.5):
        assert 0.3 < await catalog().call(Server(), retry=True) <= 0.5


async def test_a_request_whose_time_is_up_asks_nobody() -> None:
    server = Server()
    with deadline(0), pytest.raises(Unavailable, match="too long") as caught:
        await catalog().call(server, retry=True)
    assert (server.asked, caught.value.retry_after) == (0, 1.0)


async def test_what_may_be_repeated_is_repeated() -> None:
    server = Server(ClientError(), ConnectionResetError())
    assert await catalog().call(server, retry=True) == 5.0
    assert server.asked == 3


async def test_what_must_not_be_repeated_is_not() -> None:
    server = Server(ClientError())
    with pytest.raises(Unavailable) as caught:
        await catalog().call(server, retry=False)
    assert server.asked == 1
    assert (caught.value.field, caught.value.retry_after) == ("catalog", 1.0)
    assert isinstance(caught.value.__cause__, ClientError)


@pytest.mark.parametrize("error", [ClientError("taken"), ClientError("full"), Unavailable("not now")])
async def test_an_answer_is_final(error: Exception) -> None:
    server = Server(error)
    with pytest.raises(RagstoneError):
        await catalog().call(server, retry=True)
    assert server.asked == 1


async def test_what_is_not_the_clients_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await catalog().call(Server(ZeroDivisionError()), retry=True)


async def test_a_server_that_hangs_is_given_up() -> None:
    async def hang(_: float) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match="in time"):
        await catalog(timeout=0.01).call(hang, retry=False)


async def test_a_dead_server_is_not_asked_for_ever() -> None:
    server, one = Server(*[ClientError()] * 100), catalog()
    for _ in range(10):
        with pytest.raises(Unavailable):
            await one.call(server, retry=False)
    assert server.asked == 5
    with pytest.raises(CircuitOpen) as caught:
        await one.call(server, retry=True)
    assert (caught.value.field, caught.value.status) == ("catalog", 503)
    assert 0 < (caught.value.retry_after or 0) <= 0.5


async def test_short_requests_do_not_open_the_circuit() -> None:
    async def slow(_: float) -> None:
        await asyncio.Event().wait()

    one = catalog()
    for _ in range(10):
        with deadline(0.001), pytest.raises(Unavailable):
            await one.call(slow, retry=False)
    assert await one.call(Server(), retry=False) == 5.0


async def test_no_more_calls_at_once_than_agreed() -> None:
    one, running, most = catalog(concurrency=2), 0, 0

    async def work(_: float) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*(one.call(work, retry=False) for _ in range(9)))
    assert most == 2


async def test_a_call_waits_for_a_place_no_longer_than_it_may_take() -> None:
    one, go = catalog(concurrency=1), asyncio.Event()
    first = asyncio.create_task(one.call(lambda _: go.wait(), retry=False))
    await asyncio.sleep(0)
    with deadline(0.01), pytest.raises(Unavailable, match="too many") as caught:
        await one.call(Server(), retry=False)
    assert caught.value.retry_after
    go.set()
    await first


async def test_calls_are_counted() -> None:
    await Dependency("counted", timeout=1, concurrency=1, translate=translate).call(Server(ClientError()), retry=True)
    text = Metrics().exposition()[0].decode()
    assert 'ragstone_dependency_call_duration_seconds_count{dependency="counted",outcome="failed"} 1.0' in text
    assert 'ragstone_dependency_call_duration_seconds_count{dependency="counted",outcome="answered"} 1.0' in text
    assert 'ragstone_dependency_retries_total{dependency="counted"} 1.0' in text
    assert 'ragstone_dependency_breaker_open{dependency="counted"} 0.0' in text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with breaker.passing():
            breaker.failed()


def test_after_the_pause_one_call_decides() -> None:
    clock = Clock()
    breaker = CircuitBreaker("one", clock)
    fail(breaker, 5)
    clock.now = 0.6
    with breaker.passing():
        with pytest.raises(CircuitOpen), breaker.passing():
            pass
        breaker.answered()
    assert not breaker.is_open


def test_the_pause_grows_to_a_bound() -> None:
    clock = Clock()
    breaker = CircuitBreaker("two", clock)
    fail(breaker, 5)
    for _ in range(8):
        clock.now += 5.0
        fail(breaker, 1)
    with pytest.raises(CircuitOpen) as caught, breaker.passing():
        pass
    assert caught.value.retry_after == 5.0


def test_a_probe_that_is_given_up_lets_the_next_one_try() -> None:
    clock = Clock()
    breaker = CircuitBreaker("three", clock)
    fail(breaker, 5)
    clock.now = 1.0
    with pytest.raises(asyncio.CancelledError), breaker.passing():
        raise asyncio.CancelledError
    with breaker.passing():
        breaker.answered()


async def test_a_retry_puts_nothing_on_stdout_where_no_log_was_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    with stamina.set_testing(testing=False):
        await catalog().call(Server(ClientError("down")), retry=True)
    assert capsys.readouterr() == ("", "")


def test_a_retry_is_logged_by_a_server(caplog: pytest.LogCaptureFixture) -> None:
    with stamina.set_testing(testing=False):
        asyncio.run(catalog().call(Server(ClientError("down")), retry=True))
    assert [record.getMessage() for record in caplog.records if record.name == "stamina"] == ["stamina.retry_scheduled"]
