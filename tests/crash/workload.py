"""The random workload: operations made from a seed, and what each job must lead to when jobs end in the order in which they were accepted."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ragstone.domain.documents import checksum
from ragstone.domain.jobs import Change, ChangeRequest, Delete, Job, Move, Put, Restore, Switch
from ragstone.domain.uploads import IngestRequest, Upload

PATHS = tuple(f"{folder}{name}.txt" for folder in ("", "deck/", "deck/aft/") for name in ("log", "crew", "stores", "watch"))
_SUBJECTS = ("ferry", "lamp", "keeper", "pier", "storm", "bell", "harbour", "captain", "oil", "chart")
_VERBS = ("leaves at", "is lit at", "was seen at", "is closed from", "returns before")
_TIMES = ("nine", "ten", "noon", "dusk", "dawn", "midnight")
_BIG = 0.03  # share of puts whose document has more chunks than the index writes in one call
_BIG_SENTENCES = 140

State = Mapping[str, str]  # path -> checksum of its bytes


@dataclass(frozen=True)
class Operation:
    """What a client asks for, in JSON's types, so that it can be told through a pipe. `key` is unique, and the job's message."""

    key: str
    kind: str  # put, delete, move, mirror, rollback, tag, prune
    puts: dict[str, str] = field(default_factory=dict)
    path: str = ""
    target: str = ""
    keep: int = 0

    def request(self) -> IngestRequest:
        return IngestRequest(
            tuple(Upload(path, text.encode(), "text/plain") for path, text in self.puts.items()),
            (Delete(self.path),) if self.kind == "delete" else (),
            (Move(self.path, self.target),) if self.kind == "move" else (),
            mirror=self.kind == "mirror",
            message=self.key,
        )

    def asks_for(self, request: ChangeRequest) -> bool:
        """Whether a stored request is this one."""
        return (request.message, request.mirror, *map(_essence, request.changes)) == (
            self.key,
            self.kind == "mirror",
            *map(_essence, self._changes()),
        )

    def _changes(self) -> Iterable[Change]:
        if self.kind == "rollback":
            return [Restore(self.target)]
        if self.kind == "delete":
            return [Delete(self.path)]
        if self.kind == "move":
            return [Move(self.path, self.target)]
        return [Put(path, "text/plain", checksum(text.encode()), len(text.encode())) for path, text in self.puts.items()]


def _essence(change: Change) -> tuple[Any, ...]:
    match change:
        case Put(path, media_type, staged, size):
            return ("put", path, media_type, staged, size)
        case Delete(path, prefix):
            return ("delete", path, prefix)
        case Move(source, target):
            return ("move", source, target)
        case Restore(commit_id):
            return ("restore", commit_id)
        case Switch(space_id):
            return ("switch", space_id)


def operation(random: random.Random, key: str, commits: list[str]) -> Operation:
    """The next one of a client; `commits` are ids that it has seen."""
    dice = random.random()
    if dice < 0.1 and commits:
        return Operation(key, "rollback", target=random.choice(commits))
    if dice < 0.15 and commits:
        return Operation(key, "tag", target=random.choice(commits))
    if dice < 0.19:
        return Operation(key, "prune", keep=random.randint(4, 15))
    if dice < 0.31:
        return Operation(key, "delete", path=random.choice(PATHS))
    if dice < 0.45:
        return Operation(key, "move", path=random.choice(PATHS), target=random.choice(PATHS))
    paths = random.sample(PATHS, random.randint(1, 3))
    return Operation(key, "mirror" if dice < 0.48 else "put", {path: _text(random) for path in paths})


def _text(random: random.Random) -> str:
    count = _BIG_SENTENCES if random.random() < _BIG else random.randint(1, 5)
    return "\n\n".join(
        f"The {random.choice(_SUBJECTS)} {random.choice(_VERBS)} {random.choice(_TIMES)}, as the {random.choice(_SUBJECTS)} wrote on page "
        f"{random.randint(1, 40)} of the book that the {random.choice(_SUBJECTS)} keeps in the {random.choice(_SUBJECTS)} room."
        for _ in range(count)
    )


@dataclass
class Model:
    """The collection as it must be: jobs applied one after another. `states`: by id of the commit that has it. `surprises`: where a job ended otherwise."""

    state: State = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    head: str | None = None
    surprises: list[str] = field(default_factory=list)

    def apply(self, job: Job, *, pruned: bool) -> None:
        """The next job in the order of numbers. `pruned`: commits may be gone that it needs."""
        wanted = self._after(job.request)
        result = job.result
        if wanted is None:
            ended, fits = "failed", job.state == "failed" and result is not None and result.status in (404, 409)
        elif dict(wanted) == dict(self.state):
            ended, fits = "unchanged", job.state == "unchanged" or (self.head is None and job.state == "failed")
        else:
            ended, fits = "published", job.state == "published"
        if pruned and isinstance(job.request.changes[0] if job.request.changes else None, Restore) and job.state == "failed":
            fits, wanted = result is not None and result.status == 410, None
        if not fits:
            self.surprises.append(f"job {job.number} ({job.request.message}) is {job.state}, not {ended}: {result}")
        if job.state == "published" and result is not None and result.commit_id is not None:
            self.state = wanted if wanted is not None else self.state
            self.head = result.commit_id
            self.states[result.commit_id] = self.state

    def _after(self, request: ChangeRequest) -> State | None:
        """None when the job must fail."""
        state = dict(self.state)
        for change in request.changes:
            match change:
                case Restore(commit_id):
                    state = dict(self.states.get(commit_id, {}))
                case Put(path=path, staged=staged):
                    state[path] = staged
                case Delete(path=path):
                    if path not in state:
                        return None
                    del state[path]
                case Move(source, target):
                    if source not in state or target in state:
                        return None
                    state[target] = state.pop(source)
        if request.mirror:
            named = {change.path for change in request.changes if isinstance(change, Put)}
            state = {path: staged for path, staged in state.items() if path in named}
        return state
