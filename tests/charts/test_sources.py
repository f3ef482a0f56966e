"""What stands in the templates themselves: nothing that changes from render to render, and nothing that asks a cluster."""

from __future__ import annotations

import re

import pytest
import yaml

from ragstone import __version__
from tests.charts.helm import CHARTS, UMBRELLA, all_charts, metadata, subcharts

FORBIDDEN = [
    "lookup",
    "now",
    "ago",
    "uuidv4",
    "shuffle",
    "env",
    "expandenv",
    "getHostByName",
    "htpasswd",
    "bcrypt",
    "encryptAES",
    "derivePassword",
    r"rand\w+",
    r"gen(CA|SelfSignedCert|SignedCert|PrivateKey)\w*",
    r"date\w*",
    r"htmlDate\w*",
    r"unixEpoch",
]
# A call: the function's name at the start of an action, after a pipe, an opening bracket or a space, and no field or variable or string.
CALL = re.compile(rf"(?<![\w.$\"'`/-])({'|'.join(FORBIDDEN)})(?![\w.:\"'`/-])")


def calls(template: str) -> list[str]:
    """Forbidden functions that the template's actions call; strings and comments do not count."""
    actions = re.findall(r"\{\{-?(?!-?\s*/\*)(.*?)-?\}\}", template, re.DOTALL)
    return [found[1] for action in actions for found in CALL.finditer(re.sub(r"\"(?:[^\"\\]|\\.)*\"|`[^`]*`", '""', action))]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{{ lookup "v1" "Secret" "a" "b" }}', ["lookup"]),
        ("{{- $x := randAlphaNum 8 | b64enc -}}", ["randAlphaNum"]),
        ('{{ dict "a" (now | date "2006") }}', ["now", "date"]),
        ('{{ genSelfSignedCert "a" nil nil 1 }}', ["genSelfSignedCert"]),
        ("{{ if\n  uuidv4 }}", ["uuidv4"]),
        ('{{/* lookup now */}} now {{ .Values.now }} {{ $env }} {{ print "now" }} {{ update }}', []),
        ('{{ include "x.env" . }} {{ .Values.extraEnv }}', []),
    ],
)
def test_calls_are_found(template: str, expected: list[str]) -> None:
    assert calls(template) == expected


@pytest.mark.parametrize("chart", all_charts())
def test_no_template_is_random_timed_or_asks_the_cluster(chart: str) -> None:
    for path in sorted((CHARTS / chart / "templates").rglob("*")):
        if path.is_file():
            assert calls(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize("chart", all_charts())
def test_every_file_says_first_what_it_is_for(chart: str) -> None:
    for path in [CHARTS / chart / "Chart.yaml", *CHARTS.glob(f"{chart}/templates/**/*.*"), *CHARTS.glob(f"{chart}/**/*values*.yaml")]:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith(("# ", "{{- /*", "{{/*", "{{- include")), f"{path}: {first}"


@pytest.mark.parametrize("chart", all_charts())
def test_versions_are_those_of_the_application(chart: str) -> None:
    about = metadata(chart)
    assert about["apiVersion"] == "v2"
    assert about["version"] == about["appVersion"] == __version__
    assert about["kubeVersion"]


def test_the_umbrella_depends_on_every_chart_by_its_place_and_version() -> None:
    for chart in (UMBRELLA, *subcharts()):
        for dependency in metadata(chart).get("dependencies", []):
            assert dependency["repository"] == f"file://../{dependency['name']}"
            assert dependency["version"] == __version__
    assert {each["name"] for each in metadata(UMBRELLA)["dependencies"]} >= set(subcharts())


@pytest.mark.parametrize("chart", all_charts())
def test_a_values_file_names_no_key_twice(chart: str) -> None:
    for path in CHARTS.glob(f"{chart}/**/*values*.yaml"):
        nodes = [yaml.compose(path.read_text(encoding="utf-8"))]
        while nodes:
            node = nodes.pop()
            if isinstance(node, yaml.MappingNode):
                keys = [key.value for key, _ in node.value]
                assert len(keys) == len(set(keys)), f"{path}: {keys}"
                nodes += [value for _, value in node.value]
