"""Where the cluster tests run: the local cluster, kind, or the cluster of kubectl's current context."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Protocol

from tests.cluster import builds, cluster, node
from tests.cluster.images import build_images, build_with_docker
from tests.cluster.images.names import python_base
from tests.cluster.kubectl import Helm, Kubectl
from tests.cluster.layout import REPOSITORY, Layout
from tests.cluster.phases import Phases
from tests.cluster.shell import ClusterError, run

CHOICE = "RAGSTONE_CLUSTER"
GATEWAY = "RAGSTONE_CLUSTER_GATEWAY"
_KIND_CLUSTER = "ragstone"
_KIND_GATEWAY = "http://127.0.0.1:8080"
_KIND_UP = 900.0  # seconds; it pulls its node's image
_KIND_LOAD = 300.0
_PULL = 120.0


class Bed(Protocol):
    """A cluster to test on. Methods raise `ClusterError`, which says what to do."""

    name: str
    gateway_url: str  # where the gateway answers over HTTP, without a slash at the end
    index_address: str | None  # this machine's address for pods without Internet; None: pods reach the package index themselves
    kubectl: Kubectl
    helm: Helm

    def up(self, phases: Phases) -> None:
        """Builds what is not there yet; then the cluster runs, with ragstone's images and the gateway. Takes down what it began when it fails."""

    def running(self) -> bool:
        """Whether the cluster answers."""

    def down(self) -> None:
        """What `up` made is gone. Fine when nothing is there."""


class LocalBed:
    """Real components in namespaces of this machine."""

    name = "local"
    gateway_url = cluster.GATEWAY
    index_address: str | None = node.HOST_ADDRESS

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        programs = layout.cache / "bin" / "all"
        self.kubectl = Kubectl(programs / "kubectl", layout.kubeconfig)
        self.helm = Helm(programs / "helm", layout.run / "helm", layout.kubeconfig)

    def up(self, phases: Phases) -> None:
        cluster.refuse_second(self._layout)
        with phases.phase("build"):
            definitions, programs = builds.definitions(self._layout), builds.binaries(self._layout)
        with phases.phase("images"):
            images = build_images(self._layout.cache, programs)
        with phases.phase("up"):
            cluster.up(self._layout, programs, definitions, images)

    def running(self) -> bool:
        return node.running(self._layout) is not None

    def down(self) -> None:
        cluster.down(self._layout)


class KindBed:
    """The development cluster of `make kind-up`. One that ran before is used and left running."""

    name = "kind"
    gateway_url = _KIND_GATEWAY
    index_address: str | None = None

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._mine = layout.cache / "kind-is-ours"
        self.kubectl = Kubectl("kubectl", context=f"kind-{_KIND_CLUSTER}")
        self.helm = Helm("helm", layout.cache / "helm", context=f"kind-{_KIND_CLUSTER}")

    def up(self, phases: Phases) -> None:
        with phases.phase("images"):
            images = build_with_docker(self._layout.cache)
        with phases.phase("up"):
            if not self.running():
                self._mine.touch()
            try:
                run(["make", "-C", REPOSITORY, "kind-up"], limit=_KIND_UP)  # finishes what is not there yet
                for archive in images:
                    run(["kind", "load", "image-archive", archive, "--name", _KIND_CLUSTER], limit=_KIND_LOAD)
            except BaseException:
                self.down()
                raise

    def running(self) -> bool:
        return _KIND_CLUSTER in run(["kind", "get", "clusters"]).split()

    def down(self) -> None:
        if self._mine.exists():
            run(["make", "-C", REPOSITORY, "kind-down"], limit=_KIND_UP)
            self._mine.unlink()


class ContextBed:
    """The cluster of kubectl's current context: it must have a gateway, and reach images by their names. Nothing of it is changed but by the tests."""

    name = "context"
    index_address: str | None = None

    def __init__(self, layout: Layout) -> None:
        self.gateway_url = os.environ.get(GATEWAY, _KIND_GATEWAY).rstrip("/")
        self.kubectl = Kubectl("kubectl")
        self.helm = Helm("helm", layout.cache / "helm")

    def up(self, phases: Phases) -> None:
        with phases.phase("up"):
            if not self.running():
                raise ClusterError(
                    "The cluster of kubectl's current context does not answer: `kubectl config get-contexts` shows what there is."
                )
            if "gateway.networking.k8s.io" not in self.kubectl("api-versions"):
                raise ClusterError(
                    "The cluster of kubectl's current context lacks the Gateway API: apply k8s/namespaces.yaml, k8s/crds.sh and k8s/gateway first."
                )

    def running(self) -> bool:
        try:
            return self.kubectl("get", "--raw=/readyz") == "ok"
        except ClusterError:
            return False

    def down(self) -> None:
        """Nothing was made."""


def choose(layout: Layout) -> Bed:
    """The bed that $RAGSTONE_CLUSTER names; when it names none, kind where it works, otherwise the local cluster. Raises `ClusterError`."""
    beds: dict[str, Callable[[Layout], Bed]] = {"local": LocalBed, "kind": KindBed, "context": ContextBed}
    asked = os.environ.get(CHOICE, "")
    if asked in beds:
        return beds[asked](layout)
    if asked:
        raise ClusterError(f"{CHOICE}={asked} is unknown: use local, kind or context, or leave it out.")
    return KindBed(layout) if _kind_works() else LocalBed(layout)


def _kind_works() -> bool:
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    try:
        run(["docker", "info"])
        run(["docker", "pull", "--quiet", python_base()], limit=_PULL)
    except ClusterError as error:
        print(f"kind is here but Docker can't pull images, so the local cluster is used: {str(error).splitlines()[-1][:200]}", flush=True)
        return False
    return True
