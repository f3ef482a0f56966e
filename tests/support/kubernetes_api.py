"""The few calls of a Kubernetes API server that bulk work uses, over HTTP, with a controller that runs a Job's pods as processes of this machine.

Manifests are checked against Kubernetes' own schema. `python -m` programs take the place of the container's image: `command` is put before its arguments.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

Manifest = dict[str, Any]
NAMESPACE, TOKEN = "ragstone", "a token of the runner's account"
_PATH = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"


@dataclass
class Cluster:
    """What the server holds. `answers`: what the next requests get instead of what they ask for, by HTTP status. `requests`: method and path of each."""

    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    jobs: dict[str, Manifest] = field(default_factory=dict)
    made: list[Manifest] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    pods: dict[tuple[str, int], subprocess.Popen[bytes]] = field(default_factory=dict)  # that run, by uid of the Job and index
    started: list[int] = field(default_factory=list)  # index of each pod that was started
    lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, manifest: Manifest) -> tuple[int, Manifest]:
        kubernetes_validate.validate(manifest, "1.37", strict=True)
        name = manifest["metadata"]["name"]
        with self.lock:
            if name in self.jobs:
                return 409, _status(409, "AlreadyExists")
            job = {**manifest, "metadata": {**manifest["metadata"], "namespace": NAMESPACE, "uid": uuid4().hex}, "status": {}}
            self.jobs[name] = job
            self.made.append(job)
            threading.Thread(target=self._control, args=(name, job), daemon=True).start()
            return 201, job

    def delete(self, name: str) -> tuple[int, Manifest]:
        with self.lock:
            job = self.jobs.pop(name, None)
            if job is None:
                return 404, _status(404, "NotFound")
            self._kill(job)
            return 200, _status(200, "Success")

    def _kill(self, job: Manifest) -> None:
        for (uid, index), pod in list(self.pods.items()):
            if uid == job["metadata"]["uid"]:
                pod.kill()
                pod.wait()
                del self.pods[uid, index]

    def _control(self, name: str, job: Manifest) -> None:
        """The controller of Indexed Jobs: `parallelism` pods at once, each index until one of its pods succeeds or it has failed too often."""
        spec, uid = job["spec"], job["metadata"]["uid"]
        waiting, failures, done = list(range(spec["completions"])), dict.fromkeys(range(spec["completions"]), 0), list[int]()
        while self.jobs.get(name) is job:
            with self.lock:
                if self.jobs.get(name) is not job:
                    return
                for (owner, index), pod in list(self.pods.items()):
                    if owner == uid and pod.poll() is not None:
                        del self.pods[owner, index]
                        failures[index] += pod.returncode != 0
                        (done if pod.returncode == 0 else waiting).append(index)
                failed = [index for index, count in failures.items() if count > spec["backoffLimitPerIndex"]]
                if len(failed) > spec["maxFailedIndexes"]:
                    job["status"] = {
                        "conditions": [condition("Failed", "MaxFailedIndexesExceeded")],
                        "failedIndexes": ",".join(map(str, failed)),
                        "failed": sum(failures.values()),
                    }
                    self._kill(job)
                    return
                if len(done) == spec["completions"]:
                    job["status"] = {"conditions": [condition("Complete", "CompletionsReached")], "succeeded": len(done)}
                    return
                job["status"] = {"active": len(self.pods), "succeeded": len(done), "failed": sum(failures.values())}
                while waiting and sum(owner == uid for owner, _ in self.pods) < spec["parallelism"]:
                    index = waiting.pop(0)
                    self.pods[uid, index] = self._pod(spec["template"]["spec"]["containers"][0], index)
                    self.started.append(index)
            time.sleep(0.02)

    def _pod(self, container: Manifest, index: int) -> subprocess.Popen[bytes]:
        own = {variable["name"]: variable["value"] for variable in container.get("env", ())}
        environment = {**os.environ, **self.variables, **own, "JOB_COMPLETION_INDEX": str(index)}
        return subprocess.Popen([*self.command, *container["args"]], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@contextmanager
def cluster(directory: Path, command: Sequence[str], variables: Mapping[str, str] | None = None) -> Iterator[tuple[Cluster, Path]]:
    """A cluster and the kubeconfig of its runner's account."""
    held = Cluster(command, variables or {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(held))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "runner"}}],
                "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "runner", "user": {"token": TOKEN}}],
            }
        )
    )
    try:
        yield held, kubeconfig
    finally:
        for name in list(held.jobs):
            held.delete(name)
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(held: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer(lambda _: held.create(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def do_GET(self) -> None:
            def found(name: str) -> tuple[int, Manifest]:
                with held.lock:
                    return (200, held.jobs[name]) if name in held.jobs else (404, _status(404, "NotFound"))

            self._answer(found)

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(held.delete)

        def _answer(self, work: Callable[[str], tuple[int, Manifest]]) -> None:
            path = urlsplit(self.path).path
            held.requests.append(f"{self.command} {path}")
            if held.answers:
                status = held.answers.pop(0)
                answer = (status, _status(status, "Refused"))
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                answer = (401, _status(401, "Unauthorized"))
            elif not path.startswith(_PATH):
                answer = (403, _status(403, "Forbidden"))
            else:
                answer = work(path.removeprefix(_PATH).strip("/"))
            body = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _status(code: int, reason: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Success" if code < 400 else "Failure",
        "reason": reason,
        "code": code,
    }


def condition(kind: str, reason: str) -> Manifest:
    return {"type": kind, "status": "True", "reason": reason, "message": reason, "lastTransitionTime": "2026-11-30T00:00:00Z"}
