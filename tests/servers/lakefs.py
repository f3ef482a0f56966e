"""A lakeFS server for tests: `lakefs` on PATH with a local block store, on a free port of loopback, or the one at RAGSTONE_TEST_LAKEFS_URL.

With the latter, RAGSTONE_TEST_LAKEFS_KEY is `access key id:secret`, and RAGSTONE_TEST_LAKEFS_NAMESPACE where repositories may be made (s3://bucket/tests).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.lakefs import LakeFsVersionStore
from ragstone.adapters.lakefs_client import LakeFsClient
from ragstone.adapters.lakefs_errors import translate
from ragstone.adapters.object_store import ObjectStore
from ragstone.adapters.object_store import translate as translate_object_store
from tests.servers.nats import free_port
from tests.servers.reporting import skip_missing, used

KEY, SECRET = "AKIATESTRAGSTONE0001", "not-a-secret-of-anybody-0123456789abcdef"  # of servers that live as long as a test
_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class LakeFs:
    """A running server. `objects`: the directory or bucket under it as an URL, None where tests can't reach it."""

    url: str
    key: str
    secret: str
    namespace: str
    objects: str | None
    process: subprocess.Popen[bytes] | None = None

    def client(self, *, url: str | None = None, timeout: float = 30.0, concurrency: int = 8) -> LakeFsClient:
        """One to this server, or through a proxy at `url`."""
        dependency = Dependency("versions", timeout=timeout, concurrency=concurrency, translate=translate)
        return LakeFsClient(url or self.url, self.key, lambda: self.secret, dependency, concurrency=concurrency)

    def store(self, *, prefix: str | None = None, sweeps: bool = True, url: str | None = None, timeout: float = 30.0) -> LakeFsVersionStore:
        """A version store whose repositories no other test has. `sweeps`: it deletes bytes itself where it can."""
        objects = None
        if sweeps and self.objects is not None:
            objects = ObjectStore(self.objects, Dependency("objects", timeout=30.0, concurrency=4, translate=translate_object_store))
        return LakeFsVersionStore(
            self.client(url=url, timeout=timeout), namespace=self.namespace, prefix=prefix or fresh_prefix(), objects=objects
        )


def fresh_prefix() -> str:
    """Of repositories that no other test has."""
    return f"t{uuid4().hex[:10]}-"


@contextmanager
def serving(directory: Path, *, port: int | None = None, environment: Mapping[str, str] | None = None) -> Iterator[LakeFs]:
    """A server over `directory`, ended at the end; again over the same directory it has the same repositories."""
    program = shutil.which("lakefs")
    if program is None:
        skip_missing("lakeFS", "no server at RAGSTONE_TEST_LAKEFS_URL and no `lakefs` on PATH")
    port = port or free_port()
    config = directory / "lakefs.yaml"
    config.write_text(
        f"listen_address: 127.0.0.1:{port}\n"
        f"database: {{type: local, local: {{path: {directory}/meta}}}}\n"
        f"blockstore: {{type: local, local: {{path: {directory}/data}}}}\n"
        f"installation: {{user_name: admin, access_key_id: {KEY}, secret_access_key: {SECRET}}}\n"
        "auth: {encrypt: {secret_key: 0123456789abcdef0123456789abcdef}}\n"
        "stats: {enabled: false}\n"
        "actions: {lua: {net_http_enabled: true}}\n"
    )
    with (directory / "lakefs.log").open("ab") as log:
        process = subprocess.Popen(
            [program, "--config", str(config), "run"],
            stdout=log,
            stderr=log,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "HOME": str(directory), **(environment or {})},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _answers(url, process)
        yield LakeFs(url, KEY, SECRET, "local://ragstone", f"file://{directory}/data", process)
    finally:
        process.terminate()
        process.wait(_PATIENCE)


@pytest.fixture(scope="session")
def lakefs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeFs]:
    """Shared; a test isolates itself by a prefix of its own."""
    if url := os.environ.get("RAGSTONE_TEST_LAKEFS_URL"):
        key, _, secret = os.environ["RAGSTONE_TEST_LAKEFS_KEY"].partition(":")
        server = LakeFs(url, key, secret, os.environ["RAGSTONE_TEST_LAKEFS_NAMESPACE"], None)
        used("lakeFS", version(server), "RAGSTONE_TEST_LAKEFS_URL")
        yield server
        return
    with serving(tmp_path_factory.mktemp("lakefs")) as server:
        used("lakeFS", version(server), str(shutil.which("lakefs")))
        yield server


def version(server: LakeFs) -> str:
    """What the server says."""
    with httpx.Client(auth=(server.key, server.secret), timeout=30.0) as client:
        return str(client.get(f"{server.url}/api/v1/config").raise_for_status().json()["version_config"]["version"])


def _answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_health", timeout=5.0):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the lakeFS server did not start; see its lakefs.log")
