"""A Docker daemon of our own, in namespaces of its own: when it ends, no process, mount, interface, iptables rule or cgroup is left."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.packages import ensure
from tests.cluster.shell import ClusterError, run, tail

CGROUP = f"ragstone-images-{os.getpid()}"  # below every controller
PACKAGES = ["docker.io", "runc", "debootstrap"]
_START_LIMIT = 60.0  # seconds
_STOP_LIMIT = 30.0
_SOCKET_LIMIT = 107  # bytes in the path of a Unix socket
_LONGEST_SOCKET = "containerd/containerd-debug.sock"  # below the run directory


@dataclass(frozen=True, slots=True)
class Docker:
    """The client of one daemon: that of `socket`, or, without one, that of the machine."""

    socket: Path | None = None

    def __call__(
        self, *arguments: str | Path, limit: float = 60.0, stdin: str | None = None, environment: Mapping[str, str] | None = None
    ) -> str:
        """Standard output of `docker ARGUMENTS`. Raises `ClusterError` when it fails or takes longer than `limit` seconds."""
        return run(["docker", *arguments], limit=limit, stdin=stdin, environment={**os.environ, **self.environment, **(environment or {})})

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes any Docker client speak to this daemon."""
        return {"DOCKER_HOST": f"unix://{self.socket}"} if self.socket else {}

    def has(self, image: str) -> bool:
        """Whether the daemon holds `image`."""
        try:
            self("image", "inspect", image)
        except ClusterError:
            return False
        return True


@contextmanager
def running(directory: Path) -> Iterator[Docker]:
    """Starts dockerd with all its files in `directory` (images and build cache stay there), and stops it. One at a time: a second waits.

    Raises `ClusterError` without root or Debian's packages, and with the daemon's last words when it does not come up.
    """
    ensure(PACKAGES)
    if os.geteuid() != 0:
        raise ClusterError("Building images here needs root, for dockerd mounts file systems: run this as root.")
    files = directory / "run"
    if len(os.fsencode(files / _LONGEST_SOCKET)) > _SOCKET_LIMIT:
        raise ClusterError(f"The path {files} is too long for the sockets of dockerd: set RAGSTONE_CLUSTER_CACHE to a shorter one.")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("  images: another build runs; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _daemon(directory, files)


def _daemon(directory: Path, files: Path) -> Iterator[Docker]:
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    (files / "daemon.json").write_text("{}")  # not the machine's own
    log = directory / "dockerd.log"
    with log.open("wb") as out:
        daemon = subprocess.Popen(_command(directory, files), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    docker = Docker(files / "docker.sock")
    try:
        _wait(docker, daemon, log)
        yield docker
    finally:
        _stop(daemon)
        _remove_cgroups()
        shutil.rmtree(files, ignore_errors=True)


def _command(directory: Path, files: Path) -> Sequence[str]:
    return [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        "dockerd",
        f"--data-root={directory / 'data'}",
        f"--exec-root={files}",
        f"--pidfile={files / 'dockerd.pid'}",
        f"--host=unix://{files / 'docker.sock'}",
        f"--config-file={files / 'daemon.json'}",
        f"--cgroup-parent=/{CGROUP}",
        *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        "--log-level=warn",
    ]


def _wait(docker: Docker, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while True:
        try:
            docker("version", "--format", "{{.Server.Version}}")
        except ClusterError as error:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise ClusterError(
                    f"dockerd did not come up: {error}\nIts last words:\n{tail(log.read_text('utf-8', 'replace'))}"
                ) from error
        else:
            return
        time.sleep(0.1)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    """Asks dockerd, the first process of its namespace, to stop; its end is the end of whatever it had started."""
    try:
        for child in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        daemon.wait(_STOP_LIMIT)
    except (OSError, subprocess.TimeoutExpired):
        daemon.kill()
        daemon.wait()


def _remove_cgroups() -> None:
    """From every hierarchy (with cgroup v1, one a controller). No process is in them any more."""
    for hierarchy in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        for folder, _, _ in os.walk(hierarchy / CGROUP, topdown=False):
            os.rmdir(folder)
