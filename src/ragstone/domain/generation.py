"""What goes into a generator and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.domain.answers import Usage
from ragstone.domain.retrieval import Passage


@dataclass(frozen=True, slots=True)
class GeneratorIdentity:
    """`name` is the model or method as people know it, `kind` the adapter (`extractive`, `openai`), `revision` what distinguishes versions."""

    kind: str
    name: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to be written.

    `passages` are numbered from 1 in the order given; text cites them as `[n]`. `system` and `user` are the rendered prompt.
    `timeout` is in seconds. `max_sentences` is binding for generators that choose sentences, a wish in the prompt for others.
    """

    question: str
    passages: tuple[Passage, ...]
    system: str
    user: str
    max_tokens: int
    temperature: float
    timeout: float
    max_sentences: int = 2


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """A piece of text as it is produced."""

    text: str


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """The last event of a stream."""

    usage: Usage


GenerationEvent = GeneratedText | GenerationFinished


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a generation service serves. `digest`: SHA-256 in hexadecimal of the weights, empty where a remote hub keeps them; `version`: of the registry, or the hub's revision."""

    name: str
    version: str = ""
    digest: str = ""
