"""Stands in for vLLM's API server where only its process matters: started by its command line, on its Unix socket. What vLLM itself does is `make test-vllm`'s.

`write_stand_in` writes a program that takes the place of the interpreter: `<program> -m vllm.entrypoints.openai.api_server --uds ...`. Its answers never end,
or never begin, where a message says so. Beside the program lies `started`, with a line of its arguments and one of its variables for each start.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

_ROOT = Path(__file__).parents[2]
ENDLESS = "For ever?"
SILENT = "Say nothing."
WINDOW = 4_096  # characters


def write_stand_in(path: Path) -> Path:
    """An executable file."""
    started = path.parent / "started"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(_ROOT)!r})\n"
        f"from tests.support.vllm_stand_in import main\nmain(sys.argv[1:], {str(started)!r})\n"
    )
    path.chmod(0o700)
    return path


def main(arguments: list[str], started: str) -> None:
    """Serves until it is ended. Ends at once with status 3 where a file `broken` lies beside the program."""
    with Path(started).open("a") as file:
        file.write(json.dumps(arguments) + "\n" + json.dumps(dict(os.environ)) + "\n")
    if Path(started).with_name("broken").exists():
        sys.exit(3)
    running = 0

    async def chat(request: Request) -> Response:
        asked = await request.json()
        said = "".join(message["content"] for message in asked["messages"])
        if len(said) > WINDOW:
            return JSONResponse({"error": {"message": "exceeds the maximum context length", "type": "BadRequestError", "code": 400}}, 400)
        if SILENT in said:
            await asyncio.sleep(3600)
        if not asked.get("stream"):
            return JSONResponse(
                {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Quartz [1]."}, "finish_reason": "stop"}]}
            )

        async def events() -> AsyncIterator[str]:
            nonlocal running
            running += 1
            try:
                while True:
                    yield (
                        "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "Quartz "}, "finish_reason": None}]}) + "\n\n"
                    )
                    await asyncio.sleep(0.02)
                    if ENDLESS not in said:
                        break
                yield "data: [DONE]\n\n"
            finally:
                running -= 1

        return StreamingResponse(events(), media_type="text/event-stream")

    def metrics(_: Request) -> Response:
        return PlainTextResponse(f"vllm:num_requests_running {running}\n")

    app = Starlette(
        routes=[
            Route("/health", lambda _: Response()),
            Route("/metrics", metrics),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ]
    )
    uvicorn.run(app, uds=arguments[arguments.index("--uds") + 1], log_level="error")
