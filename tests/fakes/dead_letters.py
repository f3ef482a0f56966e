"""Dead letters in a dictionary."""

from __future__ import annotations

from ragstone.domain.access import no_dead_letter
from ragstone.domain.dead_letters import DeadLetter


class InMemoryDeadLetters:
    """Implements `DeadLetters`."""

    def __init__(self) -> None:
        self._letters: dict[str, DeadLetter] = {}

    async def put(self, letter: DeadLetter) -> None:
        self._letters[letter.job_id] = letter

    async def get(self, job_id: str) -> DeadLetter:
        try:
            return self._letters[job_id]
        except KeyError:
            raise no_dead_letter(job_id) from None

    async def page(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[DeadLetter]:
        kept = [
            letter
            for letter in self._letters.values()
            if collection in (None, letter.collection) and (before is None or letter.job_id < before)
        ]
        return sorted(kept, key=lambda letter: letter.job_id, reverse=True)[:limit]

    async def remove(self, job_id: str) -> None:
        self._letters.pop(job_id, None)

    async def jobs(self) -> frozenset[str]:
        return frozenset(self._letters)

    async def close(self) -> None:
        """Nothing is open."""
