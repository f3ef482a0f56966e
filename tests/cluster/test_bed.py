"""The local cluster keeps its promises: one at a time, nothing left behind goes unseen, volumes like new disks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import node
from tests.cluster.bed import Bed
from tests.cluster.images.names import ORCHESTRATOR
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import Layout
from tests.cluster.leftovers import leftovers, snapshot
from tests.cluster.phases import Phases
from tests.cluster.shell import ClusterError, run
from tests.cluster.waits import reasons, wait_for

_NAMESPACE = "ragstone-bed"
_LIMIT = 60.0  # seconds
_LOOK = """
import os, socket
print(sorted(os.listdir("/data")), oct(os.stat("/data").st_mode), os.stat("/data").st_gid, os.stat("/data/lost+found").st_uid)
print(socket.gethostbyname("kubernetes.default"))
for name in ("example.invalid", "huggingface.co"):
    try:
        socket.gethostbyname(name)
    except OSError as error:
        print(error)
"""


@pytest.fixture(autouse=True)
def local(bed: Bed) -> None:
    """These are promises of the local cluster alone."""
    if bed.name != "local":
        pytest.skip("another cluster, which is not ours to test")


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    kubectl("create", "namespace", _NAMESPACE)
    yield _NAMESPACE
    kubectl("delete", "namespace", _NAMESPACE, "--wait", limit=120.0)


def test_a_second_cluster_is_refused(bed: Bed) -> None:
    with pytest.raises(ClusterError, match="A cluster runs already"):
        bed.up(Phases())
    assert bed.running()


def test_whatever_is_left_behind_is_seen(tmp_path: Path) -> None:
    cache = Layout.default().cache
    before = snapshot(cache)
    group = Path("/sys/fs/cgroup/pids") / f"{node.CGROUP}-test"
    sleeper = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "600"])
    try:
        run(["mount", "-t", "tmpfs", "tmpfs", tmp_path])
        run(["ip", "link", "add", "ragstone9", "type", "bridge"])
        group.mkdir()
        left = leftovers(before, cache)
    finally:
        sleeper.kill()
        sleeper.wait()
        run(["umount", tmp_path])
        run(["ip", "link", "delete", "ragstone9"])
        group.rmdir()
    for sign in (f"mounts: tmpfs tmpfs rw on {tmp_path}", "interfaces: ragstone9", f"cgroups: {group}", "sleep (started at"):
        assert any(sign in line for line in left), (sign, left)


def test_a_pod_gets_a_volume_like_a_new_disk_and_dns_that_knows_the_cluster_alone(kubectl: Kubectl, namespace: str) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    container = {
        "name": "look",
        "image": ORCHESTRATOR,
        "imagePullPolicy": "Never",
        "command": ["/opt/ragstone/bin/python", "-c", _LOOK],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {"fsGroup": 65532},
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    for kind, name, spec in (("PersistentVolumeClaim", "data", claim), ("Pod", "look", pod)):
        manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        kubectl("create", "--namespace", namespace, "--filename", "-", stdin=json.dumps(manifest))
    wait_for("the pod", lambda: _phase(kubectl, namespace) == "Succeeded", _LIMIT, why=lambda: reasons(kubectl, namespace))
    volume = kubectl.json("get", "persistentvolumeclaim", "--namespace", namespace, "data")["spec"]["volumeName"]
    assert kubectl("logs", "--namespace", namespace, "look").splitlines() == [
        "['lost+found'] 0o42775 65532 0",
        "10.96.0.1",
        "[Errno -2] Name or service not known",
        "[Errno -2] Name or service not known",
    ]
    kubectl("delete", "--namespace", namespace, "pod/look", "persistentvolumeclaim/data", "--wait", limit=_LIMIT)
    folder = Layout.default().run / "node" / "lib" / "ragstone-volumes" / volume
    wait_for("the volume's directory to go", lambda: not folder.exists(), _LIMIT)


def _phase(kubectl: Kubectl, namespace: str) -> str:
    return str(kubectl.json("get", "pod", "--namespace", namespace, "look")["status"]["phase"])
