"""Redaction: what of an interaction is dropped or replaced by a keyed hash before it is stored."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ragstone.domain.errors import InvalidInput
from ragstone.domain.interactions import Feedback, Interaction, Treatment

FIELDS = ("question", "answer", "passages", "principal", "feedback.comment")
METADATA = "metadata."  # and a metadata key
MIN_KEY = 16  # bytes
_CONDITION_VALUES = ("value", "values", "gt", "gte", "lt", "lte")

_Replace = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Redaction:
    """`fields`: what is done to each of `FIELDS`, or to `metadata.<key>` of documents. `key`: of HMAC-SHA-256, `MIN_KEY` bytes or more.

    Raises `InvalidInput` for an unknown field, and for a hash without a key.
    """

    fields: Mapping[str, Treatment] = field(default_factory=dict)
    key: bytes = b""

    def __post_init__(self) -> None:
        for name in self.fields:
            if name not in FIELDS and not (name.startswith(METADATA) and len(name) > len(METADATA)):
                raise InvalidInput(
                    f"interactions.redact: there is no field {name[:80]!r}; take {', '.join(FIELDS)} or metadata.<key>.",
                    field="interactions.redact",
                )
        if "hash" in self.fields.values() and len(self.key) < MIN_KEY:
            raise InvalidInput(
                f"interactions.redact_key_file: a hashed field needs a secret of {MIN_KEY} bytes or more; name a file that holds one.",
                field="interactions.redact_key_file",
            )

    def interaction(self, logged: Interaction) -> Interaction:
        """What is stored of a question. Paths, chunk ids, spans and scores stay."""
        if not self.fields:
            return logged
        question = self.fields.get("question")
        answer = self._answer(logged.answer)
        passages = tuple(self._passage(passage) for passage in logged.passages)
        return replace(
            logged,
            question=logged.question if question is None else self._text(question)(logged.question),
            principal=self._text(self.fields["principal"])(logged.principal) if "principal" in self.fields else logged.principal,
            request=self._request(logged.request),
            answer=answer,
            passages=passages,
            redacted={name: treatment for name, treatment in self.fields.items() if name != "feedback.comment"},
        )

    def feedback(self, said: Feedback) -> Feedback:
        """What is stored of it."""
        treatment = self.fields.get("feedback.comment")
        return replace(said, comment=self._text(treatment)(said.comment)) if treatment and said.comment else said

    def _answer(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        form = dict(answer)
        if of_answer := self.fields.get("answer"):
            text = self._text(of_answer)
            form["text"] = text(form["text"])
            form["sentences"] = [{**sentence, "text": text(sentence["text"])} for sentence in form.get("sentences", ())]
        if quoting := self.fields.get("passages") or of_answer:  # a quote is a text of both
            text = self._text(quoting)
            form["citations"] = [self._quote(citation, text) for citation in form.get("citations", ())]
        return form

    def _quote(self, citation: Mapping[str, Any], text: _Replace) -> dict[str, Any]:
        headings = [] if "passages" in self.fields else citation["heading_path"]
        return {**citation, "quote": text(citation["quote"]), "heading_path": headings}

    def _passage(self, passage: Mapping[str, Any]) -> dict[str, Any]:
        form = dict(passage)
        if treatment := self.fields.get("passages"):
            form |= {"text": self._text(treatment)(form["text"]), "title": None, "heading_path": []}
        form["metadata"] = self._metadata(form.get("metadata", {}))
        return form

    def _metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in metadata.items():
            treatment = self.fields.get(METADATA + key)
            if treatment == "hash":
                kept[key] = self._hashed(value)
            elif treatment is None:
                kept[key] = value
        return kept

    def _request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A filter's conditions name the same values as the metadata; a rewritten question is one."""
        form = dict(request)
        treatment = self.fields.get("question")
        if treatment is not None and (rewriting := form.get("rewriting")) and rewriting["question"] is not None:
            form["rewriting"] = {**rewriting, "question": self._text(treatment)(rewriting["question"])}
        conditions = (form.get("filter") or {}).get("conditions")
        if conditions:
            form["filter"] = {"conditions": [self._condition(condition) for condition in conditions]}
        return form

    def _condition(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        form = dict(condition)
        if "condition" in form:
            return {**form, "condition": self._condition(form["condition"])}
        treatment = self.fields.get(METADATA + str(form.get("key")))
        if treatment is not None:
            for name in _CONDITION_VALUES:
                if form.get(name) is not None:
                    form[name] = self._hashed(form[name]) if treatment == "hash" else None
        return form

    def _text(self, treatment: Treatment) -> _Replace:
        return self._hashed if treatment == "hash" else lambda _: ""

    def _hashed(self, value: Any) -> Any:
        """`hmac-sha256:` and 64 hexadecimal digits: of a text's UTF-8, else of its JSON; of each element of a list."""
        if isinstance(value, list | tuple):
            return [self._hashed(element) for element in value]
        content = value if isinstance(value, str) else json.dumps(value)
        return "hmac-sha256:" + hmac.new(self.key, content.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
