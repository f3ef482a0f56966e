"""Progress on stderr: a live bar on a terminal, a line now and then elsewhere, nothing with --quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ragstone.cli.output import Output, clean

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = 5.0  # seconds between lines where there is no terminal


class Bar:
    """One running task. `remark` is what stands beside the bar."""

    def __init__(self, output: Output, title: str, progress: Progress | None, task: TaskID | None) -> None:
        self._output = output
        self._title = title
        self._progress = progress
        self._task = task
        self._told = time.monotonic()
        self._last: tuple[float, str] | None = None

    def show(self, done: float, total: float | None, remark: str = "") -> None:
        """How far it is."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, remark=clean(remark))
        elif time.monotonic() - self._told >= _EVERY and (done, remark) != self._last:
            self._told, self._last = time.monotonic(), (done, remark)
            share = f" {min(100, int(100 * done / total))} %" if total else ""
            self._output.note(f"{self._title}{share} {remark}".rstrip())


@contextmanager
def bar(output: Output, title: str) -> Iterator[Bar]:
    """A bar that vanishes when its task is over."""
    if output.quiet or not output.err.is_terminal:
        yield Bar(output, title, None, None)
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # takes what the others leave, and is cut there: title and bar stay whole
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), TextColumn("{task.fields[remark]}", table_column=rest))
    with Progress(*columns, console=output.err, transient=True, expand=True) as progress:
        yield Bar(output, title, progress, progress.add_task(clean(title), total=None, remark=""))


def duration(seconds: float) -> str:
    """`850 ms`, `4.2 s`, `3 min 10 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
