"""Real Helm, through its SDK: charts are assembled with their file:// dependencies, rendered, and read back.

The SDK renders for one fixed Kubernetes version and without API versions, so a template that asks `.Capabilities` for a CRD sees none.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
UMBRELLA = "ragstone"
RELEASE = NAMESPACE = "ragstone"

Values = Mapping[str, Any]
Manifest = dict[str, Any]


class DuplicateKeyError(ValueError):
    """A mapping of a manifest names a key twice: kubectl would silently keep one of them."""


class StrictLoader(yaml.CSafeLoader):
    """PyYAML's loader, that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise DuplicateKeyError(f"a key is given twice: {sorted(key for key in keys if keys.count(key) > 1)[0]}{node.start_mark}")
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Case:
    """A chart, and the values file that a user or a test gives it."""

    name: str
    chart: str
    file: Path

    @property
    def values(self) -> Values:
        return helm_python.values_from_yaml(self.file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Rendered:
    """What Helm made of a chart: template path -> text."""

    files: Mapping[str, str]

    @property
    def text(self) -> str:
        """All manifests, by path, as `helm template` would print them."""
        manifests = sorted((path, text.strip()) for path, text in self.files.items() if not path.endswith("NOTES.txt"))
        return "".join(f"---\n# Source: {path}\n{text}\n" for path, text in manifests if text)

    @cached_property
    def objects(self) -> list[Manifest]:
        return [document for document in yaml.load_all(self.text, Loader=StrictLoader) if document]

    @property
    def notes(self) -> str:
        return "\n".join(text.strip() for path, text in sorted(self.files.items()) if path.endswith("NOTES.txt"))

    def of_kind(self, *kinds: str) -> list[Manifest]:
        return [each for each in self.objects if each["kind"] in kinds]


def metadata(chart: str) -> Manifest:
    """The chart's Chart.yaml."""
    loaded: Manifest = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text(encoding="utf-8"))
    return loaded


def all_charts() -> list[str]:
    return sorted(path.parent.name for path in CHARTS.glob("*/Chart.yaml"))


def subcharts() -> list[str]:
    """The application charts that the umbrella is made of: those that the standard holds for."""
    return [chart for chart in all_charts() if chart != UMBRELLA and metadata(chart).get("type") != "library"]


def profiles() -> list[Case]:
    """The umbrella's profiles: the values files that users install with."""
    return [
        Case(f"{UMBRELLA}-{path.stem.removeprefix('values-')}", UMBRELLA, path)
        for path in sorted((CHARTS / UMBRELLA).glob("values-*.yaml"))
    ]


def ci_cases(chart: str) -> list[Case]:
    """The chart's ci/*-values.yaml."""
    return [
        Case(f"{chart}-ci-{path.stem.removesuffix('-values')}", chart, path) for path in sorted((CHARTS / chart).glob("ci/*-values.yaml"))
    ]


def cases() -> list[Case]:
    """Everything that is rendered: every profile, and every ci/*-values.yaml of every chart."""
    return profiles() + [case for chart in all_charts() for case in ci_cases(chart)]


def merged(base: Values, over: Values) -> dict[str, Any]:
    """Helm's rule for several values files: maps are merged, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result


def sets(**expressions: Any) -> dict[str, Any]:
    """Values by dotted path, `__` for the dot: sets(image__digest="sha256:…") is {"image": {"digest": "sha256:…"}}."""
    result: dict[str, Any] = {}
    for path, value in expressions.items():
        nested: Any = value
        for key in reversed(path.split("__")):
            nested = {key: nested}
        result = merged(result, nested)
    return result


def refusal(error: helm_python.HelmError) -> str:
    """The sentence of a `fail` without Helm's own preface, or the whole of another error."""
    return re.sub(r"^.*?execution error at \([^)]*\): ", "", str(error), flags=re.DOTALL)


class Helm:
    """The charts as they would be packaged, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "charts"
        shutil.copytree(CHARTS, self._directory, ignore=shutil.ignore_patterns("*.tgz"))
        self._built: set[str] = set()
        self._rendered: dict[str, Rendered] = {}
        for chart in all_charts():
            self._build(chart)

    def _build(self, chart: str) -> None:
        """`helm dependency build`, after that of the charts that it depends on; a Chart.lock that is out of date is refused."""
        if chart in self._built:
            return
        dependencies = metadata(chart).get("dependencies", [])
        for dependency in dependencies:
            self._build(Path(dependency["repository"].removeprefix("file://")).name)
        if dependencies:
            helm_python.dependency_build(self._directory / chart)
        self._built.add(chart)

    def path(self, chart: str) -> Path:
        return self._directory / chart

    def render(self, chart: str, values: Values, *, namespace: str = NAMESPACE, release: str = RELEASE, upgrade: bool = False) -> Rendered:
        """As `helm template`. Raises helm_python.HelmError where Helm refuses: values against the schema, `fail`, a broken template."""
        with helm_python.Chart.load(self.path(chart)) as loaded:
            return Rendered(loaded.render(dict(values), name=release, namespace=namespace, is_install=not upgrade, is_upgrade=upgrade))

    def case(self, case: Case) -> Rendered:
        """The case's render, made once."""
        if case.name not in self._rendered:
            self._rendered[case.name] = self.render(case.chart, case.values)
        return self._rendered[case.name]
