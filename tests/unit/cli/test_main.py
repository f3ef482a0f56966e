"""The frame of all commands: flags before and after, errors, exit statuses, what is imported."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import typer

from ragstone import __version__
from ragstone.cli import main
from ragstone.cli.api import ProblemError
from ragstone.cli.command import execute
from ragstone.cli.session import Flags, Session
from ragstone.domain.errors import NotFound

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs `ragstone` with arguments: exit status, stdout, stderr."""
    monkeypatch.setenv("RAGSTONE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("RAGSTONE_DEBUG", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ragstone", *arguments])
        with pytest.raises(SystemExit) as end:
            main.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    yield call
    signal.signal(signal.SIGTERM, before)


def test_version_and_help(run: Run) -> None:
    assert run("--version") == (0, f"ragstone {__version__}\n", "")
    status, out, _ = run("--help")
    assert status == 0
    assert "ingest" in out
    assert "--data-dir" in run("ask", "--help")[1]


@pytest.mark.parametrize("order", [("--json", "check-config"), ("check-config", "--json")])
def test_common_flags_stand_before_or_after_the_command(run: Run, order: tuple[str, ...], tmp_path: Path) -> None:
    status, out, err = run("--data-dir", "before", *order, "--model", "after")
    assert (status, err) == (0, "")
    settings = {one["name"]: one for one in json.loads(out)["settings"]}
    assert (settings["data_dir"]["value"], settings["data_dir"]["source"]) == ("before", "flag")
    assert (settings["model"]["value"], settings["model"]["source"]) == ("after", "flag")
    assert settings["port"]["source"] == "default"


def test_check_config_names_sources_and_masks_secrets(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ragstone.toml").write_text('port = 9000\n[generator]\nkind = "openai"\nbase_url = "http://x/v1"\nmodel = "m"\n')
    monkeypatch.setenv("RAGSTONE_GENERATOR__API_KEY", "very-secret")
    status, out, _ = run("check-config")
    assert status == 0
    assert "very-secret" not in out
    [port] = [line.split() for line in out.splitlines() if line.startswith("port")]
    assert port[:3] == ["port", "9000", "ragstone.toml"]
    assert " ".join(port[3:]) == "of the API; 0: any free one"


def test_check_config_refuses_a_file_of_keys_that_a_server_would_refuse(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGSTONE_API_KEYS_FILE", str(tmp_path / "keys"))
    (tmp_path / "keys").write_text("# none yet\n")
    status, out, err = run("check-config")
    assert status == 1
    assert "api_keys_file" in out
    assert err.startswith("ragstone: api_keys_file: it holds no key")
    assert len(err.splitlines()) == 1
    up = run("up", "--host", "0.0.0.0")
    assert (up[0], "it holds no key" in up[2]) == (1, True)
    key = json.loads(run("keys", "new", "ann", "--scope", "admin", "--json")[1])
    (tmp_path / "keys").write_text(key["line"])
    status, out, _ = run("check-config")
    assert status == 0
    assert str(tmp_path / "keys") in out


def test_a_wrong_option_is_a_problem_document_with_json(run: Run) -> None:
    status, out, err = run("ask", "--json", "--nonsense")
    assert (status, err) == (2, "")
    assert "--nonsense" in json.loads(out)["detail"]
    assert run("ask", "--nonsense")[0] == 2


def test_a_wrong_setting_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_PORT", "many")
    status, out, err = run("collections", "list")
    assert (status, out) == (1, "")
    assert err.startswith("ragstone: settings: port: ")
    assert len(err.splitlines()) == 1


def test_check_config_tells_everything_that_is_wrong_at_once(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ragstone.toml").write_text('[interactions.redact]\nquestion = "hash"\nwrong = "drop"\n[limits]\ntop_k = 0\n')
    for name, value in {
        "PORT": "many",
        "ROLE": "worker",
        "GENERATOR__KIND": "openai",
        "GENERATOR__API_KEY": "very-secret",
        "CATALOG__KIND": "mongo",
        "INDEX__KIND": "qdrant",
        "INDEX__URL": "http://ann:very-secret@127.0.0.1:6333",
        "INDEX__API_KEY_FILE": str(tmp_path / "absent"),
        "API_KEYS_FILE": str(tmp_path / "no-keys"),
        "PROT": "very-secret",
    }.items():
        monkeypatch.setenv(f"RAGSTONE_{name}", value)
    status, out, err = run("check-config")
    assert status == 1
    assert "very-secret" not in out + err
    assert "http://********@127.0.0.1:6333" in out
    said = [line.removeprefix("ragstone: ") for line in err.splitlines()]
    for begin, mention in (
        ("RAGSTONE_PROT is no setting", "misspelt"),
        ("port: ", "integer"),
        ("limits.top_k: ", "greater than or equal to 1"),
        ("generator.openai.base_url: ", "required"),
        ("generator.openai.model: ", "required"),
        ("catalog.mongo: ", "give uri or uri_file"),
        ("role: ", "versions.kind is git"),
        ("role: ", "queue.kind is in_process"),
        ("api_keys_file: ", "can't be read"),
        ("index.api_key_file: ", "can't be read"),
        ("interactions.redact: ", "wrong"),
    ):
        assert [line for line in said if line.startswith(begin) and mention in line], (begin, said)
    assert not [line for line in said if "catalog.kind is sqlite" in line]  # MongoDB is what was meant
    status, out, err = run("check-config", "--json")
    document = json.loads(out)
    assert (status, err) == (1, "")
    assert len(document["problems"]) == len(said) - 1
    assert document["unknown_variables"] == ["RAGSTONE_PROT"]
    [port] = [one for one in document["settings"] if one["name"] == "port"]
    assert (port["value"], port["source"]) == ("(refused)", "environment")


def test_check_config_misses_the_key_of_a_redaction(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ragstone.toml").write_text('[interactions.redact]\nquestion = "hash"\n')
    status, _, err = run("check-config")
    assert (status, err.startswith("ragstone: interactions.redact_key_file: a hashed field needs")) == (1, True)
    (tmp_path / "ragstone.toml").write_text('[interactions]\nredact_key_file = "absent"\n[interactions.redact]\nquestion = "hash"\n')
    status, _, err = run("check-config")
    assert (status, err.splitlines()) == (1, ["ragstone: interactions.redact_key_file: it can't be read; check its path and rights."])


def test_a_server_that_does_not_answer_is_one_sentence(run: Run) -> None:
    status, out, err = run("log", "-c", "docs", "--server", "http://127.0.0.1:9")
    assert (status, out) == (1, "")
    assert err == "ragstone: No server answers at http://127.0.0.1:9; start one with `ragstone up`, or check --server.\n"
    status, out, err = run("log", "-c", "docs", "--server", "localhost", "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["field"] == "server"


def test_up_refuses_what_it_must_in_one_sentence(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        in_use = run("up", "--port", str(taken.getsockname()[1]))
    beyond = run("up", "--host", "0.0.0.0")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "FORMAT").write_text("999\n")
    newer = run("log", "-c", "docs", "--data-dir", str(tmp_path / "newer"), "--model", str(tmp_path))
    for (status, out, err), words in ((in_use, "address already in use"), (beyond, "not a loopback address"), (newer, "newer ragstone")):
        assert (status, out, len(err.splitlines())) == (1, "", 1), err
        assert words in err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (NotFound("There is no such thing."), 1, "There is no such thing."),
        (ProblemError({"status": 409, "detail": "It moved."}), 1, "It moved."),
        (typer.Exit(2), 2, ""),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (ZeroDivisionError("surprise"), 1, "An error of ragstone's own (ZeroDivisionError: surprise)"),
        (ModuleNotFoundError("No module", name="mlflow.entities"), 1, "(the package mlflow): pip install 'ragstone[cluster]'"),
        (ModuleNotFoundError("No module", name="ragstone.x"), 1, "An error of ragstone's own (ModuleNotFoundError"),
    ],
)
def test_every_error_has_an_exit_status_and_a_sentence(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGSTONE_DEBUG", raising=False)

    def work(session: Session) -> Awaitable[None]:
        async def fail() -> None:
            raise error

        return fail()

    with pytest.raises(typer.Exit) as end:
        execute(Session(Flags()), work)
    assert end.value.exit_code == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_an_error_of_our_own_is_shown_whole_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_DEBUG", "1")

    async def fail(session: Session) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute(Session(Flags()), fail)


def test_building_the_command_line_imports_nothing_slow() -> None:
    slow = ("asyncio", "httpx", "rich", "pydantic", "fastapi", "uvicorn", "numpy", "onnxruntime", "qdrant_edge", "dulwich", "sqlite3")
    code = f"import sys; from ragstone.cli.main import build; build(); print([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
