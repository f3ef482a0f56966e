"""Model files from the Hugging Face hub, or a mirror of it, over HTTPS."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from ragstone.adapters.model_presets import ModelFile, Preset
from ragstone.adapters.model_sources import OnProgress, PullProgress
from ragstone.domain.errors import Forbidden, TooLarge, Unavailable

DEFAULT_HUB = "https://huggingface.co"
_BLOCK = 1 << 20  # bytes
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)  # seconds


class HubSource:
    """The hub's `resolve` route (redirects to its CDN are followed, never from https to http)."""

    def __init__(self, base: str | None = None) -> None:
        self._base = (base or os.environ.get("HF_ENDPOINT") or DEFAULT_HUB).rstrip("/")
        self.name = "hub"

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=5) as client:
            for file in preset.files:
                target = folder / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                url = f"{self._base}/{preset.repository}/resolve/{preset.revision}/{file.path}"
                try:
                    self._download(client, url, file, target, on_progress)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise Unavailable(f"The model hub did not serve {file.path}: {str(error) or type(error).__name__}.") from error

    def _download(self, client: httpx.Client, url: str, file: ModelFile, target: Path, on_progress: OnProgress) -> None:
        with client.stream("GET", url) as response, target.open("wb") as out:
            if self._base.startswith("https:") and any(each.url.scheme != "https" for each in (*response.history, response)):
                raise Forbidden(f"The model hub redirected {file.path} to an address without TLS; nothing was installed.")
            if response.status_code != httpx.codes.OK:
                raise Unavailable(f"The model hub answered {response.status_code} for {file.path}.")
            received = 0
            for block in response.iter_bytes(_BLOCK):
                received += len(block)
                if received > file.size:
                    raise TooLarge(f"{file.path} is larger than the {file.size} bytes that are accepted; nothing was installed.")
                out.write(block)
                on_progress(PullProgress(self.name, file.path, received, _length(response) or file.size))


def _length(response: httpx.Response) -> int | None:
    value = response.headers.get("content-length", "")
    return int(value) if value.isdigit() and "content-encoding" not in response.headers else None
