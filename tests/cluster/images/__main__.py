"""`python -m tests.cluster.images [BINARIES]`: builds the images into the cache directory and says how long each phase took.

Without BINARIES, the directory that holds coredns, pause and traefik, ragstone's own images alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cluster.images import build_images, build_own
from tests.cluster.layout import Layout
from tests.cluster.shell import ClusterError


def main(arguments: list[str]) -> int:
    """Exit status 0, or 2 with a sentence on standard error."""
    cache = Layout.default().cache
    try:
        built = build_images(cache, Path(arguments[0])) if arguments else build_own(cache)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    for path in built:
        print(f"{path} {path.stat().st_size / 2**20:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
