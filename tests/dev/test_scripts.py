"""The scripts of the development cluster, run with fakes of docker, kind and kubectl on PATH."""

from __future__ import annotations

import hashlib
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.charts.helm import ROOT
from tests.dev.repository import kind_config

SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / "k8s" / "crds.sh"]
TOOLS = ("bash", "sh", "sed", "grep", "dirname", "cat", "env")
CONTEXT = "--context kind-ragstone"
# Each fake writes down how it was called; FAILS names the one call that fails.
FAKES = {
    "docker": 'case "$*" in *State.Status*) [ "$REGISTRY" != none ] && echo "$REGISTRY" ;; *Networks.kind*) echo null ;; exec*) cat ;; esac',
    "kind": 'case "$*" in "get clusters") echo "$CLUSTERS" ;; "get nodes"*) echo ragstone-control-plane ;; esac',
    "kubectl": 'case "$*" in *"get secret ragstone-tls"*) [ "$CERTIFICATE" = yes ] ;; esac',
    "helm": ":",
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    checked = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", "--external-sources", "--severity=warning", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stdout == ""
    assert checked.returncode == 0


@dataclass
class Machine:
    """A copy of what scripts/kind.sh needs, with ports of its own, and a PATH of fakes."""

    root: Path
    ports: list[int]

    def without(self, *tools: str) -> None:
        for tool in tools:
            (self.root / "bin" / tool).unlink()

    def run(self, command: str, **state: str) -> tuple[int, str, list[str]]:
        """Exit status, what was said on stderr, the calls of the tools."""
        calls = self.root / "calls"
        calls.write_text("")
        known = {"REGISTRY": "none", "CLUSTERS": "", "CERTIFICATE": "no", "FAILS": "-"} | state
        done = subprocess.run(
            [self.root / "bin" / "bash", "scripts/kind.sh", command],
            cwd=self.root,
            env={"PATH": str(self.root / "bin"), "CALLS": str(calls), **known},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr.strip(), calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool} here"))
    for tool, answer in FAKES.items():
        fake = tmp_path / "bin" / tool
        fake.write_text(f'#!/bin/sh\necho "{tool} $*" >>"$CALLS"\ncase "{tool} $*" in $FAILS) exit 1 ;; esac\n{answer}\n')
        fake.chmod(0o755)
    with _free_ports(3) as ports:
        pass
    config = (ROOT / "kind-config.yaml").read_text(encoding="utf-8")
    script = (ROOT / "scripts" / "kind.sh").read_text(encoding="utf-8")
    for mapping, port in zip(kind_config()["nodes"][0]["extraPortMappings"], ports, strict=False):
        config = config.replace(f"hostPort: {mapping['hostPort']}", f"hostPort: {port}")
    (tmp_path / "kind-config.yaml").write_text(config)
    (tmp_path / "scripts" / "kind.sh").write_text(script.replace("registry_port=5001", f"registry_port={ports[2]}"))
    return Machine(tmp_path, ports)


@contextmanager
def _free_ports(count: int) -> Iterator[list[int]]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def test_up_makes_registry_cluster_definitions_and_gateway_in_this_order(machine: Machine) -> None:
    status, said, calls = machine.run("up")
    assert status == 0, said
    assert said.endswith("kubectl's context is kind-ragstone, the gateway is http://127.0.0.1:8080. Next: tilt up.")
    steps = [
        f"docker run --detach --restart always --publish 127.0.0.1:{machine.ports[2]}:5000 ",
        "kind create cluster --config kind-config.yaml --wait 180s",
        "docker exec --interactive ragstone-control-plane sh -c mkdir -p /etc/containerd/certs.d/localhost:",
        "docker network connect kind ragstone-registry",
        f"kubectl {CONTEXT} apply --filename k8s/local-registry/hosting.yaml",
        f"kubectl {CONTEXT} apply --filename k8s/namespaces.yaml",
        f"kubectl {CONTEXT} apply --server-side ",
        f"kubectl {CONTEXT} wait --for=condition=Established ",
        f"kubectl {CONTEXT} apply --kustomize k8s/gateway",
        f"kubectl {CONTEXT} --namespace ragstone-gateway rollout status deployment/traefik --timeout=180s",
        f"kubectl {CONTEXT} --namespace ragstone-gateway wait --for=condition=Programmed --timeout=60s gateway/ragstone",
    ]
    found = [next((at for at, call in enumerate(calls) if call.startswith(step)), None) for step in steps]
    assert None not in found, steps[found.index(None)]
    assert found == sorted(found, key=lambda at: -1 if at is None else at)


def test_up_on_a_cluster_that_is_there_creates_nothing_again(machine: Machine) -> None:
    status, said, calls = machine.run("up", REGISTRY="running", CLUSTERS="ragstone")
    assert status == 0, said
    assert not [call for call in calls if call.startswith(("kind create", "docker run", "docker start"))]
    assert f"kubectl {CONTEXT} apply --kustomize k8s/gateway" in calls


def test_up_starts_a_registry_that_was_stopped(machine: Machine) -> None:
    assert "docker start ragstone-registry" in machine.run("up", REGISTRY="exited")[2]


def test_up_listens_for_https_once_there_is_a_certificate(machine: Machine) -> None:
    assert f"kubectl {CONTEXT} apply --kustomize k8s/gateway-https" in machine.run("up", CERTIFICATE="yes")[2]


def test_missing_tools_are_named_in_one_sentence(machine: Machine) -> None:
    machine.without("kind", "helm")
    status, said, calls = machine.run("up")
    assert status == 1
    assert said.startswith("The development cluster needs kind helm, not found on PATH: install what is missing")
    assert calls == []


@pytest.mark.parametrize(
    ("which", "purpose", "file"), [(0, "the gateway", "kind-config.yaml"), (2, "the local registry", "scripts/kind.sh")]
)
def test_a_taken_port_ends_in_a_sentence_before_anything_is_made(machine: Machine, which: int, purpose: str, file: str) -> None:
    with socket.create_server(("127.0.0.1", machine.ports[which])):
        status, said, calls = machine.run("up")
    assert status == 1
    assert said.startswith(
        f"Port {machine.ports[which]} of 127.0.0.1 is taken, and {purpose} needs it: stop what listens there, or change the port in {file}"
    )
    assert not [call for call in calls if call.startswith(("docker run", "kind create"))]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("docker info", "Docker does not answer: start it"),
        ("docker run *", "The registry's container could not be started from docker.io/library/registry:"),
        ("kind create *", "kind could not create the cluster: its message above says why"),
        ("kubectl * get nodes *", "The cluster ragstone exists and does not answer: 'make kind-down'"),
        ("kubectl * apply --server-side *", "could not be applied: check that this machine reaches it"),
        ("kubectl * rollout status *", "The gateway is not ready: "),
        ("kubectl * wait --for=condition=Programmed *", "The gateway is not ready: "),
    ],
)
def test_a_step_that_fails_ends_in_a_sentence(machine: Machine, call: str, sentence: str) -> None:
    status, said, _ = machine.run("up", FAILS=call)
    assert status == 1
    assert sentence in said


def test_down_removes_the_cluster_and_the_registry(machine: Machine) -> None:
    status, said, calls = machine.run("down", REGISTRY="running", CLUSTERS="ragstone")
    assert (status, said) == (0, "The cluster and its registry are gone.")
    assert calls[-2:] == ["kind delete cluster --name ragstone", "docker rm --force --volumes ragstone-registry"]


def test_another_word_is_refused(machine: Machine) -> None:
    assert machine.run("sideways")[:2] == (1, "usage: scripts/kind.sh up|down")


def dev_secret(root: Path) -> dict[str, str]:
    printed = subprocess.run([root / "scripts" / "dev_secret.sh", "ragstone"], capture_output=True, text=True, check=True).stdout
    manifest = yaml.safe_load(printed)
    assert (manifest["kind"], manifest["metadata"]) == ("Secret", {"name": "ragstone-api-keys", "namespace": "ragstone"})
    data: dict[str, str] = manifest["stringData"]
    return data


def test_the_development_key_is_made_once_and_only_its_hash_is_an_api_key(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "dev_secret.sh", tmp_path / "scripts")
    data = dev_secret(tmp_path)
    key = (tmp_path / ".tilt" / "api-key").read_text()
    assert len(key) == 64
    assert data == {"api-keys": f"developer:admin:{hashlib.sha256(key.encode()).hexdigest()}\n", "test-api-key": key}
    assert stat.S_IMODE((tmp_path / ".tilt" / "api-key").stat().st_mode) == 0o600
    assert dev_secret(tmp_path) == data


def test_the_development_key_is_where_the_client_reads_it_and_never_in_git() -> None:
    client = (ROOT / "scripts" / "dev_client.sh").read_text(encoding="utf-8")
    assert "RAGSTONE_API_KEY_FILE=.tilt/api-key" in client
    assert ".tilt/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_client_says_what_comes_first_when_there_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "dev_client.sh", tmp_path / "scripts")
    done = subprocess.run([tmp_path / "scripts" / "dev_client.sh", "log"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("There is no key in .tilt/api-key yet: start the development cluster with 'tilt up' first")
