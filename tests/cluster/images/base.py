"""The base images: pulled, or, where no registry can be reached, made of Debian's packages under the name that FROM expects."""

from __future__ import annotations

import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.images.dockerd import Docker
from tests.cluster.shell import ClusterError, run

SUITE = "bookworm"
INCLUDED = ("ca-certificates", "python3", "python3-venv")
_LIMIT = 1200.0  # seconds for debootstrap on a busy machine
_LEFT_OUT = (
    "./proc/*",
    "./sys/*",
    "./dev/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
)
BUILDER = "ragstone-cluster/builder:local"
# What of pip's settings says where packages come from; anything else is a matter of the machine's taste.
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout")


def ensure_base(docker: Docker, image: str) -> None:
    """Makes `image` known to the daemon. Raises `ClusterError` when it can neither be pulled nor made."""
    if docker.has(image):
        return
    try:
        docker("pull", "--quiet", image, limit=300.0)
    except ClusterError as error:
        print(f"  {image} can't be pulled here: a stand-in is made of Debian's packages ({str(error).splitlines()[-1][:160]})", flush=True)
        _make(docker, image)


def ensure_builder(docker: Docker, base: str) -> str:
    """Makes the image of the build stages: `base` with this machine's package index and certificate authorities. Returns its name."""
    with tempfile.TemporaryDirectory(prefix="ragstone-builder-") as folder:
        context = Path(folder)
        (context / "ca-certificates.crt").write_bytes(authorities().read_bytes())
        (context / "pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n" + pip_settings())
        (context / "Dockerfile").write_text(f"FROM {base}\nCOPY ca-certificates.crt /etc/ssl/certs/\nCOPY pip.conf /etc/\n")
        docker("build", "--quiet", "--tag", BUILDER, context, limit=300.0, environment={"DOCKER_BUILDKIT": "0"})
    return BUILDER


def _make(docker: Docker, image: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ragstone-base-") as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}", SUITE, str(root), *_mirror()]
        run(command, limit=_LIMIT)
        archive = Path(folder) / "root.tar"
        run(["tar", "-C", root, *(f"--exclude={pattern}" for pattern in _LEFT_OUT), "-cf", archive, "."], limit=300.0)
        docker("import", "--change", 'CMD ["python3"]', archive, image, limit=300.0)


def _mirror() -> list[str]:
    """The mirror that apt has for the suite; none of them: debootstrap's own."""
    lines = run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]).splitlines()
    return [line.split()[1] for line in lines if line.split()[:1] == [SUITE]][:1]


def authorities() -> Path:
    """This machine's bundle of certificate authorities. Raises `ClusterError` when there is none."""
    place = ssl.get_default_verify_paths()  # honours SSL_CERT_FILE
    if place.cafile is None or not Path(place.cafile).is_file():
        raise ClusterError("This machine has no bundle of certificate authorities: install ca-certificates, or set SSL_CERT_FILE.")
    return Path(place.cafile)


def pip_settings() -> str:
    """What of this machine's pip settings says where packages come from, as lines of a pip.conf."""
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in asked.stdout.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in _PIP_OPTIONS:
            found[option.removeprefix("default-")] = value.strip().strip("'\"")
    return "".join(f"{name} = {value}\n" for name, value in found.items())
