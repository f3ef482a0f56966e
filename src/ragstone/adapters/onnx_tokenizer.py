"""The model's own tokenizer, with this module's idea of padding (none) and truncation (the window)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
        lead = len(_prepared(prefix + ".", lower_case=self._lower_case)) - 1
        for text, encoding in zip(texts, encodings, strict=True):
            whole = _prepared(prefix + text, lower_case=self._lower_case)
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
            return tokenizer.encode_batch_fast([_prepared(text, lower_case=self._lower_case) for text in texts], add_special_tokens=special)
        except (TypeError, UnicodeEncodeError) as error:
            raise _not_unicode() from error


class TokenPair(NamedTuple):
    """Question and text as one sequence: ids, and the type of each token (0 for the question's, 1 for the text's, where the model tells them apart)."""

    ids: list[int]
    types: list[int]


class PairTokenizer:
    """Reads tokenizer.json, for pairs of a question and a text. Thread-safe. `window`: tokens of both, special tokens included.

    The longer of the two is cut (`longest_first`), as `transformers` does with what cross-encoders are trained on. So a question that takes up to half of
    the window is never cut, only the text is; a longer one keeps what the text leaves, and at least half. Cutting the text alone (`only_second`)
    would leave nothing of it beside a question that fills the window. It is done here, with the same result: the library makes an encoding of every
    piece that it cuts off, and joins each piece of the one with each of the other.
    """

    def __init__(self, path: Path, *, window: int, lower_case: bool) -> None:
        self._lower_case = lower_case
        self._tokenizer = _load(path)
        self._before, self._between, self._after, self._types = self._template()
        special = len(self._before + self._between + self._after)
        if window < special + 2:
            raise InvalidInput(f"A window of {window} tokens is too small for this model.", field="model")
        self._room = window - special

    def encode(self, question: str, texts: Sequence[str]) -> list[TokenPair]:
        """Each text with the question, cut to the window. Raises `InvalidInput` for text that is not valid Unicode."""
        prepared = [_prepared(text, lower_case=self._lower_case) for text in (question, *texts)]
        try:
            asked, *others = self._tokenizer.encode_batch_fast(prepared, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise _not_unicode() from error
        first = asked.ids
        return [self._joined(first, other.ids) for other in others]

    def _joined(self, question: list[int], text: list[int]) -> TokenPair:
        kept = _shares(len(question), len(text), self._room)
        ids = [*self._before, *question[: kept[0]], *self._between, *text[: kept[1]], *self._after]
        counts = (len(self._before), kept[0], len(self._between), kept[1], len(self._after))
        return TokenPair(ids, [kind for kind, count in zip(self._types, counts, strict=True) for _ in range(count)])

    def _template(self) -> tuple[list[int], list[int], list[int], tuple[int, ...]]:
        """Special tokens before, between and after question and text, and the types of all five parts, from how the tokenizer joins two letters."""
        joined = self._tokenizer.encode("a", "a")
        places = [[place for place, sequence in enumerate(joined.sequence_ids) if sequence == which] for which in (0, 1)]
        if not all(places):
            raise InvalidInput("tokenizer.json makes no token of the letter a; check the file.", field="model")
        (begin, end), (again, last) = ((each[0], each[-1] + 1) for each in places)
        parts = (slice(0, begin), slice(begin, end), slice(end, again), slice(again, last), slice(last, None))
        ids, types = [joined.ids[part] for part in parts], [joined.type_ids[part] for part in parts]
        if not ids[2] or any(len(set(each)) > 1 for each in types):
            raise InvalidInput("tokenizer.json does not say how two texts are put together, which a reranker needs.", field="model")
        return ids[0], ids[2], ids[4], tuple(each[0] if each else 0 for each in types)


def _shares(question: int, text: int, room: int) -> tuple[int, int]:
    """Tokens that are kept of each: all, or the longer one is cut first, and both alike where both are longer than half of the room."""
    half = room // 2
    if question + text <= room:
        return question, text
    if question <= half:
        return question, room - question
    if text <= half:
        return room - text, text
    return (room - half, half) if question > text else (half, room - half)


def _prepared(text: str, *, lower_case: bool) -> str:
    """As sentence-transformers does."""
    return text.strip().lower() if lower_case else text.strip()


def _not_unicode() -> InvalidInput:
    return InvalidInput("A text is not valid Unicode: it holds half of a surrogate pair.", field="text")


def _load(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise InvalidInput(f"tokenizer.json cannot be read: {error}.", field="model") from error
    tokenizer.no_padding()  # files in the wild bake in padding and truncation, to 128 tokens in all-MiniLM-L6-v2
    tokenizer.no_truncation()
    return tokenizer
