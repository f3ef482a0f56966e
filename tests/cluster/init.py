"""First process of the node's namespaces: gives them their own view of the file system, then buries the dead. Standard library only.

Usage: python init.py RUN_DIRECTORY HOSTNAME
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

# The kubelet wants these values and would set them for the whole machine; in the node it finds them as files that say so already.
_SYSCTLS = {"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *[str(word) for word in words]], check=True)


def _cgroups() -> None:
    """Each hierarchy of cgroup v1, mounted anew: in this cgroup namespace its root is the node's own cgroup."""
    subprocess.run(["umount", "--recursive", "/sys"], check=True)
    _mount("-t", "sysfs", "sysfs", "/sys")
    root = Path("/sys/fs/cgroup")
    _mount("-t", "tmpfs", "-o", "mode=755", "cgroup", root)
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        controllers = line.split(":")[1]
        if not controllers:
            continue  # version 2
        folder = root / controllers.removeprefix("name=")
        folder.mkdir()
        _mount("-t", "cgroup", "-o", f"none,{controllers}" if controllers.startswith("name=") else controllers, "cgroup", folder)
        for each in controllers.split(","):
            if each != folder.name and "=" not in each:
                (root / each).symlink_to(folder.name)


def _view(run: Path, hostname: str) -> None:
    node = run / "node"
    for name in ("lib", "log", "tmp"):
        (node / name).mkdir(parents=True)
    (node / "lib" / "kubelet").mkdir()
    (node / "hosts").write_text(f"127.0.0.1 localhost\n{os.environ['NODE_ADDRESS']} {hostname}\n")
    _mount("--bind", node / "lib", "/var/lib")
    _mount("--bind", node / "log", "/var/log")
    _mount("--bind", node / "hosts", "/etc/hosts")
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for name, value in _SYSCTLS.items():
        stand_in = node / name.replace("/", ".")
        stand_in.write_text(value + "\n")
        _mount("--bind", stand_in, Path("/proc/sys") / name)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def main() -> None:
    """Never returns: the namespaces end with this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    run, hostname = Path(sys.argv[1]), sys.argv[2]
    socket.sethostname(hostname)
    _cgroups()
    _view(run, hostname)
    _mount("--make-rshared", "/")  # volumes that the kubelet mounts must be seen by containerd
    (run / "ready").touch()
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            continue


main()
