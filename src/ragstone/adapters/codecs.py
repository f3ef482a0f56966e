"""Domain values as JSON for database columns, and back exactly: tuples, frozensets and the kinds of changes included."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import TypeAdapter

from ragstone.domain.audit import AuditEntry
from ragstone.domain.builds import Build
from ragstone.domain.commits import CommitStats
from ragstone.domain.dead_letters import DeadLetter
from ragstone.domain.errors import InvalidInput
from ragstone.domain.interactions import Feedback, Interaction
from ragstone.domain.jobs import ChangeRequest, JobResult, Progress
from ragstone.domain.registered_models import ModelContent, ModelVersion
from ragstone.domain.releases import Release
from ragstone.domain.retention import Purge
from ragstone.domain.spaces import EmbeddingSpace

T = TypeVar("T")
NOT_UNICODE = "a text holds characters that are not valid Unicode; remove them."


class Codec(Generic[T]):
    """JSON text of a value of one type. Fields that a stored value lacks get their defaults, so fields can be added."""

    def __init__(self, adapter: TypeAdapter[T]) -> None:
        self._adapter = adapter

    def dump(self, value: T) -> str:
        """The value as JSON. Raises `InvalidInput` for lone surrogates."""
        try:
            return self._adapter.dump_json(value).decode()
        except ValueError as error:  # pydantic's own subclass of it is not public
            raise InvalidInput(NOT_UNICODE) from error

    def load(self, text: str) -> T:
        """The reverse of `dump`."""
        return self._adapter.validate_json(text)


SPACES: Codec[tuple[EmbeddingSpace, ...]] = Codec(TypeAdapter(tuple[EmbeddingSpace, ...]))
BUILDS: Codec[tuple[Build, ...]] = Codec(TypeAdapter(tuple[Build, ...]))
REQUEST: Codec[ChangeRequest] = Codec(TypeAdapter(ChangeRequest))
RESULT: Codec[JobResult] = Codec(TypeAdapter(JobResult))
STATS: Codec[CommitStats] = Codec(TypeAdapter(CommitStats))
GAPS: Codec[frozenset[int]] = Codec(TypeAdapter(frozenset[int]))
INTERACTION: Codec[Interaction] = Codec(TypeAdapter(Interaction))
FEEDBACK: Codec[Feedback] = Codec(TypeAdapter(Feedback))
PURGE: Codec[Purge] = Codec(TypeAdapter(Purge))
RELEASE: Codec[Release] = Codec(TypeAdapter(Release))
MODEL_CONTENT: Codec[ModelContent] = Codec(TypeAdapter(ModelContent))
MODEL_VERSION: Codec[ModelVersion] = Codec(TypeAdapter(ModelVersion))
DEAD_LETTER: Codec[DeadLetter] = Codec(TypeAdapter(DeadLetter))
AUDIT: Codec[AuditEntry] = Codec(TypeAdapter(AuditEntry))
PROGRESS: Codec[Progress] = Codec(TypeAdapter(Progress))
