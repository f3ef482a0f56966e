"""The dev profile as a release: its overlay, its pods, its workers, its backups."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.charts.released import quantity
from tests.cluster.api import Api
from tests.cluster.installing import KEYS_SECRET, Release

_READY = "300s"
_STORE = "ragstone-object-store"
_SECRET = "backup-source"


@dataclass(frozen=True)
class DevProfile:
    """A release of it, which is installed, or not yet."""

    release: Release

    @classmethod
    def of(cls, release: Release, settings: Mapping[str, Any]) -> DevProfile:
        """`release` with the profile, and `settings` over its overlay. Workers have the model in their image, so that another one begins at once."""
        orchestrator = dict(release.overlay["orchestrator"])
        embedding = {"extraEnv": orchestrator["extraEnv"], "networkPolicy": orchestrator["networkPolicy"]}  # it pulls the model, too
        del orchestrator["apiKeys"]  # the profile's own
        sooner = [
            {"name": "RAGSTONE_QUEUE__ACK_WAIT", "value": "5"},  # seconds; a worker that was killed is noticed by that
            # Workers are killed more often than a job is tried by default, and one death may cost two tries: the next worker finds the lease still held.
            {"name": "RAGSTONE_QUEUE__MAX_DELIVER", "value": "100"},
        ]
        orchestrator["extraEnv"] = [*orchestrator["extraEnv"], *sooner]
        worker = {"model": {"baked": True}, "extraEnv": sooner}
        overlay = {"orchestrator": orchestrator, "worker": worker, "embedding": embedding, **settings}
        return cls(replace(release, profile="dev", overlay=overlay))

    def install(self, *options: str) -> None:
        """Into a namespace where there is nothing but what `settings` name; the API's key is the one that the installation made."""
        self.release.install(*options)
        secret = self._get("secret", KEYS_SECRET)
        self.release.key = base64.b64decode(secret["data"]["test-api-key"]).decode()

    def api(self) -> Api:
        """A client of its own, with the admin's key."""
        return self.release.api()

    def pods(self, component: str = "") -> list[dict[str, Any]]:
        """Those that run or are to run, without those of jobs."""
        served = [pod for pod in self.release.pods() if pod["metadata"]["ownerReferences"][0]["kind"] != "Job"]
        return [pod for pod in served if component in ("", pod["metadata"]["labels"]["app.kubernetes.io/name"])]

    def restart(self, component: str) -> None:
        """One pod after another, as `kubectl rollout restart` does it; returns when all are new."""
        place = ("--namespace", self.release.namespace, f"deployment/ragstone-{component}")
        self.release.kubectl("rollout", "restart", *place)
        self.release.kubectl("rollout", "status", *place, "--timeout", _READY, limit=330.0)

    def scale(self, component: str, replicas: int) -> None:
        """Asks for so many pods."""
        place = ("--namespace", self.release.namespace, f"deployment/ragstone-{component}")
        self.release.kubectl("scale", *place, f"--replicas={replicas}")

    def kill(self, component: str) -> None:
        """Deletes its pods without any grace."""
        for pod in self.pods(component):
            options = ("--grace-period=0", "--force", "--ignore-not-found", "--wait=false")
            self.release.kubectl("delete", "pod", "--namespace", self.release.namespace, pod["metadata"]["name"], *options)

    def metric(self, component: str, line: str) -> float:
        """The sum over its pods of what its metrics say in the lines that begin with `line`."""
        program = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8643/metrics', timeout=10).read().decode())"
        told = [self.release.python(pod["metadata"]["name"], program, component) for pod in self.pods(component)]
        return sum(float(one.rpartition(" ")[2]) for text in told for one in text.splitlines() if one.startswith(line))

    def upgrade(self) -> None:
        """To the newer image."""
        self.release.install("--set", f"orchestrator.image.tag={self.release.newer}")

    def worker_is_ready(self) -> bool:
        """Whether one works."""
        conditions = [pod["status"].get("conditions", []) for pod in self.pods("worker")]
        return any(one["type"] == "Ready" and one["status"] == "True" for found in conditions for one in found)

    def kill_workers(self) -> None:
        """SIGKILL, and another pod at once: Kubernetes would wait longer after each death of the same one."""
        for pod in self.pods("worker"):
            for process in Path("/proc").iterdir():
                with suppress(OSError):  # it has ended, or is none
                    place = (process / "cgroup").read_text().replace("_", "-")
                    if pod["metadata"]["uid"] in place and b"worker" in (process / "cmdline").read_bytes().split(b"\0"):
                        os.kill(int(process.name), signal.SIGKILL)
        self.kill("worker")

    def back_up(self) -> str:
        """Runs the job of the schedule now; the backup's name."""
        place = ("--namespace", self.release.namespace)
        self.release.kubectl("create", "job", *place, "backup-now", "--from=cronjob/ragstone-backup")
        self.release.kubectl("wait", *place, "--for=condition=Complete", "job/backup-now", "--timeout=180s", limit=200.0)
        told = self.release.kubectl("logs", *place, "job/backup-now")
        found = re.search(r"Backed up as (\w+)", told)
        assert found, told
        return found[1]

    def keep_only_the_object_store(self) -> None:
        """Makes room for another release beside it."""
        place = ("--namespace", self.release.namespace)
        for kind in ("deployment", "statefulset"):
            found = json.loads(self.release.kubectl("get", kind, *place, "--output=json"))["items"]
            for name in (one["metadata"]["name"] for one in found):
                if name != _STORE:
                    self.release.kubectl("scale", kind, *place, name, "--replicas=0")

    def read_backups_of(self, source: DevProfile) -> dict[str, Any]:
        """The settings of `backup` for a restore from another release's object store; its keys are copied here."""
        keys = source._get("secret", _STORE)["data"]
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _SECRET, "namespace": self.release.namespace}, "data": keys}
        self.release.kubectl("apply", "--filename", "-", stdin=json.dumps(secret))
        endpoint = f"http://{_STORE}.{source.release.namespace}.svc:8333"
        return {"destination": {"url": "s3://ragstone-backups", "endpoint": endpoint, "existingSecret": _SECRET}}

    def wait_for_restore(self) -> None:
        """Until the job of the restore is done."""
        place = ("--namespace", self.release.namespace, "--selector", "app.kubernetes.io/name=backup")
        self.release.kubectl("wait", *place, "--for=condition=Complete", "job", "--timeout=300s", limit=330.0)

    def check_up(self) -> None:
        """`ragstone doctor --repair`. Raises `ClusterError` when it leaves findings."""
        place = ("--namespace", self.release.namespace, "deployment/ragstone-orchestrator", "--container", "orchestrator")
        program = ("env", f"RAGSTONE_API_KEY={self.release.key}", "/opt/ragstone/bin/ragstone", "doctor", "--repair", "--server")
        self.release.kubectl("exec", *place, "--", *program, "http://127.0.0.1:8642", limit=120.0)

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        return dict(json.loads(self.release.kubectl("get", kind, "--namespace", self.release.namespace, name, "--output=json")))


def requested(pod: Mapping[str, Any], resource: str) -> Decimal:
    """By the scheduler's rule: of the containers and of those that run beside them."""
    beside = [one for one in pod["spec"].get("initContainers", []) if one.get("restartPolicy") == "Always"]
    return sum((quantity(one["resources"]["requests"][resource]) for one in [*pod["spec"]["containers"], *beside]), Decimal(0))
