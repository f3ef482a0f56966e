"""`ragstone models register`, `alias`, `unalias` and `versions`, on the registry in the data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragstone.cli import models
from ragstone.cli import registered_models as commands
from ragstone.cli.loading import author
from tests.support.tiny_cross_encoder import make_cross_encoder
from tests.support.tiny_encoder import make_encoder
from tests.unit.cli.conftest import Ran, Shell

ELSEWHERE = {"kind": "generator", "base_url": "http://127.0.0.1:8080/v1", "served_model": "llama", "revision": "2026-11", "licence": "MIT"}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RAGSTONE_MODELS", str(tmp_path / "models"))


def options(**given: Any) -> dict[str, Any]:
    """As Typer fills them in."""
    names = ("kind", "licence", "base_url", "served_model", "revision", "alias")
    return {**dict.fromkeys(names), "kind": "embedder", "licence": "", "source": None, **given}


async def register(shell: Shell, name: str, **given: Any) -> Ran:
    return await shell(commands.register, name, as_json=True, **options(**given))


async def test_an_embedder_is_registered_with_what_it_is_and_its_files(shell: Shell, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny")
    told = (await register(shell, "minilm", source=str(folder), licence="Apache-2.0", alias="champion")).json
    assert (told["name"], told["version"], told["kind"], told["licence"]) == ("minilm", 1, "embedder", "Apache-2.0")
    assert (told["aliases"], told["by"]) == (["champion"], author())
    assert (told["embedding"]["dimension"], len(told["embedding"]["space"])) == (16, 16)
    assert "model.safetensors" in [file["path"] for file in told["files"]]
    assert told["size"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    again = await register(shell, "minilm", source=str(folder), licence="Apache-2.0")
    assert again.json == told
    shown = (await shell(commands.versions, "minilm", 50)).out.split("\n")
    assert shown[1].split()[:5] == ["1", "champion", "embedder", told["digest"][:12], "Apache-2.0"]
    plain = await shell(commands.register, "minilm", **options(source=str(folder), licence="MIT"))
    assert plain.out.startswith("models:/minilm/2, SHA-256 ")
    assert [one["version"] for one in (await shell(commands.versions, "minilm", 50, as_json=True)).json["versions"]] == [2, 1]


async def test_rerankers_prompts_and_generators_elsewhere_too(shell: Shell, tmp_path: Path) -> None:
    ranker = await register(shell, "judge", source=str(make_cross_encoder(tmp_path / "judge")), kind="reranker", licence="MIT")
    assert (ranker.json["kind"], ranker.json["embedding"]) == ("reranker", None)
    (tmp_path / "1.toml").write_text('system = "Answer."\nuser = "{{ question }}"\n')
    prompt = await register(shell, "answer", source=str(tmp_path / "1.toml"), kind="prompt", licence="MIT")
    assert [file["path"] for file in prompt.json["files"]] == ["1.toml"]
    generator = (await register(shell, "llama", **ELSEWHERE)).json
    assert (generator["files"], generator["elsewhere"]["revision"]) == ([], "2026-11")
    assert "elsewhere" in (await shell(commands.versions, "llama", 50)).out


async def test_a_name_of_no_model_is_told(shell: Shell) -> None:
    unknown = await shell(commands.versions, "nope", 50)
    assert (unknown.status, unknown.err) == (0, "Nothing is registered under the name nope.\n")


async def test_an_alias_is_moved_compared_and_taken_away(shell: Shell) -> None:
    for revision in ("1", "2"):
        await register(shell, "llama", **ELSEWHERE | {"revision": revision})
    assert (await shell(commands.alias_, "llama", "champion", 1, present=0)).out == "models:/llama@champion is version 1\n"
    wrong = await shell(commands.alias_, "llama", "champion", 2, present=2)
    assert wrong.problem is not None
    assert (wrong.status, wrong.problem["status"]) == (1, 409)
    assert (await shell(commands.alias_, "llama", "champion", 2, present=1, as_json=True)).json["aliases"] == ["champion"]
    unknown = await shell(commands.alias_, "llama", "champion", 7, present=None)
    assert unknown.problem is not None
    assert unknown.problem["status"] == 404
    assert (await shell(commands.unalias, "llama", "champion")).status == 0
    assert [one["aliases"] for one in (await shell(commands.versions, "llama", 50, as_json=True)).json["versions"]] == [[], []]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Give a preset"),
        ({"source": "x", **ELSEWHERE}, "Give a preset"),
        ({"source": "absent", "licence": "MIT"}, "There is no model 'absent'"),
        ({"source": "some/absent.toml", "licence": "MIT", "kind": "prompt"}, "There is no directory or file 'some/absent.toml'"),
        ({"source": "some/absent.gguf", "licence": "MIT", "kind": "generator"}, "There is no directory or file 'some/absent.gguf'"),
        ({"source": "TINY"}, "licence: say under which"),
        ({"source": "TINY", "licence": "  "}, "licence: say under which"),
        ({"source": "TINY", "licence": "MIT", "kind": "classifier"}, "kind: 'classifier' is none"),
        ({"source": "TINY", "licence": "MIT", "kind": "prompt"}, "A prompt is"),
        ({"source": "TINY", "licence": "MIT", "kind": "reranker"}, "the tensor"),
        ({**ELSEWHERE, "kind": "embedder"}, "only a generator may run elsewhere"),
        ({**ELSEWHERE, "revision": None}, "needs --base-url, --served-model and --revision"),
        ({**ELSEWHERE, "base_url": "http://me:secret@host/v1"}, "without a password"),
        ({**ELSEWHERE, "base_url": "ftp://host"}, "http or https"),
        ({**ELSEWHERE, "licence": ""}, "licence: say under which"),
    ],
)
async def test_what_can_not_be_registered_is_told_and_leaves_nothing(
    shell: Shell, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    folder = make_encoder(tmp_path / "tiny")
    refused = await register(shell, "model", **{name: str(folder) if value == "TINY" else value for name, value in given.items()})
    assert refused.problem is not None
    assert message in refused.problem["detail"]
    assert "secret" not in refused.problem["detail"]
    assert (await shell(commands.versions, "model", 50, as_json=True)).json["versions"] == []


async def test_weights_that_give_no_number_are_not_registered(shell: Shell, tmp_path: Path) -> None:
    import numpy as np  # noqa: PLC0415
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415

    folder = make_encoder(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    save_file({name: np.full_like(tensor, np.nan) for name, tensor in weights.items()}, folder / "model.safetensors")
    refused = await register(shell, "model", source=str(folder), licence="MIT")
    assert refused.problem is not None
    assert "not finite" in refused.problem["detail"]
    assert (await shell(commands.versions, "model", 50, as_json=True)).json["versions"] == []


async def test_a_version_is_pulled_ahead_and_found_without_the_registry(shell: Shell, tmp_path: Path) -> None:
    await register(shell, "minilm", source=str(make_encoder(tmp_path / "tiny")), licence="MIT", alias="champion")
    pulled = (await shell(models.pull, "models:/minilm@champion", as_json=True)).json
    assert (Path(pulled["path"]).name, pulled["version"], pulled["as_last_seen"]) == ("tiny", 1, False)
    assert [path.suffix for path in (tmp_path / "models" / "graphs").iterdir()] == [".onnx"]
    assert "every file as it was registered" in (await shell(models.pull, "models:/minilm/1")).out
    unknown = await shell(models.pull, "models:/minilm@staging")
    assert unknown.problem is not None
    assert unknown.problem["status"] == 404
