"""The cluster's binaries and custom resource definitions from Go modules, pinned in go/<component>/go.mod and cached by their hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.layout import HERE, Layout
from tests.cluster.shell import ClusterError, run

MODULES = HERE / "go"
KUBERNETES = "v1.34.4"  # later ones refuse cgroup v1
_LIMIT = 3600.0  # seconds for one component, from nothing
_DOWNLOAD = 300.0
_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
_VERSIONED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
# Where the definitions lie in each module. Each costs the API server half a second: the generators of External Secrets are left out.
_DEFINITIONS = {
    "github.com/argoproj/argo-cd/v3": "manifests/crds/*.yaml",
    "github.com/cert-manager/cert-manager": "deploy/crds/*.yaml",
    "github.com/external-secrets/external-secrets": "config/crds/bases/external-secrets.io_*.yaml",
    "github.com/kedacore/keda/v2": "config/crd/bases/*.yaml",
    "github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd/*.yaml",
    "sigs.k8s.io/gateway-api": "config/crd/standard/*.yaml",
}


@dataclass(frozen=True, slots=True)
class Component:
    """Packages that are built together in go/<name>. `variables`: what the linker sets."""

    name: str
    packages: tuple[str, ...]
    variables: tuple[str, ...] = ()

    @property
    def flags(self) -> list[str]:
        return ["-trimpath", "-ldflags", " ".join(["-s", "-w", *[f"-X {each}" for each in self.variables]])]

    @property
    def key(self) -> str:
        return _hash(MODULES / self.name, *self.packages, *self.flags)


def _kubernetes_version() -> Iterator[str]:
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    for package in _VERSIONED:
        yield from (
            f"{package}.gitVersion={KUBERNETES}",
            f"{package}.gitMajor={major}",
            f"{package}.gitMinor={minor}",
            f"{package}.gitTreeState=clean",
        )


COMPONENTS = (
    Component(
        "kubernetes",
        (*(f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS), "./pause", "./provisioner"),
        tuple(_kubernetes_version()),
    ),
    Component("helm", ("helm.sh/helm/v4/cmd/helm",)),
    Component("coredns", ("github.com/coredns/coredns",)),
    Component("traefik", ("github.com/traefik/traefik/v3/cmd/traefik",)),
)


def binaries(layout: Layout) -> Path:
    """A folder with every binary under its name, built where the cache lacks it. Raises `ClusterError`."""
    together = _fresh(layout.cache / "bin" / "all")
    for component in COMPONENTS:
        folder = layout.cache / "bin" / f"{component.name}-{component.key}"
        if not folder.exists():
            _build(component, folder)
        for path in folder.iterdir():
            (together / path.name).symlink_to(path)
    return _keep(together, layout.cache / "bin" / "all")


def definitions(layout: Layout) -> Path:
    """A folder with every custom resource definition as YAML, one a file. Raises `ClusterError`."""
    folder = layout.cache / "definitions" / ("crds-" + _hash(MODULES / "crds", *_DEFINITIONS.values()))
    if not folder.exists():
        fresh = _fresh(folder)
        for module, version in pinned_definitions().items():
            for path in _module(f"{module}@{version}").glob(_DEFINITIONS[module]):
                if "\nkind: CustomResourceDefinition\n" in path.read_text("utf-8"):
                    shutil.copyfile(path, fresh / path.name)
        _keep(fresh, folder)
    return folder


def pinned_definitions() -> dict[str, str]:
    """Version by module path, as go/crds/go.mod requires them."""
    text = (MODULES / "crds" / "go.mod").read_text()
    return dict(re.findall(r"^\t(\S+) (v\S+)$", text, re.MULTILINE))


def _build(component: Component, folder: Path) -> None:
    began = time.monotonic()
    print(f"  {component.name}: building (minutes, the first time)", flush=True)
    fresh = _fresh(folder)
    _go(["build", *component.flags, "-o", f"{fresh}/", *component.packages], MODULES / component.name, _LIMIT)
    _keep(fresh, folder)
    print(f"  {component.name}: built in {time.monotonic() - began:.0f} s", flush=True)


def _fresh(folder: Path) -> Path:
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def _keep(fresh: Path, folder: Path) -> Path:
    """The finished folder gets its name; what had it, or was made from earlier pins, is removed."""
    name, dash, _ = folder.name.rpartition("-")
    for old in folder.parent.glob(f"{name}-*" if dash else folder.name):
        if old != fresh:
            shutil.rmtree(old)
    return fresh.rename(folder)


def _module(name: str) -> Path:
    """The folder of a module, whose contents go.sum vouches for."""
    return Path(json.loads(_go(["mod", "download", "-json", name], MODULES / "crds", _DOWNLOAD))["Dir"])


def _go(words: list[str], folder: Path, limit: float) -> str:
    if shutil.which("go") is None:
        raise ClusterError("Go is missing, from which the cluster's binaries are built: install Go 1.26 or newer and put it on PATH.")
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    return run(["nice", "-n", "10", "go", *words], cwd=folder, limit=limit, environment=environment)


def _hash(folder: Path, *more: str) -> str:
    digest = hashlib.sha256("\0".join(more).encode())
    for path in sorted([folder / "go.mod", folder / "go.sum", *folder.rglob("*.go")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
