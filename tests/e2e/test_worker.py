"""`ragstone worker` as a process over NATS and MongoDB's protocol, while lakeFS and Qdrant are away: it waits for them, says so, and ends gracefully."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.servers.nats import free_port
from tests.support.processes import start
from tests.support.tiny_encoder import make_encoder


async def test_a_worker_starts_says_what_is_missing_and_ends_on_sigterm(tmp_path: Path, nats_url: str, mongo_url: str) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    settings = {
        "DATA_DIR": str(tmp_path / "data"),
        "MODEL": str(await asyncio.to_thread(make_encoder, tmp_path / "model")),
        "MODELS": str(tmp_path / "models"),
        "CATALOG__KIND": "mongo",
        "CATALOG__URI": mongo_url,
        "CATALOG__DATABASE": f"test-{tmp_path.name[:40]}",
        "VERSIONS__KIND": "lakefs",
        "VERSIONS__ENDPOINT": away,
        "VERSIONS__ACCESS_KEY_ID": "key",
        "VERSIONS__SECRET_ACCESS_KEY": "secret",
        "VERSIONS__STORAGE_NAMESPACE": "local://tests",
        "INDEX__KIND": "qdrant",
        "INDEX__URL": away,
        "QUEUE__KIND": "nats",
        "QUEUE__URL": nats_url,
        "QUEUE__STREAM_PREFIX": "worker-e2e-",
    }
    worker = await start(tmp_path / "worker.log", "worker", settings, "--management-port", "0", "--grace", "5")
    try:
        async with httpx.AsyncClient(base_url=worker.told["management"], timeout=30, trust_env=False) as management:
            assert (await management.get("/healthz")).status_code == 200
            answer = await management.get("/readyz")
            assert answer.status_code == 503
            assert {"index", "versions"} & set(answer.json()["field"].replace(" ", "").split(","))
            assert "catalog" not in answer.json()["field"]
            assert "queue" not in answer.json()["field"]
    finally:
        status = await worker.stop()
    assert status == 0, (tmp_path / "worker.log").read_text("utf-8")
