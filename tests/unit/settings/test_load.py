"""Settings: which source wins, what is refused, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidInput
from ragstone.settings.explain import explain
from ragstone.settings.load import load_settings


@pytest.fixture(autouse=True)
def _no_other_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAGSTONE_PORT", "RAGSTONE_HOST", "RAGSTONE_MODELS", "RAGSTONE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_flags_win_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().port == 8642
    Path("ragstone.toml").write_text('port = 1111\nmodel = "from-file"\n')
    assert load_settings().port == 1111
    monkeypatch.setenv("RAGSTONE_PORT", "2222")
    settings = load_settings()
    assert (settings.port, settings.model) == (2222, "from-file")
    assert load_settings(port=3333).port == 3333


def test_each_value_tells_its_source_and_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ragstone.toml").write_text("[limits]\ntop_k = 7\n")
    monkeypatch.setenv("RAGSTONE_GENERATOR__KIND", "openai")
    monkeypatch.setenv("RAGSTONE_GENERATOR__BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("RAGSTONE_GENERATOR__MODEL", "m")
    monkeypatch.setenv("RAGSTONE_GENERATOR__API_KEY", "s3cret")
    settings = load_settings(port=9)
    found = {origin.name: (origin.value, origin.source) for origin in explain(port=9).origins}
    assert found["port"] == ("9", "flag")
    assert found["limits.top_k"] == ("7", "ragstone.toml")
    assert found["limits.documents"] == ("10000", "default")
    assert found["generator.model"] == ("m", "environment")
    assert found["generator.api_key"] == ("********", "environment")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"host": "0.0.0.0"}, "settings"),
        ({"port": 8000, "management_port": 8000}, "settings"),
        ({"port": 70000}, "port"),
        ({"generator": {"kind": "openai"}}, "generator.openai.base_url"),
        ({"embedder": {"kind": "openai", "base_url": "http://x/v1", "model": "m", "tokenizer": "t"}}, "embedder.openai.revision"),
        ({"embedder": {"kind": "ragstone", "base_url": "http://x/v1", "model": "m"}}, "embedder.ragstone.tokenizer"),
        ({"embedder": {"kind": "ragstone", "base_url": "x", "model": "m", "tokenizer": "t", "digest": "abc"}}, "embedder.ragstone.digest"),
    ],
)
def test_a_bad_value_names_the_setting(flags: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        load_settings(**flags)
    assert error.value.field == field
    assert "Value error" not in error.value.message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"embedder": {"provider": "CUDAExecutionProvider"}},
            "settings: embedder: other settings of it are given without its kind; set embedder.kind, too: onnx, ragstone, openai",
        ),
        ({"generator": {"kind": "magic"}}, "settings: generator: kind 'magic' is none; it is one of extractive, openai, llama"),
        (
            {"generation_service": {"engine": {"kind": "tgi"}}},
            "settings: generation_service.engine: kind 'tgi' is none; it is one of llama.cpp, vllm",
        ),
    ],
)
def test_a_missing_or_wrong_kind_is_told_with_those_that_there_are(flags: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        load_settings(**flags)
    assert error.value.message == message


def test_listening_beyond_loopback_needs_a_file_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.org"):
        with pytest.raises(InvalidInput, match="ragstone keys new"):
            load_settings(host=host)
        assert load_settings(host=host, api_keys_file=tmp_path / "keys").host == host
    monkeypatch.setenv("RAGSTONE_MANAGEMENT_PORT", "8643")
    monkeypatch.setenv("RAGSTONE_API_KEYS_FILE", "/run/keys")
    found = {origin.name: (origin.value, origin.source) for origin in explain().origins}
    assert (found["management_port"], found["api_keys_file"]) == (("8643", "environment"), ("/run/keys", "environment"))


def test_an_unknown_setting_or_a_broken_file_is_refused() -> None:
    Path("ragstone.toml").write_text("prot = 1\n")
    with pytest.raises(InvalidInput, match="prot"):
        load_settings()
    Path("ragstone.toml").write_text("port = \n")
    with pytest.raises(InvalidInput, match=r"ragstone\.toml"):
        load_settings()


def test_redaction_is_set_in_the_file_and_its_key_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ragstone.toml").write_text(
        '[interactions]\nkeep_days = 90\n[interactions.redact]\nquestion = "hash"\nprincipal = "drop"\n"metadata.owner" = "drop"\n'
    )
    monkeypatch.setenv("RAGSTONE_INTERACTIONS__REDACT_KEY", "s3cret")
    settings = load_settings()
    assert settings.interactions.redact == {"question": "hash", "principal": "drop", "metadata.owner": "drop"}
    found = {origin.name: (origin.value, origin.source) for origin in explain().origins}
    assert found["interactions.keep_days"] == ("90.0", "ragstone.toml")
    assert "metadata.owner" in str(found["interactions.redact"][0])
    assert found["interactions.redact_key"] == ("********", "environment")
    Path("ragstone.toml").write_text('[interactions.redact]\nquestion = "forget"\n')
    with pytest.raises(InvalidInput, match="redact"):
        load_settings()


def test_an_issuer_of_tokens_will_do_beyond_loopback_when_nobody_can_change_its_keys() -> None:
    oidc: dict[str, object] = {"issuer": "https://login.example.org", "audience": "ragstone"}
    assert load_settings(host="0.0.0.0", oidc=oidc).api_keys_file is None
    assert load_settings(oidc={**oidc, "issuer": "http://127.0.0.1:5556/dex", "jwks_url": "http://localhost:1/keys"}).oidc is not None
    wrong: tuple[dict[str, object], ...] = (
        {"issuer": "http://login.example.org"},
        {"issuer": "login.example.org"},
        {"jwks_url": "http://10.0.0.1/keys"},
        {"jwks_url": "file:///etc/passwd"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"audience": ""},
    )
    for each in wrong:
        with pytest.raises(InvalidInput, match="oidc"):
            load_settings(oidc={**oidc, **each})


def test_an_embedding_server_is_explained_and_its_key_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KIND": "openai",
        "BASE_URL": "http://x/v1",
        "MODEL": "m",
        "TOKENIZER": "t",
        "REVISION": "1",
        "API_KEY": "s3cret",
    }.items():
        monkeypatch.setenv(f"RAGSTONE_EMBEDDER__{name}", value)
    explained = explain()
    found = {origin.name: (origin.value, origin.source) for origin in explained.origins}
    assert (explained.faults, explained.strangers) == ([], [])
    assert found["embedder.revision"] == ("1", "environment")
    assert found["embedder.api_key"] == ("********", "environment")
    assert found["embedder.batch_texts"] == ("32", "default")
    assert "s3cret" not in repr(explained) + repr(load_settings())
