"""One installed release of a profile in a namespace that enforces Pod Security "restricted", as its user would install it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from scripts.why_not_ready import why
from tests.cluster.api import Api
from tests.cluster.outage import Watch
from tests.cluster.shell import ClusterError

ROOT = Path(__file__).parents[2]
HANDBOOK = ROOT / "examples" / "handbook"
QUESTION, QUOTED = "Above which wind speed does Petrel not sail?", "34 knots"
KEYS_SECRET = "ragstone-api-keys"
GATEWAY = {"name": "ragstone", "namespace": "ragstone-gateway"}
_HELM_LIMIT = 600.0  # seconds; helm itself stops earlier
Run = Callable[..., str]  # a command's arguments to what it printed; raises when it fails


@dataclass
class Release:
    """`name` in `namespace`, reached under `host` through the gateway at `gateway_url`."""

    name: str
    namespace: str
    host: str
    gateway_url: str
    charts: Path
    kubectl: Run
    helm: Run
    command: Sequence[str]  # kubectl with its kubeconfig
    overlay: Mapping[str, Any]
    newer: str  # the tag of an image to upgrade to
    profile: str = "small"  # of charts/ragstone/values-*.yaml
    key: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)
    _clients: list[Api] = field(default_factory=list, repr=False)

    def make_namespace(self) -> None:
        """The namespace with Pod Security "restricted", and the keys' secret, as README tells people to make it."""
        self.make_bare_namespace()
        digest = hashlib.sha256(self.key.encode()).hexdigest()
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": KEYS_SECRET, "namespace": self.namespace},
            "stringData": {"api-keys": f"admin:admin:{digest}\n", "test-api-key": self.key},
        }
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(secret))

    def make_bare_namespace(self) -> None:
        """The namespace alone."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
        labels["ragstone.io/gateway"] = "admitted"
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(manifest))

    def install(self, *options: str) -> None:
        """Installs or upgrades the profile with the overlay, and waits until it is ready. Raises `ClusterError`."""
        self._helm_install("--wait", "--timeout", "5m", *options)

    def start(self, *options: str) -> None:
        """As `install`, without waiting."""
        self._helm_install(*options)

    def refused(self, *options: str) -> str:
        """What Helm says when it does not install."""
        try:
            self.start(*options)
        except ClusterError as error:
            return str(error)
        raise AssertionError(f"Helm installed {self.name} with {options}")

    def _helm_install(self, *options: str) -> None:
        chart = self.charts / "ragstone"
        command = ["upgrade", "--install", self.name, chart, "--namespace", self.namespace]
        values = ["--values", chart / f"values-{self.profile}.yaml", "--values", "-"]
        self.helm(*command, *values, *options, stdin=yaml.safe_dump(dict(self.overlay)), limit=_HELM_LIMIT)

    def uninstall(self) -> None:
        """Removes the release and its namespace, whatever state they are in."""
        for client in self._clients:
            client.close()
        self.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait", "--timeout", "120s", limit=150.0)

    def pods(self) -> list[dict[str, Any]]:
        """The release's running or starting pods (none that is being deleted, no test pods)."""
        found = json.loads(self.kubectl("get", "pods", "--namespace", self.namespace, "--output", "json"))["items"]
        mine = [pod for pod in found if pod["metadata"]["labels"].get("app.kubernetes.io/instance") == self.name]
        return [pod for pod in mine if "deletionTimestamp" not in pod["metadata"] and pod["metadata"].get("ownerReferences")]

    def api(self, key: str | None = None) -> Api:
        """A client of its own, with the admin's key or another; closed when the release is uninstalled."""
        self._clients.append(Api(self.gateway_url, self.host, self.key if key is None else key))
        return self._clients[-1]

    def until_ready(self, limit: float) -> None:
        """Until a request gets through. Raises TimeoutError."""
        api, deadline = self.api(), time.monotonic() + limit
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                api.get("/v1/info")
                return
            time.sleep(0.1)
        raise TimeoutError(f"{self.host} did not answer through the gateway within {limit:.0f} s")

    def watch(self, collection: str) -> Watch:
        """A watch that asks the handbook's question."""
        api = self.api()
        return Watch(lambda: QUOTED in api.ask(collection, QUESTION)["answer"]["text"])

    def why(self) -> list[str]:
        """What keeps the namespace's pods from being ready, in sentences."""
        return why(self.namespace, self.command)

    def python(self, pod: str, program: str, container: str = "orchestrator") -> str:
        """What a program prints that runs in the pod's own container."""
        place = ("--namespace", self.namespace, pod, "--container", container)
        return self.kubectl("exec", *place, "--", "/opt/ragstone/bin/python", "-c", program)

    def python_on_data(self, program: str) -> None:
        """Runs a program in a pod of its own that mounts the release's data volume, as the release's user."""
        [deployment] = self._deployments()
        spec = deployment["spec"]["template"]["spec"]
        container = spec["containers"][0]
        once = {key: container[key] for key in ("image", "imagePullPolicy", "securityContext", "volumeMounts")}
        once |= {"name": "once", "command": ["/opt/ragstone/bin/python", "-c", program]}
        kept = {key: spec[key] for key in ("securityContext", "volumes", "automountServiceAccountToken")}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "once", "namespace": self.namespace}}
        pod |= {"spec": kept | {"restartPolicy": "Never", "containers": [once]}}
        self.kubectl("create", "--filename", "-", stdin=json.dumps(pod))
        done = "--for=jsonpath={.status.phase}=Succeeded"
        self.kubectl("wait", done, "--namespace", self.namespace, "pod/once", "--timeout", "60s", limit=90.0)
        self.kubectl("delete", "pod", "--namespace", self.namespace, "once", "--wait", limit=90.0)

    def restart(self) -> None:
        """New pods at once, without the pause that Kubernetes makes after failed starts."""
        for pod in self.pods():
            self.kubectl("delete", "pod", "--namespace", self.namespace, pod["metadata"]["name"], "--wait", limit=120.0)

    def delete_pod(self) -> None:
        """With its grace, as a drain of its node does it."""
        [pod] = self.pods()
        self.kubectl("delete", "pod", "--namespace", self.namespace, pod["metadata"]["name"], "--wait=false")

    def delete_pod_at_once(self) -> None:
        """Without any grace."""
        [pod] = self.pods()
        self.kubectl("delete", "pod", "--namespace", self.namespace, pod["metadata"]["name"], "--wait=false", "--grace-period=0", "--force")

    def kill_process(self) -> None:
        """SIGKILL from this machine, as the kernel's memory killer does it; where the node is another machine, the pod is deleted at once."""
        [pod] = self.pods()
        uid = pod["metadata"]["uid"]
        found = [one for one in Path("/proc").iterdir() if one.name.isdigit() and _serves(one, uid)]
        for one in found:
            os.kill(int(one.name), signal.SIGKILL)
        if not found:
            self.delete_pod_at_once()

    def upgrade(self) -> None:
        """To the newer image."""
        self.install("--set", f"orchestrator.image.tag={self.newer}")

    def roll_back(self) -> None:
        """To the revision before, with `helm rollback`."""
        self.helm("rollback", self.name, "--namespace", self.namespace, "--wait", "--timeout", "5m", limit=_HELM_LIMIT)

    def _deployments(self) -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/instance={self.name}"
        found = self.kubectl("get", "deployments", "--namespace", self.namespace, "--selector", selector, "--output", "json")
        return list(json.loads(found)["items"])


def _serves(process: Path, pod_uid: str) -> bool:
    """Whether the process is `ragstone up` of the pod: its cgroup's path holds the pod's uid."""
    try:
        place = (process / "cgroup").read_text().replace("_", "-")
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return False
    return pod_uid in place and b"up" in words
