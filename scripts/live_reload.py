"""Runs ragstone from a copy of its package that Tilt changes in the running pod, and starts it anew on SIGHUP.

The image's own files are read-only and its byte code is never compared with the source, so a live update cannot change them. This
runs as the container's first process instead: it copies the installed package into a writable directory, once, and puts that
directory before the installed packages.

usage: live_reload.py DIRECTORY COMMAND [ARGUMENT...]     (standard library alone: it runs inside the image)
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PACKAGE = "ragstone"
SIGNALS = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
STOP_SECONDS = 20  # above the 10 s that ragstone gives running requests


def copy_package(directory: Path) -> None:
    """Copies the installed package below `directory`, unless an earlier run of this pod did and Tilt has changed it since."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        sys.exit(f"{PACKAGE} is not installed for {sys.executable}.")
    copy = directory / PACKAGE
    if not copy.exists():
        unfinished = directory / f".{PACKAGE}"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(Path(found.origin).parent, unfinished, ignore=shutil.ignore_patterns("__pycache__"))
        unfinished.rename(copy)


def start(command: list[str], directory: Path) -> subprocess.Popen[bytes]:
    """Starts `command` with the copy before the installed package, and with no signal blocked."""
    # No byte code: it tells versions of a file apart by size and second, and two changes may fall into one second.
    environment = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(  # noqa: S603 - the command is the pod's own
        command,
        env=environment,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS),  # noqa: PLW1509 - this process has one thread
    )


def stop(child: subprocess.Popen[bytes]) -> int:
    """Ends the child, at once if it does not end in time; its exit status."""
    child.terminate()
    try:
        return child.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def main() -> int:
    """Runs the command until it ends or this process is told to; its exit status."""
    directory, command = Path(sys.argv[1]), sys.argv[2:]
    copy_package(directory)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = start(command, directory)
    reloaded = False
    while True:
        received = signal.sigwait(SIGNALS)
        if received == signal.SIGHUP:
            stop(child)
            print(f"{PACKAGE}: starting again with what changed", file=sys.stderr, flush=True)
            child = start(command, directory)
            reloaded = True
        elif received == signal.SIGCHLD:
            # After a reload a mistake in the code is likely: wait for the next change instead of ending the pod.
            if child.poll() is not None and not reloaded:
                return child.returncode
        else:
            return stop(child)


if __name__ == "__main__":
    sys.exit(main())
