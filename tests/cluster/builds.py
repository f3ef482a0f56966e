"""The cluster's binaries and custom resource definitions from Go modules, pinned in go/<component>/go.mod and cached by their hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
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
_NO_DNS_PROVIDERS = ("github.com/go-acme/lego/v4", "providers/dns/zz_gen_dns_providers.go", "lego/zz_gen_dns_providers.go")


@dataclass(frozen=True, slots=True)
class Component:
    """Packages that are built together in go/<name>. `variables`: what the linker sets.

    `patch`: a module and a file of it that is replaced by a file of go/<name>.
    """

    name: str
    packages: tuple[str, ...]
    variables: tuple[str, ...] = ()
    patch: tuple[str, str, str] | None = None

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
    Component("coredns", (".",)),
    Component("compose", (".",)),
    Component("traefik", ("github.com/traefik/traefik/v3/cmd/traefik",), patch=_NO_DNS_PROVIDERS),
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
            for path in _module(f"{module}@{version}", MODULES / "crds").glob(_DEFINITIONS[module]):
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
    with tempfile.TemporaryDirectory(prefix="ragstone-build-") as scratch:
        patched = _patched(component, Path(scratch)) if component.patch else []
        _go(["build", *patched, *component.flags, "-o", f"{fresh}/", *component.packages], MODULES / component.name, _LIMIT)
    _keep(fresh, folder)
    print(f"  {component.name}: built in {time.monotonic() - began:.0f} s", flush=True)


def _patched(component: Component, scratch: Path) -> list[str]:
    """Copies the module, replaces the file, and returns the flag that makes Go build with the copy."""
    assert component.patch is not None
    module, path, replacement = component.patch
    folder, copy = MODULES / component.name, scratch / "module"
    run(["cp", "--recursive", "--no-preserve=mode", _module(module, folder), copy])
    shutil.copyfile(folder / replacement, copy / path)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(folder / name, scratch / name)
    _go(["mod", "edit", f"-replace={module}={copy}", str(scratch / "go.mod")], folder, _DOWNLOAD)
    return [f"-modfile={scratch / 'go.mod'}"]


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


def _module(name: str, folder: Path) -> Path:
    """Where a module that go.mod in `folder` pins was downloaded to; go.sum vouches for its contents."""
    return Path(json.loads(_go(["mod", "download", "-json", name], folder, _DOWNLOAD))["Dir"])


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
