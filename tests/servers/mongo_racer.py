"""A process that asks for the lease on a job, or for a lock: `python -m tests.servers.mongo_racer URL DATABASE JOB HOLDER`; prints the attempt, or 0."""

from __future__ import annotations

import asyncio
import sys

from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.domain.errors import Busy
from tests.servers import mongo


async def main(url: str, name: str, job: str, holder: str) -> None:
    async with mongo.database(url, name) as database:
        catalog = MongoCatalog(database, mongo.dependency())
        try:
            attempt = (await catalog.acquire(job, holder, 60.0)).attempt
        except Busy:
            attempt = 0
        print(attempt, int(await catalog.hold("janitor", holder, 60.0)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
