"""Drops the objects that no kept commit needs: what is needed goes into a new pack, then everything older goes (ADR 0010).

Commit objects stay, also those of commits whose trees go: they say in what order the others came. So that Git's own tools find nothing missing,
each commit whose parent lost its tree is named in `shallow`, and kept commits behind it get a ref of their own.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from dulwich.objects import Commit, Tag, parse_tree
from dulwich.refs import Ref

from ragstone.adapters import git_tree
from ragstone.adapters.git_refs import ATTEMPTS, KEPT, MAIN, REPLACE
from ragstone.adapters.git_repository import GitRepository
from ragstone.domain.errors import NotFound

_COMMIT, _TREE, _TAG = 1, 2, 4


@dataclass(slots=True)
class Needed:
    """`objects` that must stay. Of every commit of the history, as it was made, its `parents` and its tree. `whole`: those that stay readable.
    `tips`: those that branches and tags name.
    """

    objects: set[bytes] = field(default_factory=set)
    parents: dict[str, list[str]] = field(default_factory=dict)
    trees: dict[str, bytes] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    tips: set[str] = field(default_factory=set)

    def broken(self, commit: str) -> bool:
        """Whether the tree that a commit was made with goes, or the commit is not there at all."""
        tree = self.trees.get(commit)
        return tree is None or (tree != git_tree.EMPTY and tree not in self.objects)


def collect(repository: GitRepository, kept: Collection[str], since: str | None) -> int:
    """See the port. Writers wait only while what they wrote meanwhile is looked at, and for the change itself."""
    objects = repository.objects
    with repository.maintaining, objects.settled():
        needed = _needed(repository, kept, Needed(), since)
        before = objects.files()
        others = objects.measure(needed.objects).others
        fresh = [objects.copy(needed.objects)] if others else []
        freed = 0
        with repository.writing:
            copied = needed.objects
            needed = _needed(repository, kept, needed, since)
            _tell_git(repository, needed, kept)
            if others:
                fresh.append(objects.copy(needed.objects - copied))
                stored = objects.files()
                # What a person pushed meanwhile stays until the next time.
                doomed = [file for file in stored if (file in before or objects.own(file)) and file.with_suffix("") not in fresh]
                freed = sum(stored[file] for file in doomed) - sum(size for file, size in stored.items() if file.with_suffix("") in fresh)
                objects.drop(doomed)
            gone = repository.replaced.keys() - needed.whole
            repository.refs.change({Ref(REPLACE + b"/" + commit.encode()): None for commit in gone})
            for commit in gone:
                del repository.replaced[commit]
        return max(0, freed)


def collectable(repository: GitRepository, kept: Collection[str]) -> int:
    """See the port."""
    objects = repository.objects
    with repository.maintaining, objects.settled():
        measured = objects.measure(_needed(repository, kept, Needed()).objects)
        return max(0, sum(objects.files().values()) - measured.size) if measured.others else 0


def _needed(repository: GitRepository, kept: Collection[str], known: Needed, since: str | None = None) -> Needed:
    """What `kept`, the branches, their commits after `since`, and what people made need. `known`: of an earlier look, whose objects count as needed."""
    needed = Needed(set(known.objects), dict(known.parents), dict(known.trees))
    tips = repository.refs.tips()
    branches = {commit for ref, commit in tips.items() if ref == MAIN.decode() or ref.startswith(f"{ATTEMPTS.decode()}/")}
    ours = {*kept, *branches}
    foreign = {commit for tip in tips.values() if tip not in ours for commit in _peeled(repository, needed, tip)}
    ancestry = _history(repository, needed, ours)
    ours |= {commit for branch in branches if since is not None for commit in _made_since(needed, branch, since)}
    needed.tips = foreign | (ours & set(tips.values()))
    needed.whole = ours | foreign | (_history(repository, needed, foreign) - ancestry)
    needed.objects.update(commit.encode() for commit in needed.parents)
    for commit in sorted(needed.whole):
        try:
            root = repository.root(commit)
        except NotFound:  # it never was there, or was collected
            needed.whole.discard(commit)
            continue
        if (replacement := repository.replaced.get(commit)) is not None:
            needed.objects.add(replacement.encode())
            needed.parents[replacement], needed.trees[replacement] = needed.parents[commit], root
        _walk(repository, needed.objects, root)
    return needed


def _peeled(repository: GitRepository, needed: Needed, tip: str) -> Iterable[str]:
    """The commit that a person's branch or tag means, if it means one."""
    kind, raw = repository.objects.read(tip.encode())
    while kind == _TAG:
        needed.objects.add(tip.encode())
        tip = Tag.from_string(raw).object[1].decode()
        kind, raw = repository.objects.read(tip.encode())
    if kind == _COMMIT:
        return (tip,)
    if kind == _TREE:
        _walk(repository, needed.objects, tip.encode())
    needed.objects.add(tip.encode())
    return ()


def _history(repository: GitRepository, needed: Needed, starts: Collection[str]) -> set[str]:
    """These commits and all before them."""
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        commit = waiting.pop()
        if commit in found:
            continue
        if commit not in needed.parents:
            if not re.fullmatch(r"[0-9a-f]{40}", commit):
                continue
            try:
                kind, raw = repository.objects.read(commit.encode())
            except KeyError:  # unknown, or somebody's `git gc` cut the history
                continue
            if kind != _COMMIT:
                continue
            made = Commit.from_string(raw)
            needed.parents[commit], needed.trees[commit] = [parent.decode() for parent in made.parents], made.tree
        found.add(commit)
        waiting += needed.parents[commit]
    return found


def _made_since(needed: Needed, tip: str, since: str) -> set[str]:
    """What was committed on the way from `since` to `tip`; nothing when there is no such way."""
    found: set[str] = set()
    here: str | None = tip
    while here is not None and here != since:
        found.add(here)
        here = next(iter(needed.parents.get(here, ())), None)
    return found if here is not None else set()


def _walk(repository: GitRepository, found: set[bytes], root: bytes) -> None:
    """Adds a tree and all below it. What is in `found` already is there with all below it."""
    waiting = [root]
    while waiting:
        tree = waiting.pop()
        if tree in found or (tree == git_tree.EMPTY and not repository.objects.hold(tree)):
            continue
        found.add(tree)
        for _, mode, entry in parse_tree(repository.blob(tree), sha_len=20):
            if stat.S_ISDIR(mode):
                waiting.append(entry)
            elif stat.S_IFMT(mode) in (stat.S_IFREG, stat.S_IFLNK):
                found.add(entry)


def _tell_git(repository: GitRepository, needed: Needed, kept: Collection[str]) -> None:
    """Names the ends of what can be followed, and what is whole behind them."""
    seen: set[str] = set()
    ends: set[str] = set()

    def follow(commit: str) -> None:
        waiting = [commit]
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            parents = needed.parents.get(here, [])
            if any(needed.broken(parent) for parent in parents):
                ends.add(here)
            else:
                waiting += parents

    for tip in needed.tips:
        follow(tip)
    own: dict[str, str] = {}
    for commit in sorted(needed.whole.intersection(kept)):
        read_as = repository.replaced.get(commit, commit)
        if read_as not in seen:
            own[commit] = read_as
        follow(read_as)
    for commit in needed.whole & repository.replaced.keys():
        follow(repository.replaced[commit])
    stale = {commit: None for commit in repository.refs.under(KEPT) if commit not in own}
    repository.refs.change({Ref(KEPT + b"/" + commit.encode()): value for commit, value in {**stale, **own}.items()})
    repository.refs.set_shallow(ends)
