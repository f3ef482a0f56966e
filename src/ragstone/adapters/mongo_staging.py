"""Staging area in MongoDB's GridFS: a file is `<job>/<digest>/<put>`, and there only once its last bytes are."""

from __future__ import annotations

import re
from contextlib import suppress
from uuid import uuid4

import gridfs
from gridfs.errors import CorruptGridFile, FileExists, NoFile

from ragstone.adapters.mongo import MongoAdapter
from ragstone.adapters.mongo_schema import Database, Document
from ragstone.domain.documents import checksum
from ragstone.domain.errors import InternalError, NotFound

_BUCKET = "staging"
_FILES, _CHUNKS = f"{_BUCKET}.files", f"{_BUCKET}.chunks"
_CHUNK = 2**20  # bytes


class GridFsStaging(MongoAdapter):
    """Implements `Staging`. Bytes are read back only when they still have their digest; what of a put is left that never ended goes with its job."""

    async def put(self, job: str, content: bytes) -> str:
        digest = checksum(content)
        prefix = f"{_name(job)}/{digest}/"

        async def work(db: Database) -> None:
            while await db[_FILES].find_one({"_id": _under(prefix)}, {"_id": 1}) is None:
                name = f"{prefix}{uuid4().hex}"  # another put of the same bytes at the same time writes beside, not into it
                with suppress(
                    FileExists
                ):  # the driver wrote a piece once more, whose reply was lost: what there is of it goes with the job
                    await _bucket(db).upload_from_stream_with_id(name, digest, content)

        await self._call(work)
        return digest

    async def get(self, job: str, digest: str) -> bytes:
        prefix = f"{_name(job)}/{_name(digest)}/"

        async def work(db: Database) -> bytes | None:
            while (file := await db[_FILES].find_one({"_id": _under(prefix)}, {"_id": 1})) is not None:
                try:
                    return await (await _bucket(db).open_download_stream(file["_id"])).read()
                except NoFile:  # discarded just now
                    continue
                except CorruptGridFile:  # or its chunks are being discarded
                    if await db[_FILES].find_one({"_id": file["_id"]}, {"_id": 1}) is not None:
                        raise _damaged() from None
            return None

        content = await self._call(work)
        if content is None:
            raise NotFound(f"no bytes are staged for job {job[:64]!r} under {digest[:64]!r}.")
        if checksum(content) != digest:
            raise _damaged()
        return content

    async def discard(self, job: str) -> None:
        prefix = _under(f"{_name(job)}/")
        await self._delete_all(_FILES, {"_id": prefix})  # first: a file without all of its chunks is not to be found
        await self._delete_all(_CHUNKS, {"files_id": prefix})

    async def jobs(self) -> list[str]:
        async def work(db: Database) -> set[str]:
            return await _first_parts(db, _FILES, "_id", {}) | await _first_parts(db, _CHUNKS, "files_id", {"n": 0})

        return sorted(await self._call(work))


async def _first_parts(db: Database, collection: str, field: str, wanted: Document) -> set[str]:
    """Of the names in a field, up to their first slash."""
    part = {"$arrayElemAt": [{"$split": [f"${field}", "/"]}, 0]}
    return {row["_id"] async for row in await db[collection].aggregate([{"$match": wanted}, {"$group": {"_id": part}}])}


def _damaged() -> InternalError:
    return InternalError("staged bytes were damaged in MongoDB; send the documents again.")


def _bucket(db: Database) -> gridfs.AsyncGridFSBucket:
    return gridfs.AsyncGridFSBucket(db, _BUCKET, chunk_size_bytes=_CHUNK)


def _under(prefix: str) -> Document:
    """Names that begin with a prefix, which ends with a slash."""
    return {"$gte": prefix, "$lt": f"{prefix[:-1]}0"}  # what follows the slash in ASCII


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
        raise InternalError(f"{name[:80]!r} is neither a job's id nor a digest.")
    return name
