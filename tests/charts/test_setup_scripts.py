"""The programs that charts give to ragstone's interpreter to set stores up: what they do by themselves, and that doing it again changes nothing."""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from ragstone.adapters.key_file import KeyFile
from ragstone.domain.access import Scope
from tests.charts.helm import CHARTS
from tests.cluster.images import mongod as mongod_stand_in

Answer = Callable[[str, str, dict[str, str], bytes], int]


def program(chart: str, name: str, places: Mapping[str, object]) -> str:
    """The script with other places than those of a pod; each has to be in it."""
    text = (CHARTS / chart / "files" / name).read_text(encoding="utf-8")
    for place, other in places.items():
        assert place in text, place
        text = text.replace(place, str(other))
    return text


def run(text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """An HTTP server that answers with a status alone; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(answer(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            self.send_header("content-length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_POST = _any  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


def keyfile(secrets: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return run(program("mongodb", "keyfile.py", {"/etc/mongodb/secrets": secrets, "/run/mongodb": target}))


def test_the_members_key_is_for_mongod_alone_to_read(secrets: Path, tmp_path: Path) -> None:
    (secrets / "keyfile").write_text("c2VjcmV0c2VjcmV0\n")
    for _ in range(2):  # a container that is started again finds its own file
        assert keyfile(secrets, tmp_path).returncode == 0
        assert stat.S_IMODE((tmp_path / "keyfile").stat().st_mode) == 0o400
        assert (tmp_path / "keyfile").read_text() == "c2VjcmV0c2VjcmV0"


def test_a_key_that_mongod_would_not_take_is_refused(secrets: Path, tmp_path: Path) -> None:
    (secrets / "keyfile").write_text("x" * 1025)
    done = keyfile(secrets, tmp_path)
    assert done.returncode == 1
    assert "has to be 6 to 1024 characters" in done.stderr


def buckets(secrets: Path, port: int, wanted: str = "one,two") -> subprocess.CompletedProcess[str]:
    (secrets / "access-key-id").write_text("ID")
    (secrets / "secret-access-key").write_text("KEY")
    text = program("object-store", "buckets.py", {"/etc/object-store/secrets": secrets})
    return run(text, S3_ENDPOINT=f"http://127.0.0.1:{port}", S3_REGION="us-east-1", S3_BUCKETS=wanted)


def test_buckets_that_are_missing_are_made(secrets: Path) -> None:
    there, asked = {"/one"}, []

    def answer(method: str, path: str, headers: dict[str, str], _: bytes) -> int:
        asked.append((method, path))
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=ID/")
        if method == "PUT":
            there.add(path)
        return 200 if path in there else 404

    with server(answer) as port:
        assert buckets(secrets, port).returncode == 0
        assert asked == [("HEAD", "/one"), ("HEAD", "/two"), ("PUT", "/two")]
        assert buckets(secrets, port).returncode == 0
    assert asked[3:] == [("HEAD", "/one"), ("HEAD", "/two")]


def test_an_object_store_with_other_keys_is_named(secrets: Path) -> None:
    with server(lambda *_: 403) as port:
        done = buckets(secrets, port)
    assert done.returncode == 1
    assert "refuses the access key for bucket one: the Secret and the server disagree" in done.stderr


@pytest.fixture
def cluster(secrets: Path) -> Callable[[int], subprocess.CompletedProcess[str]]:
    """Runs dev-secrets against an API server without TLS."""
    (secrets / "token").write_text("pod-token\n")
    names = ("API_KEYS", "MONGODB", "QDRANT", "LAKEFS", "NATS", "OBJECT_STORE", "MONGO_EXPRESS", "EMBEDDING", "GENERATION")
    text = program(
        "dev-secrets",
        "secrets.py",
        {
            "/var/run/secrets/kubernetes.io/serviceaccount": secrets,
            'ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")': "ssl",
            "HTTPSConnection(": "HTTPConnection(",
            ", context=trusted": "",
        },
    )

    def make(port: int) -> subprocess.CompletedProcess[str]:
        given = {name: f"ragstone-{name.lower().replace('_', '-')}" for name in names}
        return run(
            text, NAMESPACE="ns", MONGODB_HOST="mongo", KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT=str(port), **given
        )

    return make


def test_dev_secrets_are_random_and_each_is_made_once(cluster: Callable[[int], subprocess.CompletedProcess[str]]) -> None:
    made: dict[str, dict[str, str]] = {}

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> int:
        assert (method, path, headers["authorization"]) == ("POST", "/api/v1/namespaces/ns/secrets", "Bearer pod-token")
        secret: dict[str, Any] = json.loads(body)
        name = secret["metadata"]["name"]
        status = 409 if name in made else 201
        made.setdefault(name, secret["stringData"])
        return status

    with server(answer) as port:
        first = cluster(port)
        assert first.returncode == 0, first.stderr
        before = json.dumps(made)
        again = cluster(port)
    assert again.returncode == 0
    assert json.dumps(made) == before
    texts = [text for each in made.values() for text in each.values()]
    assert len(set(texts)) == len(texts) == 18
    assert not any(text in first.stdout + again.stdout for text in texts)
    assert made["ragstone-mongodb"]["uri"].endswith("@mongo:27017/ragstone?replicaSet=rs0&authSource=admin")
    assert len(base64.b64decode(made["ragstone-mongodb"]["keyfile"])) == 96


async def test_dev_secrets_gives_servers_the_hash_of_the_key_that_others_have(
    cluster: Callable[[int], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    made: dict[str, dict[str, str]] = {}

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> int:
        secret: dict[str, Any] = json.loads(body)
        made[secret["metadata"]["name"]] = secret["stringData"]
        return 201

    with server(answer) as port:
        assert cluster(port).returncode == 0
    for name, key, scope in (
        ("api-keys", "test-api-key", Scope.ADMIN),
        ("embedding", "api-key", Scope.READ),
        ("generation", "api-key", Scope.READ),
    ):
        secret, file = made[f"ragstone-{name}"], tmp_path / name
        assert set(secret) == {"api-keys", key}
        file.write_text(secret["api-keys"])
        principal = await KeyFile(file).principal(secret[key])
        assert principal is not None
        assert principal.scope == scope


def test_an_api_server_that_refuses_is_told(cluster: Callable[[int], subprocess.CompletedProcess[str]]) -> None:
    with server(lambda *_: 403) as port:
        done = cluster(port)
    assert done.returncode == 1
    assert done.stderr == "The API server answers 403 for Secret ragstone-api-keys.\n"


def free_ports(count: int) -> list[int]:
    with ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def started(*command: str | Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "the member does not become ready"
            time.sleep(0.1)


@pytest.mark.servers
def test_a_replica_set_sets_itself_up_and_grows(secrets: Path, tmp_path: Path) -> None:
    if not (mongod := shutil.which("mongod")):
        pytest.skip("mongod: none on PATH")
    (secrets / "root-password").write_text("root-pw")
    (secrets / "keyfile").write_text("c2VjcmV0c2VjcmV0")
    (secrets / "uri").write_text("mongodb://app:app%20pw@mongo:27017/ragstone?replicaSet=rs0&authSource=admin")
    assert keyfile(secrets, tmp_path).returncode == 0
    members, health = free_ports(2), free_ports(2)
    hosts = [f"127.0.0.1:{port}" for port in members]

    def beside(number: int) -> list[str]:
        text = program("mongodb", "replica_set.py", {"/etc/mongodb/secrets": secrets, "8080": health[number]})
        return [sys.executable, "-c", text]

    def variables(number: int, count: int) -> dict[str, str]:
        return {"POD_NAME": f"mongo-{number}", "REPLICA_SET_MEMBERS": ",".join(hosts[:count]), "REPLICA_SET_DATABASE": "ragstone"}

    with ExitStack() as running:
        for number, port in enumerate(members):
            data = tmp_path / f"data{number}"
            data.mkdir()
            limits = ("--wiredTigerCacheSizeGB", "0.25", "--nounixsocket", "--bind_ip", "127.0.0.1")
            own = ("--dbpath", str(data), "--port", str(port), "--keyFile", str(tmp_path / "keyfile"), "--replSet", "rs0")
            running.enter_context(started(mongod, *own, *limits))
        with started(*beside(0), **variables(0, 1)):
            wait_until_ready(health[0])
            uri = f"mongodb://app:app%20pw@{hosts[0]}/ragstone?replicaSet=rs0&authSource=admin"
            with MongoClient[dict[str, Any]](uri) as client:
                assert client["ragstone"]["notes"].insert_one({"text": "kept"}).acknowledged
        with ExitStack() as two:
            for number in (0, 1):
                two.enter_context(started(*beside(number), **variables(number, 2)))
            for port in health:
                wait_until_ready(port)
            second = f"mongodb://app:app%20pw@{hosts[1]}/ragstone?directConnection=true&authSource=admin&readPreference=secondary"
            with MongoClient[dict[str, Any]](second) as client:
                assert [each["text"] for each in client["ragstone"]["notes"].find()] == ["kept"]


def test_a_replica_set_of_one_sets_itself_up_over_the_stand_in_of_the_cluster_tests(secrets: Path, tmp_path: Path) -> None:
    """SecantusDB behind mongod's options: what the dev profile runs on where there is no mongod."""
    (secrets / "root-password").write_text("root-pw")
    (secrets / "keyfile").write_text("c2VjcmV0c2VjcmV0")
    (secrets / "uri").write_text("mongodb://app:app%20pw@mongo:27017/ragstone?replicaSet=rs0&authSource=admin")
    (tmp_path / "data").mkdir()
    port, health = free_ports(2)
    host, uri = f"127.0.0.1:{port}", f"mongodb://app:app%20pw@127.0.0.1:{port}/ragstone?replicaSet=rs0&authSource=admin"
    own = ("--dbpath", str(tmp_path / "data"), "--port", str(port), "--bind_ip_all", "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25")
    mongod = (sys.executable, mongod_stand_in.PROGRAM, *own, "--keyFile", secrets / "keyfile")
    text = program("mongodb", "replica_set.py", {"/etc/mongodb/secrets": secrets, "8080": health})
    member = {"POD_NAME": "mongo-0", "REPLICA_SET_MEMBERS": host, "REPLICA_SET_DATABASE": "ragstone"}
    with started(sys.executable, "-c", text, **member):
        with started(*mongod):
            wait_until_ready(health)
            with MongoClient[dict[str, Any]](uri) as client:
                assert client["ragstone"]["notes"].insert_one({"text": "kept"}).acknowledged
        with started(*mongod), MongoClient[dict[str, Any]](uri) as client:  # a pod that is started again
            assert [each["text"] for each in client["ragstone"]["notes"].find()] == ["kept"]


def test_the_stand_in_is_made_of_the_development_lock() -> None:
    lines = [line for line in mongod_stand_in.requirements().splitlines() if "==" in line]
    assert any(line.startswith("secantusdb==") for line in lines)
    assert mongod_stand_in.requirements().count("--hash=sha256:") >= len(lines) > 5
