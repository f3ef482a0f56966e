"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Scope(IntEnum):
    """What a key allows; each scope includes the ones before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """`read`, `write` or `admin`."""
        return self.name.lower()


SCOPES = {scope.word: scope for scope in Scope}


@dataclass(frozen=True, slots=True)
class Principal:
    """The one on whose behalf a request is made: recorded in jobs, commits and interactions under `name`."""

    name: str
    scope: Scope

    def may(self, needed: Scope) -> bool:
        """Whether a request that needs this scope is theirs to make."""
        return self.scope >= needed


LOCAL = Principal("local", Scope.ADMIN)  # whoever reaches a server without keys: it listens on loopback only
