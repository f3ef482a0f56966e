"""`ragstone up --profile dev` with real processes: over NATS and MongoDB's protocol always, over lakeFS and Qdrant where they are on PATH."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import embedding_service, generation_service, mlflow
from tests.servers.reporting import skip_missing, used
from tests.support.tiny_encoder import make_encoder
from tests.support.tiny_llama import write_tiny_llama

STARTS, STOPS = 240, 90  # seconds
ANSWERS = 240  # seconds: what a killed worker had is given to another after a minute (`queue.ack_wait`)


@dataclass
class Running:
    """A tree, and what it said when it was ready."""

    process: subprocess.Popen[str]
    told: dict[str, Any]

    @property
    def processes(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.told["processes"]}

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = httpx.request(method, self.told["url"] + path, timeout=ANSWERS, trust_env=False, **options)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def ingest(self, path: str, text: str) -> dict[str, Any]:
        job = self.ask("PUT", f"/v1/collections/docs/documents/{path}?wait=true", content=text, headers={"Content-Type": "text/plain"})
        return dict(job["job"])

    def found(self, question: str) -> list[str]:
        found = self.ask("POST", "/v1/search", json={"collection": "docs", "question": question})
        return [passage["path"] for passage in found["passages"]]


@contextmanager
def tree(directory: Path, path: str, *options: str) -> Iterator[Running]:
    """The profile over `directory`, ended in order at the end; then none of its processes is left."""
    model = directory / "model"
    if not model.exists():
        make_encoder(model)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_")}
    command = [sys.executable, "-m", "ragstone.cli.main", "--data-dir", str(directory / "data"), "--model", str(model), "--json", "up"]
    with (directory / "tree.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--profile", "dev", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=directory,
            env={**environment, "PATH": path},
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (directory / "tree.log").read_text()
        running = Running(process, json.loads(line))
        try:
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOPS)
            process.stdout.close()
    assert process.returncode == 0, (directory / "tree.log").read_text()
    assert not [name for name, one in running.processes.items() if alive(one["pid"])]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def soon(condition: Any, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.packaged
@pytest.mark.long
def test_one_process_with_the_servers_of_python_packages_keeps_its_data(tmp_path: Path) -> None:
    nothing_else = str(tmp_path / "empty")
    with tree(tmp_path, nothing_else) as running:
        assert {"MongoDB", "NATS", "API"} == running.processes.keys()
        assert len(running.told["missing"]) == 4  # lakeFS, Qdrant, MLflow, the embedding service
        running.ask("POST", "/v1/collections", json={"name": "docs"})
        assert running.ingest("a.txt", "The pump is red.")["state"] == "published"
        os.kill(running.processes["NATS"]["pid"], signal.SIGKILL)
        soon(lambda: "NATS ended (status -9); it is started again" in log(tmp_path))
        assert running.ingest("b.txt", "The valve is green.")["state"] == "published"
        command = [sys.executable, "-m", "ragstone.cli.main", "--data-dir", str(tmp_path / "data"), "--json", "collections", "list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert "docs" in listed.stdout  # a command finds the tree
    with tree(tmp_path, nothing_else) as running:
        assert {*running.found("red pump")} == {"a.txt", "b.txt"}


@pytest.mark.packaged
@pytest.mark.xdist_group("mlflow")
def test_each_commit_is_a_run_in_an_mlflow_server(tmp_path: Path) -> None:
    if not mlflow.ENVIRONMENT.exists():
        skip_missing("MLflow", "no .venv-mlflow; `make env-mlflow` makes it")
    with tree(tmp_path, str(tmp_path / "empty"), "--mlflow", str(mlflow.ENVIRONMENT)) as running:
        running.ask("POST", "/v1/collections", json={"name": "docs"})
        assert running.ingest("a.txt", "The pump is red.")["state"] == "published"
        address = running.processes["MLflow"]["address"]
        by_name = f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=ragstone/docs"
        soon(lambda: httpx.get(by_name, timeout=60, trust_env=False).status_code == 200)


@pytest.mark.packaged
@pytest.mark.xdist_group("bento")
def test_the_embedding_service_embeds_for_the_others(tmp_path: Path) -> None:
    if not embedding_service.PROGRAM.exists():
        skip_missing("BentoML", embedding_service.MISSING)
    with tree(tmp_path, str(tmp_path / "empty"), "--services", str(embedding_service.PROGRAM)) as running:
        running.ask("POST", "/v1/collections", json={"name": "docs"})
        assert running.ingest("a.txt", "The pump is red.")["state"] == "published"
        assert running.found("red pump") == ["a.txt"]
        address, servers = running.processes["embedding"]["address"], tmp_path / "data" / "servers"
        key = (servers / "secrets" / "embedding-key").read_text()
        assert httpx.get(f"{address}/v1/models", timeout=60, trust_env=False).status_code == 401
        told = httpx.get(f"{address}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)
        [served] = told.json()["data"]
        assert served["ragstone"]["digest"] == running.ask("GET", "/v1/models/model")["ragstone"]["digest"]
        management = json.loads((servers / "profile.json").read_text())["ports"]["embedding (management)"]
        counted = httpx.get(f"http://127.0.0.1:{management}/metrics", timeout=60, trust_env=False).text
        assert 'ragstone_embedding_texts_total{input_type="passage"}' in counted
        assert 'ragstone_embedding_texts_total{input_type="query"}' in counted


@pytest.mark.servers
@pytest.mark.xdist_group("bento")
def test_a_language_model_is_in_one_services_memory_and_answers_as_it_does_in_the_apis(tmp_path: Path) -> None:
    if why := generation_service.missing():
        skip_missing("BentoML", why)
    write_tiny_llama(tmp_path / "small.gguf")
    (tmp_path / "ragstone.toml").write_text(  # its window is larger than the model's, and it has what only a process with the model needs
        '[generator]\nkind = "llama"\nmodel = "small.gguf"\nslots = 3\nthreads = 1\ncontext_window = 8192\n'
    )
    question = {"collection": "docs", "question": "What is quartz?", "abstain": False}
    with tree(tmp_path, str(tmp_path / "empty"), "--services", str(embedding_service.PROGRAM)) as running:
        assert not [sentence for sentence in running.told["missing"] if sentence.startswith("generation")]
        running.ask("POST", "/v1/collections", json={"name": "docs"})
        assert running.ingest("a.txt", "Quartz is a mineral made of silica.")["state"] == "published"
        served = running.ask("POST", "/query", json=question)
        service, api = running.processes["generation"], running.processes["API"]
        assert Path(service["log"]).name == "generation.log"
        assert (has_llama(service["pid"]), has_llama(api["pid"])) == (True, False)
        assert httpx.get(f"{service['address']}/readyz", timeout=60, trust_env=False).status_code == 200
        assert httpx.post(f"{service['address']}/v1/chat/completions", json={}, timeout=60, trust_env=False).status_code == 401
    with tree(tmp_path, str(tmp_path / "empty")) as running:
        assert [sentence for sentence in running.told["missing"] if sentence.startswith("generation: there is no BentoML")]
        inside = running.ask("POST", "/query", json=question)
        assert has_llama(running.processes["API"]["pid"])
    assert served["answer"]["text"] == "Quartz is a mineral made of silica [1]."
    for told in ("answer", "release", "degraded"):
        assert served[told] == inside[told]


def has_llama(pid: int) -> bool:
    """Whether the process has llama.cpp in its memory."""
    return "xllamacpp" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.servers
def test_with_every_store_the_work_is_done_by_workers(tmp_path: Path) -> None:
    path = os.environ["PATH"]
    for name, program in (("lakeFS", "lakefs"), ("Qdrant", "qdrant")):
        if shutil.which(program) is None:
            skip_missing(name, f"no `{program}` on PATH")
        used(name, "on PATH", str(shutil.which(program)))
    with tree(tmp_path, path, "--workers", "2") as running:
        assert {"MongoDB", "NATS", "lakeFS", "Qdrant", "API", "worker 1", "worker 2"} <= running.processes.keys()
        running.ask("POST", "/v1/collections", json={"name": "docs"})
        for number in range(4):
            assert running.ingest(f"{number}.txt", f"The pump number {number} is red.")["state"] == "published"
        os.kill(running.processes["worker 1"]["pid"], signal.SIGKILL)
        assert running.ingest("last.txt", "The valve is green.")["state"] == "published"
    with tree(tmp_path, path) as running:
        assert len({*running.found("red pump")}) == 5


def log(directory: Path) -> str:
    return (directory / "tree.log").read_text()
