"""Two kinds of embedding servers: ragstone's own, which says which model it serves, and any other, which is told by the vector of a fixed text.

Vectors of two models are never mixed: what tells the model comes in the same answer as the vectors.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Protocol

from ragstone.adapters.embedding_probe import TEXT, TOLERANCE, ProbeRecord, differing, fingerprint
from ragstone.adapters.onnx_tokenizer import ModelTokenizer
from ragstone.adapters.openai_embedding_endpoint import NAME, EmbeddingEndpoint
from ragstone.adapters.openai_embedding_reply import Reply
from ragstone.domain.errors import InternalError, InvalidInput, NotFound, Unavailable
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity, Pooling

_log = logging.getLogger(__name__)


class Server(Protocol):
    """What differs between servers.

    `adds_prefix`: the server puts the prefix before a text, by the field `input_type`. `probes`: texts that go with each
    request as they are, after the others.
    `accepted` gives the vectors of the others, and raises `Unavailable` when another model made them than `identity` says. `check` asks.
    """

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def adds_prefix(self) -> bool: ...

    @property
    def probes(self) -> tuple[str, ...]: ...

    def accepted(self, reply: Reply) -> Vectors: ...

    async def check(self, endpoint: EmbeddingEndpoint) -> None: ...


@dataclass(frozen=True, slots=True)
class RagstoneServer:
    """Ragstone's own: each answer names the model with its digest."""

    identity: ModelIdentity

    adds_prefix = True
    probes = ()

    def accepted(self, reply: Reply) -> Vectors:
        """All vectors."""
        self._compare(reply.identity)
        if reply.vectors.shape[1] != self.identity.dimension:
            raise InternalError(f"The embedding server gave {reply.vectors.shape[1]} dimensions, but says {self.identity.dimension}.")
        return reply.vectors

    async def check(self, endpoint: EmbeddingEndpoint) -> None:
        """Asks which model it serves, which costs it nothing."""
        try:
            self._compare(await endpoint.look_at_model())
        except NotFound:
            self._compare(None)

    def _compare(self, found: ModelIdentity | None) -> None:
        if found != self.identity:
            now = f"{found.name} (revision {found.revision[:16]}, digest {found.digest[:12]})" if found else "another model"
            raise _another(
                f"serves {now} now, not {self.identity.name} (revision {self.identity.revision[:16]}, digest {self.identity.digest[:12]})"
            )


@dataclass(frozen=True, slots=True)
class AnyServer:
    """A server that tells nothing of its model but a name. `probe`: the fingerprint of the model that is meant; `probes`: the text that it is of."""

    identity: ModelIdentity
    probe: str
    probes: tuple[str]

    adds_prefix = False

    def accepted(self, reply: Reply) -> Vectors:
        """All vectors but the probe's, which comes last."""
        *_, last = reply.vectors
        if len(last) != self.identity.dimension:
            raise _another(f"gives {len(last)} dimensions now, not {self.identity.dimension}")
        differ = differing(fingerprint(last), self.probe)
        if differ > TOLERANCE:
            raise _another(f"gives other vectors than {self.identity.name} did ({differ} of the 256 bits of the probe differ)")
        return reply.vectors[:-1]

    async def check(self, endpoint: EmbeddingEndpoint) -> None:
        """Embeds the probe."""
        self.accepted(await endpoint.look(self.probes, {}))


@dataclass(frozen=True, slots=True)
class Told:
    """What an operator says of a model that its server does not describe. `digest`: SHA-256 of its weights, if it is known."""

    name: str
    revision: str
    digest: str | None
    pooling: Pooling
    window: int
    query_prefix: str
    passage_prefix: str

    @property
    def known_digest(self) -> str:
        """The digest; where it is not known, one of name and revision, so that another revision is another space."""
        return self.digest or hashlib.sha256(json.dumps(["openai", self.name, self.revision]).encode()).hexdigest()


async def meet_ragstone(endpoint: EmbeddingEndpoint, *, digest: str | None) -> RagstoneServer:
    """Asks ragstone's own server which model it serves. Raises `InvalidInput` when it is not the wanted one (`digest`) or the server is another; `Unavailable`."""
    try:
        found = await endpoint.describe()
    except NotFound:
        raise InvalidInput(
            f"embedder.model: the embedding server has no model {endpoint.model!r}; GET /v1/models lists those it has.",
            field="embedder.model",
        ) from None
    if found is None:
        raise InvalidInput(
            "embedder.kind: the server does not describe its embedding model as ragstone does; use the kind openai, with a revision.",
            field="embedder.kind",
        )
    if digest is not None and found.digest != digest:
        raise InvalidInput(
            f"embedder.digest: the embedding server serves {found.name} with the digest {found.digest}, not {digest[:12]}…; correct the one or the other.",
            field="embedder.digest",
        )
    return RagstoneServer(found)


async def meet_any(
    endpoint: EmbeddingEndpoint, told: Told, tokenizer: ModelTokenizer, record: ProbeRecord, *, probe: str | None
) -> AnyServer:
    """Embeds the probe, and compares it with the operator's `probe`, else with what this machine saw first; the first time it is recorded.

    Raises `InvalidInput` when another model answers, `Unavailable` when none does.
    """
    dimension, found = await measure(endpoint, tokenizer)
    text, known = _probe(tokenizer), probe or record.read()
    identity = ModelIdentity(
        told.name, told.revision, told.known_digest, dimension, told.pooling, told.window, told.query_prefix, told.passage_prefix
    )
    if known is None:
        _log.info("the embedding server's model %s, revision %s, has the fingerprint %s", told.name, told.revision, found)
        record.write(found)
        return AnyServer(identity, found, (text,))
    differ = differing(found, known)
    if differ > TOLERANCE:
        where = "embedder.probe" if probe else f"{record.path.name} in the model cache"
        raise InvalidInput(
            f"embedder.revision: the model behind the embedding server is another than that of revision {told.revision!r}: {differ} of 256 bits differ from "
            f"{where}. Serve that revision again, or name the new one, which makes a new embedding space. (What it serves now: {found}.)",
            field="embedder.revision",
        )
    return AnyServer(identity, known, (text,))


async def measure(endpoint: EmbeddingEndpoint, tokenizer: ModelTokenizer) -> tuple[int, str]:
    """Dimension and fingerprint of the model that answers now."""
    [vector] = (await endpoint.embed([_probe(tokenizer)], {})).vectors
    return len(vector), fingerprint(vector)


async def check_tokenizer(endpoint: EmbeddingEndpoint, server: Server, tokenizer: ModelTokenizer) -> None:
    """Lets the server count the probe's tokens. Raises `InvalidInput` where ragstone's own counts otherwise; what another's count means is less sure, and is logged."""
    texts = server.probes or (TEXT,)
    theirs = (await endpoint.embed(texts, {})).tokens
    [own] = tokenizer.count(texts)
    if theirs is None or theirs == own or (not server.adds_prefix and theirs == own + tokenizer.special_tokens):
        return
    message = (
        f"embedder.tokenizer: it counts {own} tokens in a text in which the embedding server counts {theirs}; name the tokenizer of "
        f"{server.identity.name}, by which documents are cut into chunks."
    )
    if server.adds_prefix:
        raise InvalidInput(message, field="embedder.tokenizer")
    _log.warning("%s", message)


def _probe(tokenizer: ModelTokenizer) -> str:
    """The text, as far as it fits into the window."""
    return tokenizer.cut([TEXT], "", with_prefix=True)[0][0]


def _another(what: str) -> Unavailable:
    return Unavailable(
        f"The embedding server {what}; its vectors are not used. Let it serve that model again, or start anew with the other.", field=NAME
    )
