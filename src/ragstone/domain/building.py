"""What may become of a collection's spaces: the steps that catalogs take, each in one transaction (DESIGN.md section 4, Spaces; ADR 0028)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from ragstone.domain.builds import UNFINISHED, Build, SpaceUse
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.errors import Busy, Conflict, LeaseLost, NotFound
from ragstone.domain.spaces import EmbeddingSpace

PAST = 20  # builds whose space is gone that a collection remembers


def begun(collection: Collection, build: Build, now: float) -> Collection:
    """With a space that is being prepared; as it is when that is so already.

    Raises `Conflict` when it is registered, or when another one is being built, and `Busy` while an earlier index of it is still to be deleted.
    """
    known = collection.build(build.space.id)
    if known is not None and known.state in UNFINISHED:
        return collection
    if collection.has_space(build.space.id):
        raise Conflict(f"collection {collection.name!r} has embedding space {build.space.id} already; switch to it.", field="space")
    if known is not None:
        raise Busy(f"what is left of embedding space {build.space.id} is being deleted; try again later.", retry_after=2.0)
    if collection.unfinished is not None:
        raise Conflict(
            f"embedding space {collection.unfinished.space.id} of collection {collection.name!r} is being built; wait for it, or abort it.",
            field="space",
        )
    return replace(collection, builds=(*collection.builds, replace(build, state="preparing", started_at=now)))


def registered(collection: Collection, space: EmbeddingSpace) -> Collection:
    """With the space written by ingests from now on; what was prepared is being filled. Raises `Conflict` for one that is dropped."""
    if collection.has_space(space.id):
        return collection
    build = collection.build(space.id)
    if build is not None and build.state == "dropped":
        raise Conflict(f"embedding space {space.id} of collection {collection.name!r} was dropped.", field="space")
    changed = replace(collection, spaces=(*collection.spaces, space), spaces_version=collection.spaces_version + 1)
    return changed if build is None else _with(changed, replace(build, state="filling"))


def filled(collection: Collection, build: Build, attempt: int, now: float) -> Collection:
    """With what an attempt has filled, and with `since` and `ended_at` when that was the last of it. Raises `LeaseLost` when there is no such build to be filled."""
    known = collection.build(build.space.id)
    if known is None or (known.id, known.state) != (build.id, "filling"):
        raise LeaseLost("the embedding space is not being filled any more.")
    ready = build.state == "ready"
    return _with(collection, replace(build, since=attempt if ready else 0, ended_at=now if ready else None))


def dropped(
    collection: Collection, space_id: str, use: SpaceUse, keep: float | None, *, build_id: str, principal: str, now: float
) -> Collection:
    """Without the space: ingests do not write it any more, its index is to be deleted, and commits that are read from it are read no more.

    `keep`: seconds since the head left the space for which commits that are kept hold it; None: for ever. Raises `NotFound`, and `Conflict` when the
    head needs it, or a kept commit still holds it.
    """
    build = collection.build(space_id)
    if build is not None and build.state == "dropped":
        return collection
    if build is None and not collection.has_space(space_id):
        raise NotFound(f"collection {collection.name!r} has no embedding space {space_id[:80]!r}.", field="space")
    if space_id == use.live:
        raise Conflict(
            f"questions to collection {collection.name!r} are answered from embedding space {space_id}; switch to another one first.",
            field="space",
        )
    left_at = use.left_at or 0.0
    if use.kept and (keep is None or (keep > 0 and now < left_at + keep)):
        wait = (
            ""
            if keep is None
            else f" from {datetime.fromtimestamp(left_at + keep, UTC):%Y-%m-%d %H:%M} UTC on it can be dropped all the same;"
        )
        raise Conflict(
            f"{use.kept} commits of collection {collection.name!r} that are kept are read from embedding space {space_id};{wait} "
            "prune them first and remove tags of theirs, or force it, after which they can't be searched any more.",
            field="space",
        )
    build = build or Build(build_id, collection.space(space_id), principal, "ready", now)
    rest = tuple(space for space in collection.spaces if space.id != space_id)
    version = collection.spaces_version + (len(rest) < len(collection.spaces))
    ended_at = now if build.state in UNFINISHED else build.ended_at
    gone = replace(build, state="dropped", dropped_at=now, ended_at=ended_at)
    return _with(replace(collection, spaces=rest, spaces_version=version), gone)


def forgotten(collection: Collection, space_id: str) -> Collection:
    """Without the dropped space, whose index is deleted. What its job tells is kept with the last ones; no document is named there any more."""
    gone = [build for build in collection.builds if (build.space.id, build.state) == (space_id, "dropped")]
    past = (*collection.past_builds, *(replace(build, after="") for build in gone if build.job_id is not None))
    return replace(collection, builds=tuple(build for build in collection.builds if build not in gone), past_builds=past[-PAST:])


def incomplete(commit: Commit) -> str:
    """Why a commit can't be published in its space."""
    return (
        f"embedding space {commit.space_id} of collection {commit.collection!r} does not hold every document yet; wait until it is ready."
    )


def _with(collection: Collection, build: Build) -> Collection:
    others = tuple(known for known in collection.builds if known.space.id != build.space.id)
    return replace(collection, builds=(*others, build))
