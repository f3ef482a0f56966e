"""A process that works on what others accept: `python -m tests.behaviour.worker`, with its settings as a line of JSON. It ends when its stdin does."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.behaviour.worlds import opened


async def main() -> None:
    line = await asyncio.to_thread(sys.stdin.readline)
    async with opened(json.loads(line)):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
