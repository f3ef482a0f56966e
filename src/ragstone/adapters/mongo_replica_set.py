"""A replica set of one, for a MongoDB server that was just made on this machine."""

from __future__ import annotations

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

_WITHIN = 1_000  # milliseconds


async def takes_writes(port: int) -> bool:
    """Whether the server at 127.0.0.1 takes writes; a new `mongod --replSet` is made the only member of its set first."""
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(
        f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=_WITHIN, connectTimeoutMS=_WITHIN
    )
    try:
        hello = await client.admin.command("hello")
        if hello["isWritablePrimary"]:
            return True
        if "setName" not in hello:
            await client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]})
    except PyMongoError:  # not up yet, or initiated before and on its way
        return False
    finally:
        await client.close()
    return False
