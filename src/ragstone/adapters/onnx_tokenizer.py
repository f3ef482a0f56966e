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
        self._window = window
        self._uncut = _load(path)
        self._cut = _load(path)  # one each: truncation is a setting of the tokenizer, not of the call
        if window <= self.special_tokens:
            raise InvalidInput(f"A window of {window} tokens is too small for this model.", field="model")
        self._cut.enable_truncation(window)

    @property
    def special_tokens(self) -> int:
        """How many are added to a text."""
        return int(self._uncut.num_special_tokens_to_add(is_pair=False))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with special tokens, cut to the window. Raises `InvalidInput` for text that is not valid Unicode."""
        return [encoding.ids for encoding in self._run(self._cut, texts, special=True)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens, uncut."""
        return [len(encoding) for encoding in self._run(self._uncut, texts, special=False)]

    def cut(self, texts: Sequence[str], prefix: str, *, with_prefix: bool) -> tuple[list[str], list[int]]:
        """Each text as far as the window reaches behind the prefix, and its tokens then, special ones and prefix included.

        `with_prefix`: the texts come with the prefix and as the tokenizer reads them, else as they may follow it.
        """
        encodings = self._run(self._uncut, [prefix + text for text in texts], special=True)
        cut, tokens = list[str](), list[int]()
        lead = len(self._prepared(prefix + ".")) - 1
        for text, encoding in zip(texts, encodings, strict=True):
            whole = self._prepared(prefix + text)
            if len(encoding) > self._window:
                whole = self._shortened(whole)
                text = whole[lead:]  # noqa: PLW2901 - what is left of it
            cut.append(whole if with_prefix else text)
            tokens.append(min(len(encoding), self._window))
        return cut, tokens

    def _shortened(self, whole: str) -> str:
        """The longest beginning, ending with a token, that fits. Cut in mid-word, a rare tokenizer makes more tokens of it than there were."""
        encoding = self._cut.encode(whole)
        ends = [end for (_, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not special]
        for end in reversed(ends):
            if len(self._uncut.encode(whole[:end])) <= self._window:
                return whole[:end]
        return ""

    def _run(self, tokenizer: Tokenizer, texts: Sequence[str], *, special: bool) -> list[Encoding]:
        try:
            return tokenizer.encode_batch_fast([self._prepared(text) for text in texts], add_special_tokens=special)
        except (TypeError, UnicodeEncodeError) as error:
            raise InvalidInput("A text is not valid Unicode: it holds half of a surrogate pair.", field="text") from error

    def _prepared(self, text: str) -> str:
        """As sentence-transformers does."""
        return text.strip().lower() if self._lower_case else text.strip()


def _load(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise InvalidInput(f"tokenizer.json cannot be read: {error}.", field="model") from error
    tokenizer.no_padding()  # files in the wild bake in padding and truncation, to 128 tokens in all-MiniLM-L6-v2
    tokenizer.no_truncation()
    return tokenizer
