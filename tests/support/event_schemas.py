"""Checks events against the schemas that are documented (docs/schemas)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def validator(name: str) -> Draft202012Validator:
    """Of one of the files."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def check(envelope: dict[str, Any]) -> None:
    """The envelope, and its data by the schema that it names."""
    validator("cloudevent").validate(envelope)
    kind = envelope["type"].removeprefix("ragstone.")
    assert json.loads((SCHEMAS / f"{kind}.json").read_text("utf-8"))["$id"] == envelope["dataschema"]
    validator(kind).validate(envelope["data"])
