"""The model's own tokenizer, with this module's idea of padding (none) and truncation (the window)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from ragstone.domain.errors import InvalidInput


class ModelTokenizer:
    """Reads tokenizer.json. Thread-safe. `window`: tokens kept of a text, special tokens included."""

    def __init__(self, path: Path, *, window: int, lower_case: bool) -> None:
        self._lower_case = lower_case
        self._uncut = _load(path)
        self._cut = _load(path)  # one each: truncation is a setting of the tokenizer, not of the call
        if window <= self._cut.num_special_tokens_to_add(is_pair=False):
            raise InvalidInput(f"A window of {window} tokens is too small for this model.", field="model")
        self._cut.enable_truncation(window)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with special tokens, cut to the window. Raises `InvalidInput` for text that is not valid Unicode."""
        return [encoding.ids for encoding in self._run(self._cut, texts, special=True)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens, uncut."""
        return [len(encoding) for encoding in self._run(self._uncut, texts, special=False)]

    def _run(self, tokenizer: Tokenizer, texts: Sequence[str], *, special: bool) -> list[Encoding]:
        prepared = [text.strip().lower() if self._lower_case else text.strip() for text in texts]  # as sentence-transformers does
        try:
            return tokenizer.encode_batch_fast(prepared, add_special_tokens=special)
        except (TypeError, UnicodeEncodeError) as error:
            raise InvalidInput("A text is not valid Unicode: it holds half of a surrogate pair.", field="text") from error


def _load(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise InvalidInput(f"tokenizer.json cannot be read: {error}.", field="model") from error
    tokenizer.no_padding()  # files in the wild bake in padding and truncation, to 128 tokens in all-MiniLM-L6-v2
    tokenizer.no_truncation()
    return tokenizer
