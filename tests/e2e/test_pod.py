"""`ragstone up` as a pod runs it: stopped in the middle of things, from directories that are not its own, as a user without a name."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ragstone.adapters.key_file import new_key
from tests.e2e.test_cli import PROGRAM, WITHIN, environment
from tests.support.chat_server import Call, chat_server

pytestmark = pytest.mark.xdist_group("e2e-cli")
DOCUMENTS = [{"path": f"{n}.txt", "text": f"Note {n} is about quartz, feldspar and mica.\n\n" * 4} for n in range(16)]


@dataclass
class Server:
    """A running `ragstone up`: clients of its two ports, and what it says on stderr."""

    process: asyncio.subprocess.Process
    api: httpx.AsyncClient
    management: httpx.AsyncClient

    async def unready(self) -> str:
        """What /readyz says is missing, once it does."""
        while True:
            answer = await self.management.get("/readyz")
            if answer.status_code != 200:
                return str(answer.json()["field"])

    async def refuses(self) -> None:
        """Returns once nobody can connect to the API any more."""
        while True:
            try:
                _, writer = await asyncio.open_connection(self.api.base_url.host, self.api.base_url.port)
            except ConnectionRefusedError:
                return
            writer.close()

    async def ended(self) -> tuple[int, list[str]]:
        """Its exit status and the events of its log, each a JSON line."""
        _, said = await asyncio.wait_for(self.process.communicate(), 60)
        return self.process.returncode or 0, [json.loads(line)["event"] for line in said.splitlines()]


@asynccontextmanager
async def up(home: Path, **variables: str) -> AsyncIterator[Server]:
    """With keys, on every address; `variables` are settings."""
    key, line = new_key("tester", "admin")
    keys = home.with_name("keys")
    await asyncio.to_thread(keys.write_text, line.text())
    settings = {"HOST": "0.0.0.0", "PORT": "0", "MANAGEMENT_PORT": "0", "API_KEYS_FILE": str(keys), "DATA_DIR": str(home), **variables}
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "up",
        "--json",
        env=environment() | {f"RAGSTONE_{name}": value for name, value in settings.items()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line_out = await asyncio.wait_for(process.stdout.readline(), WITHIN)
        assert line_out, (await process.communicate())[1].decode()
        told = json.loads(line_out)
        bearer = {"Authorization": f"Bearer {key}"}
        async with (
            httpx.AsyncClient(base_url=told["url"], headers=bearer, timeout=60, trust_env=False) as api,
            httpx.AsyncClient(base_url=told["management"], timeout=60, trust_env=False) as management,
        ):
            yield Server(process, api, management)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_stop_in_the_middle_loses_no_answer_and_no_document(tmp_path: Path) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        await call.start()
        await call.delta("Quartz ")
        asked.set()
        await go_on.wait()
        await call.delta("is a mineral [1].", "stop")
        await call.event("[DONE]")

    async with chat_server(slow) as chat:
        generator = {"GENERATOR__KIND": "openai", "GENERATOR__BASE_URL": chat.base_url, "GENERATOR__MODEL": "m"}
        async with up(tmp_path / "data", **generator) as server:
            first = {"collection": "notes", "create": True, "documents": DOCUMENTS[:1]}
            assert (await server.api.post("/ingest", json=first)).status_code == 200
            question = {"collection": "notes", "question": "What is note 0 about?", "abstain": False}
            answering = asyncio.create_task(server.api.post("/query", json=question))
            await asyncio.wait_for(asked.wait(), 60)
            rest = {"collection": "notes", "documents": DOCUMENTS[1:], "wait": False}
            accepted = await server.api.post("/ingest", json=rest)
            assert accepted.status_code == 202
            assert (await server.management.get("/readyz")).status_code == 200

            server.process.send_signal(signal.SIGTERM)
            assert await server.unready() == "server"
            await server.refuses()
            go_on.set()
            answer = await answering
            assert (answer.status_code, answer.json()["answer"]["text"]) == (200, "Quartz is a mineral [1].")
            status, events = await server.ended()
            assert (status, [event.split(";")[0] for event in events]) == (0, ["ready", "Stopping", "Stopped."])

    async with up(tmp_path / "data") as server:
        job = accepted.json()["job"]["id"]
        async with server.api.stream("GET", f"/v1/jobs/{job}/events") as watched:
            await watched.aread()
        done = (await server.api.get(f"/v1/jobs/{job}")).json()["job"]
        assert done["state"] == "published"
        collection = (await server.api.get("/v1/collections/notes")).json()
        assert collection["documents"] == len(DOCUMENTS)
        logged = (await server.api.get("/v1/interactions")).json()["interactions"]
        assert [one["principal"] for one in logged] == ["tester"]


async def test_a_signal_ends_a_command_that_a_shell_put_into_the_background() -> None:
    """Shells start those with SIGINT ignored."""
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from ragstone.cli import main; "
        "main.build = lambda: lambda: os.kill(os.getpid(), signal.SIGTERM); main.main()"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == -signal.SIGINT, said


async def test_a_signal_before_there_is_anything_to_stop_ends_the_command() -> None:
    """As the first process of a container it would otherwise not even be killed by SIGTERM."""
    code = (
        "import os, signal; from ragstone.cli import main; main.build = lambda: lambda: os.kill(os.getpid(), signal.SIGTERM); main.main()"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == -signal.SIGINT, said
