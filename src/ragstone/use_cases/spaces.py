"""Which embedding space a collection gets, and which model serves an existing one."""

from __future__ import annotations

from collections.abc import Sequence

from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace
from ragstone.ports.embedding_model import EmbeddingModel


class Spaces:
    """Knows the models that this process has loaded. `embedder`: that of new collections; `further`: of spaces that are built, or of earlier ones."""

    def __init__(
        self, embedder: EmbeddingModel, parsers: tuple[str, ...], chunker: ChunkerSettings, further: Sequence[EmbeddingModel] = ()
    ) -> None:
        self._embedder = embedder
        self._parsers = parsers
        self._chunker = chunker
        self._loaded = (embedder, *further)

    def current(self, language: str) -> EmbeddingSpace:
        """The space of a collection that is made now, in a language of the BM25 encoder."""
        return EmbeddingSpace(self._embedder.identity, self._parsers, self._chunker, Bm25Settings(language=language))

    def target(
        self, live: EmbeddingSpace, model: str | None = None, max_tokens: int | None = None, min_tokens: int | None = None
    ) -> EmbeddingSpace:
        """The space that shall take the place of `live`: with the model of that name (None: that of new collections) and the chunker's bounds given.

        Texts are those of the version store, so the parsers stay, and so does BM25. Raises `InvalidInput` for a model that is not loaded, a name that
        fits several, and bounds that do not go together.
        """
        chosen = self._embedder
        if model is not None:
            fitting = [known for known in self._loaded if model in (known.identity.name, known.identity.digest)]
            if len(fitting) != 1:
                names = ", ".join(sorted(f"{known.identity.name} (digest {known.identity.digest[:12]})" for known in self._loaded))
                raise InvalidInput(
                    f"model: {model[:100]!r} {'fits several loaded models; give its digest' if fitting else 'is not loaded; name it in further_models'}. "
                    f"Loaded: {names}.",
                    field="model",
                )
            chosen = fitting[0]
        window = chosen.identity.window
        upper = min(self._chunker.max_tokens, window) if max_tokens is None else max_tokens
        lower = min(self._chunker.min_tokens, upper) if min_tokens is None else min_tokens
        if not 16 <= upper <= window:
            raise InvalidInput(f"max_tokens: it must be from 16 to the model's window of {window} tokens.", field="max_tokens")
        if not 0 <= lower <= upper:
            raise InvalidInput(f"min_tokens: it must be from 0 to max_tokens ({upper}).", field="min_tokens")
        return EmbeddingSpace(chosen.identity, live.parsers, ChunkerSettings(upper, lower, self._chunker.version), live.bm25)

    def has(self, space: EmbeddingSpace) -> bool:
        """Whether the model of a space is loaded."""
        return any(known.identity == space.model for known in self._loaded)

    def embedder(self, space: EmbeddingSpace) -> EmbeddingModel:
        """The model of a space. Raises `Unavailable` when it is not loaded: vectors of two spaces are never compared."""
        for known in self._loaded:
            if known.identity == space.model:
                return known
        loaded = self._embedder.identity
        raise Unavailable(
            f"This collection was embedded with {space.model.name} (digest {space.model.digest[:12]}), but {loaded.name} "
            f"(digest {loaded.digest[:12]}) is loaded; start with that model, name it in further_models, too, or make a new collection.",
            field="collection",
        )
