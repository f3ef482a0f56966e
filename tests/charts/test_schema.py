"""values.schema.json refuses what values.yaml does not know, at every level, and explains nothing less than all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import helm_python
import jsonschema
import pytest
import yaml

from tests.charts.helm import CHARTS, UMBRELLA, Case, Helm, all_charts, ci_cases, merged, metadata, profiles, subcharts
from tests.charts.schemas import FREE, VERBATIM, Path, is_verbatim, name_of, nodes, objects_of, replaced, undocumented, wrong_types

pytestmark = pytest.mark.xdist_group("charts")
APPLICATIONS = [UMBRELLA, *subcharts()]
DRAFT = "http://json-schema.org/draft-07/schema#"


def schema_of(chart: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHARTS / chart / "values.schema.json").read_text(encoding="utf-8"))
    return loaded


def defaults_of(chart: str) -> dict[str, Any]:
    return yaml.safe_load((CHARTS / chart / "values.yaml").read_text(encoding="utf-8")) or {}


def everything(chart: str) -> dict[str, Any]:
    """The defaults with all ci values over them, so that lists and optional maps are filled."""
    values = defaults_of(chart)
    for case in ci_cases(chart):
        values = merged(values, case.values)
    return values


def own_part(chart: str, path: Path) -> bool:
    """Not below a subchart's name: that chart's own schema checks it (and its own tests do). What is global is the same everywhere, and the umbrella's."""
    return not path or (path[0] not in subcharts() if chart == UMBRELLA else path[0] != "global")


def own_values(chart: str) -> dict[str, Any]:
    """Everything, in the umbrella without what other schemas check."""
    return {key: {} if chart == UMBRELLA and key in subcharts() else value for key, value in everything(chart).items()}


Accepts = Callable[[dict[str, Any]], bool]


@pytest.fixture
def accepts(helm: Helm, chart: str) -> Iterator[Accepts]:
    """Whether Helm finds that values meet the chart's own schema."""
    with helm_python.Chart.load(helm.path(chart)) as loaded:

        def answer(values: dict[str, Any]) -> bool:
            try:
                loaded.validate_schema(values)
            except helm_python.HelmValuesError:
                return False
            return True

        yield answer


@pytest.mark.parametrize("chart", all_charts())
def test_the_schema_is_draft_7_and_closed(chart: str) -> None:
    schema = schema_of(chart)
    assert schema["$schema"] == DRAFT
    jsonschema.Draft7Validator.check_schema(schema)
    for place, each in objects_of(schema):
        if "properties" in each and place not in ("/definitions/extraVolumes/items", "/definitions/extraVolumeMounts/items"):
            assert each.get("additionalProperties") is False, f"{chart}: {place} lets unknown keys in"


@pytest.mark.parametrize("chart", APPLICATIONS)
def test_what_the_chart_comes_with_is_accepted(accepts: Accepts, chart: str) -> None:
    assert accepts(everything(chart))
    assert all(accepts(dict(case.values)) for case in [*ci_cases(chart), *profiles()] if case.chart == chart)


@pytest.mark.parametrize("chart", APPLICATIONS)
def test_an_unknown_key_is_refused_in_every_map(accepts: Accepts, chart: str) -> None:
    values = own_values(chart)
    if chart != "orchestrator":  # Helm asks slowly, in the umbrella every schema; that it asks is seen below
        accepts = jsonschema.Draft7Validator(schema_of(chart)).is_valid
    maps = [path for path, value in nodes(values) if isinstance(value, dict) and not is_verbatim(path) and own_part(chart, path)]
    checked = [path for path in maps if name_of(path) not in FREE]
    let_in = [name_of(path) for path in checked if accepts(replaced(values, (*path, "unknownKey"), "x"))]
    assert let_in == []
    assert len(checked) >= 3


@pytest.mark.parametrize("chart", APPLICATIONS)
def test_a_value_of_another_type_is_refused_everywhere(chart: str) -> None:
    """By Python's validator, for there are hundreds; test_guards.py shows Helm some of them."""
    values, validator = own_values(chart), jsonschema.Draft7Validator(schema_of(chart))
    assert validator.is_valid(values)
    changes = [
        (path, wrong)
        for path, value in nodes(values)
        if path and not is_verbatim(path) and own_part(chart, path)
        for wrong in wrong_types(value)
    ]
    let_in = [f"{name_of(path)}={wrong!r}" for path, wrong in changes if validator.is_valid(replaced(values, path, wrong))]
    assert let_in == []
    assert len(changes) > 10


@pytest.mark.parametrize("chart", subcharts())
def test_an_unknown_key_is_refused_below_the_umbrella_too(helm: Helm, chart: str) -> None:
    (case,) = ci_cases(UMBRELLA)[:1]
    values = merged(case.values, {chart: {"enabled": True, "unknownKey": 1}})
    with pytest.raises(helm_python.HelmValuesError, match="unknownKey"):
        helm.render(UMBRELLA, values)


@pytest.mark.parametrize("chart", APPLICATIONS)
def test_the_schema_and_the_values_file_know_the_same_keys(chart: str) -> None:
    """Every property stands in values.yaml, if only in a comment; the other way round is the schema's own work."""
    text = (CHARTS / chart / "values.yaml").read_text(encoding="utf-8")
    charts = {dependency["name"] for dependency in metadata(chart).get("dependencies", [])} - set(subcharts()) | {"global"} - (
        {"global"} & set(defaults_of(chart))
    )
    for key in schema_of(chart)["properties"]:
        assert key in charts or f"\n{key}:" in f"\n{text}", f"{key} is in the schema of {chart} and not in its values.yaml"


@pytest.mark.parametrize("chart", APPLICATIONS)
def test_every_value_is_explained(chart: str) -> None:
    assert undocumented(chart) == []


def test_the_lists_of_free_maps_name_only_what_is_there() -> None:
    known = {name_of(path) for chart in APPLICATIONS for path, _ in nodes(everything(chart))}
    assert sorted((FREE | VERBATIM) - known) == []


@pytest.mark.parametrize("chart", APPLICATIONS)
def test_definitions_of_one_name_are_one(chart: str) -> None:
    for other in all_charts():
        mine, theirs = schema_of(chart).get("definitions", {}), schema_of(other).get("definitions", {})
        assert all(mine[name] == theirs[name] for name in set(mine) & set(theirs)), f"{chart} and {other} define a name in two ways"


@pytest.mark.parametrize("case", profiles(), ids=lambda case: case.name)
def test_a_profile_names_only_what_the_charts_know(case: Case) -> None:
    def unknown(values: dict[str, Any], known: dict[str, Any], path: Path) -> list[str]:
        inner = {key: value for key, value in values.items() if isinstance(value, dict) and isinstance(known.get(key), dict)}
        here = [name_of((*path, key)) for key in values if key not in known and name_of(path[1:]) not in FREE]
        return here + [each for key, value in inner.items() for each in unknown(value, known[key], (*path, key))]

    known = merged(defaults_of(UMBRELLA), {chart: defaults_of(chart) for chart in subcharts()})
    assert unknown(dict(case.values), known, ()) == []
