"""Walks values and their JSON schema side by side: every map that could be given an unknown key, every scalar that could be of a wrong type."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.charts.helm import CHARTS

Path = tuple[str | int, ...]

# Maps whose keys are the user's: label- and annotation-like ones, whose values are strings.
FREE = {
    "affinity",
    "bulk.nodeSelector",
    "bulk.resources.limits",
    "bulk.resources.requests",
    "engine.vllm.arguments",
    "engine.vllm.lora",
    "httpRoute.annotations",
    "ingress.annotations",
    "interactions.redact",
    "metrics.serviceMonitor.labels",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "resources.limits",
    "resources.requests",
    "serviceAccount.annotations",
    "tests.resources.limits",
    "tests.resources.requests",
}
# Kubernetes' own structures, handed through as they are: the API server checks what is below them. vLLM's flags: the application does.
VERBATIM = {
    "affinity",
    "bulk.tolerations",
    "engine.vllm.arguments",
    "extraEnv",
    "extraVolumeMounts",
    "extraVolumes",
    "global.external.egress",
    "networkPolicy.extraEgress",
    "networkPolicy.extraIngress",
    "tolerations",
}


def name_of(path: Path) -> str:
    """ "a.b.c", list positions left out."""
    return ".".join(step for step in path if isinstance(step, str))


def is_verbatim(path: Path) -> bool:
    """Below one of Kubernetes' own structures (not the structure itself)."""
    return any(name_of(path[:length]) in VERBATIM for length in range(1, len(path)))


def nodes(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every map, list and scalar of the values with its path, the root first."""
    yield path, value
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from nodes(child, (*path, key))


def replaced(values: Any, path: Path, new: Any) -> Any:
    """A copy of the values with `new` at the path."""
    if not path:
        return new
    copied = copy.deepcopy(values)
    place = copied
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = new
    return copied


def wrong_types(value: Any) -> list[Any]:
    """Values of other types than this one. A number may stand where a quantity is meant, so text is only replaced by what is no scalar or a truth value."""
    if isinstance(value, bool):
        return ["yes", 1, []]
    if isinstance(value, int | float):
        return ["many", True, [], {}]
    if isinstance(value, str):
        return [True, [], {"a": "b"}]
    if isinstance(value, list):
        return ["text", {"a": "b"}, 7]
    return ["text", [], 7] if isinstance(value, Mapping) else []


def objects_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every subschema of type object, with its place."""

    def walk(part: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if isinstance(part, Mapping):
            if part.get("type") == "object":
                yield place, part
            for key, child in part.items():
                yield from walk(child, f"{place}/{key}")
        elif isinstance(part, list):
            for index, child in enumerate(part):
                yield from walk(child, f"{place}/{index}")

    yield from walk(schema, "")


def undocumented(chart: str) -> list[str]:
    """Keys of values.yaml that no comment is about.

    A comment stands above its key, or beside it, or does so for a map that the key is in. At the top level one comment may stand for
    the run of keys below it, up to the next empty line.
    """
    missing = []
    maps: list[tuple[int, bool]] = []  # indentation of the maps that a line is in, and whether a comment is about them
    above = group = False
    for line in (CHARTS / chart / "values.yaml").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"( *)([\w-]+):", line):
            indentation = len(match[1])
            maps = [each for each in maps if each[0] < indentation]
            group = (above or group) if not indentation else group
            known = above or " #" in line or any(each for _, each in maps) or (not indentation and group)
            maps.append((indentation, known))
            if not known and not line.endswith(":"):
                missing.append(match[2])
        above = line.lstrip().startswith("#")
        group = group and bool(line.strip())
    return missing
