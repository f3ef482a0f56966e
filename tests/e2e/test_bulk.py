"""`ragstone up` with worker processes for bulk work: a big ingest and a new space, while the processes are killed, and the server once too."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import Running, start
from tests.support.tiny_encoder import WORDS, make_encoder

_PATIENCE = 240.0  # seconds
pytestmark = pytest.mark.long


def shards() -> list[int]:
    """Ids of the shards' processes of this machine that stage in this test's folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"bulk-shard" in words and str(_directory[0]).encode() in words:
                found.append(int(folder.name))
    return found


_directory: list[Path] = []


async def killed() -> int:
    """One shard's process, once there is one; its id."""
    async with asyncio.timeout(_PATIENCE):
        while not (living := shards()):  # noqa: ASYNC110 - they tell nothing
            await asyncio.sleep(0.02)
    os.kill(living[0], signal.SIGKILL)
    return living[0]


async def test_bulk_work_survives_kills_of_shards_and_of_the_server(tmp_path: Path) -> None:
    first, other = make_encoder(tmp_path / "model"), make_encoder(tmp_path / "other", seed=2)
    data = (tmp_path / "data").resolve()
    _directory[:] = [data]
    settings = {
        "DATA_DIR": str(data),
        "MODEL": str(first),
        "FURTHER_MODELS": f'["{other}"]',
        "PORT": "0",
        "BULK": '{"kind": "processes", "shards": 2, "least": 20, "window": 200, "nice": 5}',
    }
    documents = [
        {"path": f"{number:04}.txt", "text": f"{WORDS[number % 14]} {WORDS[number // 14 % 14]} number {number} flows."}
        for number in range(300)
    ]

    async def up() -> tuple[Running, httpx.AsyncClient]:
        server = await start(tmp_path / "up.log", "up", settings)
        return server, httpx.AsyncClient(base_url=server.url, timeout=_PATIENCE, trust_env=False)

    server, client = await up()
    try:
        assert (await client.post("/v1/collections", json={"name": "docs"})).status_code == 201
        answer = await client.post("/ingest", json={"collection": "docs", "documents": documents, "wait": False})
        assert answer.status_code == 202, answer.text
        job = answer.json()["job"]
        await killed()
        seen: list[Any] = []
        async with asyncio.timeout(_PATIENCE):
            while job["state"] not in ("published", "failed"):
                await asyncio.sleep(0.1)
                job = (await client.get(f"/v1/jobs/{job['id']}")).raise_for_status().json()["job"]
                seen += job["progress"]["shards"]
        assert job["state"] == "published", job
        assert job["result"]["stats"]["chunks_embedded"] == 300
        assert {shard["shard"] for shard in seen} == {0, 1}
        spaces = (await client.post("/v1/collections/docs/spaces", json={"model": "other", "workers": 2})).raise_for_status()
        assert spaces.json()["space"]["build"]["workers"] == 2
        await killed()
        assert shards()  # the other one, or the one that took its place
        await client.aclose()
        await server.stop(signal.SIGKILL)
        async with asyncio.timeout(_PATIENCE):
            while shards():  # noqa: ASYNC110 - they end with who started them
                await asyncio.sleep(0.05)
        server, client = await up()
        async with asyncio.timeout(_PATIENCE):
            while (space := (await client.get("/v1/collections/docs/spaces")).json()["spaces"][1])["state"] != "ready":  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        assert (space["build"]["chunks"], space["build"]["embedded"]) == (300, 300)
        switched = (
            await client.post(f"/v1/collections/docs/spaces/{space['id']}/switch", json={"wait": True, "timeout": _PATIENCE})
        ).json()
        assert switched["job"]["state"] == "published"
        assert list((data / "bulk").iterdir()) == []
    finally:
        await client.aclose()
        await server.stop(signal.SIGINT)
