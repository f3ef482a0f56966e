"""Explaining settings: each has a meaning, and whatever is wrong, all of it is told and nothing stops the telling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from ragstone.settings.explain import explain
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sentences(**flags: object) -> list[str]:
    return [fault.sentence for fault in explain(**flags).faults]


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for kind in kinds:
            yield from fields(kind, f"{prefix}{name}.")
        if not kinds:
            yield prefix + name, field.description


def test_every_setting_says_what_it_is_for() -> None:
    missing = {name for name, description in fields(Settings) if not description and not name.endswith(("kind", "_file"))}
    assert missing == set()
    assert all(origin.meaning for origin in explain().origins)


def test_settings_that_are_right_are_those_that_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ragstone.toml").write_text('port = 1\n[limits]\ntop_k = 7\ndocuments = 3\n[catalog]\nkind = "mongo"\nuri = "mongodb://x"\n')
    monkeypatch.setenv("RAGSTONE_LIMITS__TOP_K", "8")
    monkeypatch.setenv("RAGSTONE_ALLOWED_HOSTS", '["a.example"]')
    explained = explain(model="own", data_dir=None)
    assert explained.faults == []
    assert explained.settings.model_dump() == load_settings(model="own").model_dump()
    assert explained.settings.limits.top_k == 8
    assert explained.settings.limits.documents == 3


def test_what_can_not_be_read_is_a_fault_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ragstone.toml").write_text("port = \n")
    monkeypatch.setenv("RAGSTONE_ALLOWED_HOSTS", "not-json")
    toml, environment = sentences()
    assert toml.startswith("ragstone.toml: it can't be read")
    assert "allowed_hosts" in environment
    assert "JSON" in environment
    Path("ragstone.toml").write_bytes(b"\xff")
    assert sentences()[0].startswith("ragstone.toml: it can't be read")
    Path("ragstone.toml").unlink()
    with pytest.raises(Exception, match="written as JSON"):
        load_settings()


def test_several_contradictions_are_all_told() -> None:
    assert [sentence.split(":")[0] for sentence in sentences(host="0.0.0.0", port=80, management_port=80, role="api")] == [
        "host",
        "management_port",
        "role",
        "role",
        "role",
        "role",
    ]


@pytest.mark.parametrize(
    ("toml", "names"),
    [
        ("prot = 1", ["prot"]),
        ("[limits]\nnonsense = 1\ntop_k = 0", ["limits.nonsense", "limits.top_k"]),
        ('limits = "many"', ["limits"]),
        ('[generator]\nkind = "magic"', ["generator"]),
        ('[generator]\nkind = "openai"\nmodel = "m"\nbase_url = 7\ntimeout = 0', ["generator.openai.base_url", "generator.openai.timeout"]),
        ('[oidc]\nissuer = "http://login.example.org"\naudience = "a"\n[backup]\nkeep = 0', ["backup.url", "backup.keep", "oidc"]),
        ('[interactions.redact]\nquestion = "forget"\nanswer = "drop"', ["interactions.redact.question"]),
    ],
)
def test_each_wrong_value_is_named(toml: str, names: list[str]) -> None:
    Path("ragstone.toml").write_text(toml)
    explained = explain()
    assert sorted(fault.setting for fault in explained.faults) == sorted(names)
    assert explained.settings.port == 8642


def test_a_password_in_an_address_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_QUEUE__KIND", "nats")
    monkeypatch.setenv("RAGSTONE_QUEUE__URL", "nats://a:s3cret@one:1,nats://b:s3cret@two:2")
    shown = {origin.name: origin.value for origin in explain().origins}
    assert shown["queue.url"] == "nats://********@one:1,nats://********@two:2"
    assert shown["queue.user"] is None


def test_variables_of_no_setting_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROT", "LIMITS__TOPK", "SERVER", "API_KEY", "TEST_NATS_URL", "OIDC__ISSUER", "INTERACTIONS__REDACT__METADATA.OWNER"):
        monkeypatch.setenv(f"RAGSTONE_{name}", "x")
    told = explain().strangers
    assert {"RAGSTONE_PROT", "RAGSTONE_LIMITS__TOPK"} <= set(told)
    assert not {"RAGSTONE_SERVER", "RAGSTONE_API_KEY", "RAGSTONE_TEST_NATS_URL", "RAGSTONE_OIDC__ISSUER"} & set(told)
    assert "RAGSTONE_INTERACTIONS__REDACT__METADATA.OWNER" not in told


def test_a_reranker_is_explained_and_its_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [origin.value for origin in explain().origins if origin.name.startswith("reranker")] == ["none"]
    for name, value in {
        "KIND": "http",
        "DIALECT": "tei",
        "BASE_URL": "http://127.0.0.1:8080",
        "MODEL": "judge",
        "API_KEY": "secret",
    }.items():
        monkeypatch.setenv(f"RAGSTONE_RERANKER__{name}", value)
    explained = explain()
    values = {origin.name: origin.value for origin in explained.origins}
    assert (explained.faults, explained.strangers) == ([], [])
    assert (values["reranker.dialect"], values["reranker.candidates"], values["reranker.api_key"]) == ("tei", "50", "********")
    assert "secret" not in str(explained.origins)
    monkeypatch.setenv("RAGSTONE_RERANKER__DIALECT", "other")
    monkeypatch.setenv("RAGSTONE_RERANKER__CANDIDATES", "-1")
    assert [sentence.split(":")[0] for sentence in sentences()] == ["reranker.http.dialect", "reranker.http.candidates"]


def test_more_than_a_question_may_have_reranked_is_a_contradiction() -> None:
    reranker = {"kind": "onnx", "model": "judge", "candidates": 30}
    assert sentences(reranker=reranker) == []
    assert any(
        "reranker.candidates: 30 is more than limits.rerank, 20" in one for one in sentences(reranker=reranker, limits={"rerank": 20})
    )
