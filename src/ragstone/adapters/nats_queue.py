"""Job queue on NATS JetStream: a work queue of one subject a collection, each read by one consumer that hands out a single message at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, Header
from nats.js.errors import Error as JetStreamError

from ragstone.adapters.exclusive_gate import ExclusiveGate, Visit
from ragstone.adapters.nats import NatsConnection
from ragstone.adapters.nats_delivery import Delivery, parse, pull
from ragstone.adapters.nats_names import Names
from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.domain.ids import new_id
from ragstone.ports.job_queue import GiveUp, JobHandler

_LOOK = 5.0  # seconds between looks for subjects with messages that nobody told us of
_AWAY = 1.0  # the same while the server is away
_WAIT = 0.5  # seconds that a place waits for a collection's message
_GLANCE = 0.05  # the same for one that was delivered before: the server has it at hand, or another worker is at it
_UNUSED = 24 * 3600.0  # seconds after which the server forgets the consumer of a collection that has no more jobs
_END = ""  # in the line: no subject, but the end of the place that gets it
_log = logging.getLogger(__name__)


class NatsJobQueue:
    """Implements `JobQueue` for any number of processes (ADR 0021).

    A collection's consumer has at most one message under way (`max_ack_pending` 1), so its jobs go one at a time and in order whoever works.
    Up to `parallel` collections are worked on here. A message that nobody keeps alive for `ack_wait` seconds is delivered again; one that was
    delivered `tries` times is given up. Pauses in seconds.

    A message that comes again may be what its last worker died of, and a worker's death counts as a try of every message that the worker has. So it is
    worked on alone: what is under way here ends first, and no other is fetched meanwhile. One that this process handed back because something was away is
    no suspect, or an outage would make everything go one at a time.
    """

    def __init__(
        self,
        connection: NatsConnection,
        names: Names,
        *,
        parallel: int = 4,
        tries: int = 10,
        ack_wait: float = 60.0,
        first_pause: float = 1.0,
        longest_pause: float = 60.0,
    ) -> None:
        self._connection = connection
        self._names = names
        self._stream = str(names.jobs.name)
        self._parallel = parallel
        self._tries = tries
        self._ack_wait = ack_wait
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._line: asyncio.Queue[str] = asyncio.Queue()  # subjects that may have messages
        self._waiting_here: set[str] = set()  # those in the line
        self._working: set[str] = set()
        self._again: set[str] = set()  # offered while they were worked on
        self._handed_back: dict[str, tuple[int, int]] = {}  # by subject, its message that is no suspect: place in the stream, delivery
        self._gate = ExclusiveGate()
        self._places: list[asyncio.Task[None]] = []
        self._looking: asyncio.Task[None] | None = None
        self._listening: tuple[Client, Subscription] | None = None
        self._stopping = False

    async def start(self, handler: JobHandler, give_up: GiveUp) -> None:
        """Raises `Conflict` when the server or a stream is not what is needed; a server that is away is waited for in the background."""
        self._stopping = False
        with contextlib.suppress(Unavailable):
            await self._look()
        self._looking = asyncio.create_task(self._look_for_ever(), name="jobs: look")
        self._places = [asyncio.create_task(self._work(handler, give_up), name=f"jobs: place {n}") for n in range(self._parallel)]

    async def enqueue(self, collection: str, job_id: str) -> None:
        payload = json.dumps({"collection": collection, "job": job_id}).encode()
        headers = {Header.MSG_ID.value: new_id()}  # the same when it has to be sent again: an unknown outcome doubles nothing
        subject = self._names.job(collection)
        await self._connection.call(lambda js: js.publish(subject, payload, stream=self._stream, headers=headers), retry=True)

    async def check(self) -> None:
        await self._connection.call(lambda js: js.account_info(), retry=False)

    async def stop(self, grace: float = 10.0) -> None:
        self._stopping = True
        for _ in self._places:
            self._line.put_nowait(_END)
        self._gate.send_away()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None
        if self._listening is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._listening[1].unsubscribe()
            self._listening = None
        places, self._places = self._places, []
        if places:
            _, late = await asyncio.wait(places, timeout=grace)
            for place in late:
                place.cancel()
            await asyncio.gather(*places, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        """Looks now and then for messages that nobody told of: a worker is gone, or a hint was lost."""
        away = False
        while True:
            await asyncio.sleep(_AWAY if away else _LOOK)
            try:
                await self._look()
                away = False
            except (RagstoneError, nats.errors.Error) as error:
                if not away:
                    _log.warning("no jobs can be taken: %s It is tried again until it works.", error)
                away = True

    async def _look(self) -> None:
        client = await self._connection.client()
        if self._listening is None or self._listening[0] is not client:  # another client: the subscription went with the one before
            self._listening = client, await client.subscribe(self._names.job("*"), cb=self._told)
        for subject in await self._connection.call(self._waiting, retry=False):
            self._offer(subject)

    async def _told(self, message: Msg) -> None:
        self._offer(message.subject)

    async def _waiting(self, js: JetStreamContext) -> list[str]:
        info = await js.stream_info(self._stream, subjects_filter=self._names.job("*"))
        return list(info.state.subjects or ())

    def _offer(self, subject: str) -> None:
        """A place shall look at the subject, after whatever is done with it here now."""
        if subject in self._working:
            self._again.add(subject)
        elif subject not in self._waiting_here:
            self._waiting_here.add(subject)
            self._line.put_nowait(subject)

    async def _work(self, handler: JobHandler, give_up: GiveUp) -> None:
        """One place: takes the first subject in line, and one message of it."""
        while (subject := await self._line.get()) != _END and not self._stopping:
            self._waiting_here.discard(subject)
            self._working.add(subject)
            try:
                await self._turn(subject, handler, give_up)
            except (RagstoneError, nats.errors.Error, JetStreamError, OSError, TimeoutError) as error:
                _log.info("no job of %s could be taken: %s", subject, error)  # the next look finds the message again
            finally:
                self._working.discard(subject)
            if subject in self._again:
                self._again.discard(subject)
                self._offer(subject)

    async def _turn(self, subject: str, handler: JobHandler, give_up: GiveUp) -> None:
        async with self._gate.visit() as visit:
            came_before = await self._came_before(subject)
            if came_before:
                await visit.step_aside()  # before it is fetched: what is fetched and waits would count a death of this process, too
            client = await self._connection.client()
            message = await pull(client, self._stream, _consumer(subject), _GLANCE if came_before else _WAIT)
            if message is None:
                return
            pause = await self._deliver(message, visit, handler, give_up)
        if pause:
            asyncio.get_running_loop().call_later(pause, self._offer, subject)
        else:
            self._offer(subject)

    async def _came_before(self, subject: str) -> bool:
        """Whether the subject's next message was delivered before, and may be what a worker died of; also when another worker is at it now."""
        # Deliveries are not bounded by the server: it would keep a message that it delivers no more, and tell it once to whoever listens just then.
        config = ConsumerConfig(
            durable_name=_consumer(subject), filter_subject=subject, ack_wait=self._ack_wait, max_ack_pending=1, inactive_threshold=_UNUSED
        )
        found = await self._connection.call(lambda js: js.add_consumer(self._stream, config), retry=True)
        return bool(found.num_ack_pending) and subject not in self._handed_back

    async def _deliver(self, message: Msg, visit: Visit, handler: JobHandler, give_up: GiveUp) -> float:
        """Handles one message; returns the seconds after which it comes again, 0 when it is done with."""
        hint = parse(message.data)
        delivery = Delivery(message, self._ack_wait)
        known = self._handed_back.pop(message.subject, None) == (delivery.sequence, delivery.number - 1)
        suspect = delivery.number > 1 and not known
        if hint is None:
            _log.error("a message on %s is no job of ours and is dropped", message.subject)
            await delivery.drop()
            return 0.0
        collection, job_id = hint
        try:
            async with delivery:
                if suspect and delivery.number <= self._tries:
                    _log.info("job %s of %s comes again (%d) and is worked on alone", job_id, collection, delivery.number)
                    await visit.be_alone()
                await self._try(delivery, collection, job_id, handler, give_up)
        except Unavailable as error:
            growing = min(self._first_pause * 2.0 ** min(delivery.number - 1, 30), self._longest_pause)
            pause = max(growing, min(error.retry_after or 0.0, self._longest_pause))
            _log.warning("job %s of %s: %s Trying again in %.1f s.", job_id, collection, error.message, pause)
            if not suspect:  # one that was may not have come to what its worker died of
                self._handed_back[message.subject] = delivery.sequence, delivery.number
            await delivery.again(pause)
            return pause
        except asyncio.CancelledError:
            await asyncio.shield(delivery.again(0.0))  # handed back: another worker may take it at once
            raise
        except Exception:  # the contract: any other error is logged, the job is left to the sweeper
            _log.exception("job %s of %s failed", job_id, collection)
            await delivery.drop()
        return 0.0

    async def _try(self, delivery: Delivery, collection: str, job_id: str, handler: JobHandler, give_up: GiveUp) -> None:
        last: Unavailable | None = None
        if delivery.number <= self._tries:  # beyond it, the last worker never said how it went: it was killed, or could not give up
            try:
                await handler(collection, job_id)
            except Unavailable as error:
                if delivery.number < self._tries:
                    raise
                last = error
            else:
                await delivery.done()
                return
        if not await give_up(collection, job_id, self._tries, last):
            await self.enqueue(collection, job_id)
        await delivery.drop()


def _consumer(subject: str) -> str:
    """The name of its consumer."""
    return subject.rpartition(".")[2]
