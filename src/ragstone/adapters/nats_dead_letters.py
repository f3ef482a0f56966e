"""Dead letters in a JetStream stream: one message a job, on a subject of its collection and its id."""

from __future__ import annotations

import re

from nats.js import JetStreamContext
from nats.js.api import Header
from nats.js.errors import NotFoundError

from ragstone.adapters import codecs
from ragstone.adapters.nats import NatsConnection
from ragstone.adapters.nats_names import Names
from ragstone.domain.access import no_dead_letter
from ragstone.domain.dead_letters import DeadLetter

_JOB = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NatsDeadLetters:
    """Implements `DeadLetters`. The stream keeps the last message of each subject, until it is removed."""

    def __init__(self, connection: NatsConnection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._stream = str(names.dead.name)

    async def put(self, letter: DeadLetter) -> None:
        body = codecs.DEAD_LETTER.dump(letter)
        # The reason again in headers, for whoever looks with tools of the broker.
        headers = {
            "Ragstone-Code": letter.code,
            "Ragstone-Tries": str(letter.tries),
            Header.MSG_ID.value: f"{letter.job_id}-{letter.created_at}",
        }
        subject = self._names.letter(letter.collection, letter.job_id)
        await self._connection.call(lambda js: js.publish(subject, body.encode(), stream=self._stream, headers=headers), retry=True)

    async def get(self, job_id: str) -> DeadLetter:
        if _JOB.fullmatch(job_id):
            found = await self._connection.call(lambda js: self._last(js, self._names.letter("*", job_id)), retry=True)
            if found is not None:
                return found
        raise no_dead_letter(job_id)

    async def page(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[DeadLetter]:
        subjects = await self._subjects(collection or "*")
        wanted = sorted((job, subject) for job, subject in subjects.items() if before is None or job < before)[::-1][:limit]
        letters = []
        for _, subject in wanted:
            if (letter := await self._connection.call(lambda js, subject=subject: self._last(js, subject), retry=True)) is not None:  # type: ignore[misc]
                letters.append(letter)
        return letters

    async def remove(self, job_id: str) -> None:
        if _JOB.fullmatch(job_id):
            subject = self._names.letter("*", job_id)
            await self._connection.call(lambda js: js.purge_stream(self._stream, subject=subject), retry=True)

    async def jobs(self) -> frozenset[str]:
        return frozenset(await self._subjects("*"))

    async def close(self) -> None:
        """The connection is not ours."""

    async def _subjects(self, collection: str) -> dict[str, str]:
        """Subject of each letter by the id of its job."""
        wanted = self._names.letter(collection, "*")
        info = await self._connection.call(lambda js: js.stream_info(self._stream, subjects_filter=wanted), retry=True)
        return {subject.rpartition(".")[2]: subject for subject in info.state.subjects or ()}

    async def _last(self, js: JetStreamContext, subject: str) -> DeadLetter | None:
        try:
            message = await js.get_last_msg(self._stream, subject)
        except NotFoundError:
            return None
        return codecs.DEAD_LETTER.load((message.data or b"").decode())
