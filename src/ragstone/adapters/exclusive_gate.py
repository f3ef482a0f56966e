"""A gate for work that goes on together, and for work that nothing else may go on beside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, cast


class ExclusiveGate:
    """Whoever wants to work comes as a `Visit`. Of one event loop; nobody waits for ever where each visit ends."""

    def __init__(self) -> None:
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._open = asyncio.Event()  # not while one is alone, or waits for those inside to leave
        self._open.set()
        self._turn = asyncio.Lock()  # of those that step aside
        self._waiting: set[asyncio.Task[object]] = set()

    def visit(self) -> Visit:
        """A context manager; entering it waits while the gate is closed."""
        return Visit(self)

    def send_away(self) -> None:
        """Cancels every task that waits at the gate now."""
        for task in self._waiting:
            task.cancel()

    async def enter(self) -> None:
        """Waits until the gate is open, and is inside."""
        with self._waits():
            while not self._open.is_set():  # it may have been closed again before we came to it
                await self._open.wait()
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        """Is inside no more."""
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    async def take_turn(self) -> None:
        """Waits until nobody else has the turn."""
        with self._waits():
            await self._turn.acquire()

    async def close(self) -> None:
        """Lets nobody in any more, and waits until nobody is inside. To be opened even when the wait is cancelled."""
        self._open.clear()
        with self._waits():
            await self._empty.wait()

    def open(self) -> None:
        """Lets those in that wait."""
        self._open.set()

    def end_turn(self) -> None:
        """The turn is the next one's. Whoever was let in by `open` is in before that one can close the gate again."""
        self._turn.release()

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._waiting.add(task)
        try:
            yield
        finally:
            self._waiting.discard(task)


class Visit:
    """Within its block one is inside together with others, and may then step aside and be alone; the end of the block undoes whatever it is by then."""

    def __init__(self, gate: ExclusiveGate) -> None:
        self._gate = gate
        self._where: Literal["outside", "together", "aside", "alone"] = "outside"

    async def __aenter__(self) -> Visit:
        await self._gate.enter()
        self._where = "together"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._go_out()

    async def step_aside(self) -> None:
        """Leaves the others inside, and waits for its turn: one visit at a time is aside or alone. Others still come and go."""
        self._go_out()
        await self._gate.take_turn()
        self._where = "aside"

    async def be_alone(self) -> None:
        """Lets no other in, and waits until those inside have left. Steps aside first when that was not done."""
        if self._where != "aside":
            await self.step_aside()
        self._where = "alone"
        await self._gate.close()

    def _go_out(self) -> None:
        match self._where:
            case "together":
                self._gate.leave()
            case "alone":
                self._gate.open()
                self._gate.end_turn()
            case "aside":
                self._gate.end_turn()
        self._where = "outside"
