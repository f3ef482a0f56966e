"""Names on a NATS server: the streams with what they must be, and subjects made of collections' names."""

from __future__ import annotations

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

_DAY = 86_400.0  # seconds
_WAITING = 10_000  # hints that may wait for one collection; what is beyond waits in the catalog to be swept up
_DUPLICATES = 120.0  # seconds in which a message id counts once


class Names:
    """Of one installation: `prefix` (letters, digits, '-' and '_') begins its streams, and without what it ends in, its subjects."""

    def __init__(self, prefix: str, replicas: int = 1) -> None:
        self._root = prefix.rstrip("-_")
        self.jobs = _stream(
            f"{prefix}jobs",
            f"{self._root}.jobs.*",
            replicas,
            RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            max_msgs_per_subject=_WAITING,
        )
        self.dead = _stream(f"{prefix}dead", f"{self._root}.dead.*.*", replicas, RetentionPolicy.LIMITS, max_msgs_per_subject=1)
        self.events = _stream(f"{prefix}events", f"{self._root}.events.*.>", replicas, RetentionPolicy.LIMITS, max_age=7 * _DAY)

    def job(self, collection: str) -> str:
        """The subject of a collection's jobs; '*' for all."""
        return f"{self._root}.jobs.{_token(collection)}"

    def letter(self, collection: str, job_id: str) -> str:
        """The subject of a job's dead letter; '*' for any collection, any job."""
        return f"{self._root}.dead.{_token(collection)}.{job_id}"

    def event(self, collection: str, kind: str) -> str:
        """The subject of a collection's events of one type."""
        return f"{self._root}.events.{_token(collection)}.{kind}"


def token(name: str) -> str:
    """`name` as one token of a subject, and as a consumer's name: letters, digits, '-' and '_' stay, any other byte becomes =XX. No two are alike."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "".join(f"={byte:02X}" for byte in c.encode()) for c in name)


def _token(collection: str) -> str:
    return collection if collection == "*" else token(collection)


def _stream(name: str, subject: str, replicas: int, retention: RetentionPolicy, **more: object) -> StreamConfig:
    return StreamConfig(
        name=name, subjects=[subject], retention=retention, storage=StorageType.FILE, num_replicas=replicas, duplicate_window=_DUPLICATES
    ).evolve(**more)
