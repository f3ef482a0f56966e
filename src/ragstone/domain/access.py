"""Who asks, what they may do in which collection, and which documents of it they may see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from ragstone.domain.errors import InvalidInput, NotFound

MAX_GROUPS = 64  # of one document, of one principal
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/-]{0,99}", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\*?|\*", re.ASCII)


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
class Grant:
    """A scope on the collections that `pattern` names: one name, or with a `*` at its end all that begin so."""

    pattern: str
    scope: Scope

    def covers(self, collection: str) -> bool:
        """Whether it is about this collection."""
        return collection.startswith(self.pattern[:-1]) if self.pattern.endswith("*") else collection == self.pattern


@dataclass(frozen=True, slots=True)
class Principal:
    """The one on whose behalf a request is made: recorded in jobs, commits and interactions under `name`.

    `scope` holds in every collection, `grants` in some; the largest counts. `groups`: whose documents they may see where they are no admin.
    """

    name: str
    scope: Scope | None = None
    grants: tuple[Grant, ...] = ()
    groups: frozenset[str] = field(default_factory=frozenset)

    def scope_on(self, collection: str) -> Scope | None:
        """What they may do there; None: nothing, not even know of it."""
        found = [grant.scope for grant in self.grants if grant.covers(collection)]
        return max([*found, *([] if self.scope is None else [self.scope])], default=None)

    def may(self, needed: Scope, collection: str | None = None) -> bool:
        """Whether a request that needs this scope, there or (None) everywhere, is theirs to make."""
        held = self.scope if collection is None else self.scope_on(collection)
        return held is not None and held >= needed

    def may_somewhere(self, needed: Scope) -> bool:
        """Whether there is, or could be, a collection in which they may do it."""
        return self.may(needed) or any(grant.scope >= needed for grant in self.grants)


LOCAL = Principal("local", Scope.ADMIN)  # whoever reaches a server without keys: it listens on loopback only


@dataclass(frozen=True, slots=True)
class DocumentAcl:
    """Who may see a document beside the collection's admins: members of one of `groups`."""

    path: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class View:
    """What one principal may see of one collection. `groups` None: all of it. `hidden`: paths of documents that are kept from them."""

    groups: frozenset[str] | None = None
    hidden: frozenset[str] = frozenset()

    @property
    def filter(self) -> frozenset[str] | None:
        """The groups that an index filters by; None where nothing is kept from them."""
        return self.groups if self.hidden else None

    @property
    def whole(self) -> bool:
        """Nothing is kept from them."""
        return not self.hidden

    def shows(self, path: str) -> bool:
        """Whether they may know of this document."""
        return path not in self.hidden

    def shows_all(self, paths: Iterable[str]) -> bool:
        """Whether they may know of each of these documents."""
        return self.hidden.isdisjoint(paths)

    def text(self, written: str) -> str:
        """What somebody wrote about the collection; nothing of it where it names a document that is kept from them."""
        return "" if any(path in written for path in self.hidden) else written


EVERYTHING = View()


def parse_scopes(text: str) -> tuple[Scope | None, tuple[Grant, ...]]:
    """`read`, or `docs=write,team-*=read,*=read`: the scope on everything, and those on some collections. Raises `ValueError`."""
    if text in SCOPES:
        return SCOPES[text], ()
    everywhere: Scope | None = None
    grants: list[Grant] = []
    for part in text.split(","):
        pattern, _, word = part.partition("=")
        if not _PATTERN.fullmatch(pattern) or word not in SCOPES:
            raise ValueError(part)
        if pattern == "*":
            everywhere = SCOPES[word] if everywhere is None else max(everywhere, SCOPES[word])
        else:
            grants.append(Grant(pattern, SCOPES[word]))
    return everywhere, tuple(grants)


def scopes_text(principal: Principal) -> str:
    """What `parse_scopes` reads."""
    if principal.scope is not None and not principal.grants:
        return principal.scope.word
    everywhere = [] if principal.scope is None else [f"*={principal.scope.word}"]
    return ",".join([f"{grant.pattern}={grant.scope.word}" for grant in principal.grants] + everywhere)


def check_groups(groups: Iterable[str], field: str = "groups") -> frozenset[str]:
    """Raises `InvalidInput` for more than `MAX_GROUPS`, or a name that is none."""
    found = frozenset(groups)
    if len(found) > MAX_GROUPS:
        raise InvalidInput(f"{field}: at most {MAX_GROUPS} groups; make one group of several.", field=field)
    for group in found:
        if not _GROUP.fullmatch(group):
            raise InvalidInput(
                f"{field}: {group[:80]!r} is not a group's name; use 1 to 100 letters, digits and . _ @ / -, beginning with a letter or digit.",
                field=field,
            )
    return found


def no_collection(name: str) -> NotFound:
    """What is said of a collection that is not there, in the catalogs' words, and of one that may not be known of."""
    return NotFound(f"there is no collection {name[:80]!r}.", field="collection")


def no_document(path: str) -> NotFound:
    """What is said of a document that is not in a commit, and of one that may not be known of."""
    return NotFound(f"there is no document {path[:200]!r} in this commit.", field="path")


def no_job(job_id: str) -> NotFound:
    """What is said of a job that is not there, and of one that may not be known of."""
    return NotFound(f"there is no job {job_id[:80]!r}.", field="job")


def no_dead_letter(job_id: str) -> NotFound:
    """What is said of a job that has no dead letter, and of one that may not be known of."""
    return NotFound(f"there is no dead letter of job {job_id[:64]!r}; `ragstone dead-letters list` shows what is there.", field="job")


def no_interaction(interaction_id: str) -> NotFound:
    """What is said of an interaction that is not there, and of one that may not be known of."""
    return NotFound(f"there is no interaction {interaction_id[:80]!r}.", field="interaction")
