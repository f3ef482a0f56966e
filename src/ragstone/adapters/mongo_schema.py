"""The collections of ragstone's MongoDB database with their indexes, and the migrations between versions of it.

To add a collection, or an index to one: write it into `INDEXES`, and, once a release knew the table without it, append `make_indexes` to
`MIGRATIONS` once more. What users name (collections, paths, ids) is always a value in a document, never the name of a MongoDB collection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure

from ragstone.domain.errors import DataDirectoryError

Document = dict[str, Any]
Database = AsyncDatabase[Document]
Migration = Callable[[Database], Awaitable[None]]
_NAMESPACE_EXISTS = 48
UP, DOWN = ASCENDING, DESCENDING


def _index(*fields: str | tuple[str, int], unique: bool = False, where: Mapping[str, Any] | None = None) -> IndexModel:
    keys = [(field, UP) if isinstance(field, str) else field for field in fields]
    options: dict[str, Any] = {"partialFilterExpression": where} if where is not None else {}
    if unique:
        options["unique"] = True
    return IndexModel(keys, **options)


INDEXES: dict[str, tuple[IndexModel, ...]] = {
    # The catalog. A deleted collection has no name while what hangs on it is taken away.
    "collections": (_index("name", unique=True, where={"name": {"$exists": True}}),),
    "jobs": (
        _index("uid", "number", unique=True),
        _index("uid", "principal", "key", unique=True, where={"key": {"$exists": True}}),
        _index("uid", ("_id", DOWN)),
        _index("uid", "open", "number"),
        _index("open", "created_at", "order", where={"open": True}),
    ),
    "job_parts": (_index("job", "number"), _index("uid")),
    "job_progress": (_index("uid"),),
    "attempts": (_index("uid", "number", unique=True), _index("uid", "state", "retired")),
    "commits": (
        _index("uid", "seq", unique=True),
        _index("uid", "position", unique=True),
        _index("uid", "id", "seq"),
        _index("uid", "created_at"),
    ),
    "tags": (_index("uid", "name", unique=True), _index("uid", ("created_at", DOWN), ("order", DOWN))),
    "purges": (_index("uid", "path", ("order", DOWN)), _index("uid", ("order", DOWN)), _index("uid", "state")),
    # Groups of documents; a collection's version rises with each change.
    "document_acls": (_index("uid", "path", unique=True), _index("uid", "settled", "version", "path"), _index("settled", "uid")),
    "acl_versions": (),
    "locks": (),
    "cursors": (),
    # The interaction log: each listing is in the order of storing, newest first.
    "interactions": (
        _index(("order", DOWN)),
        *(
            _index(field, ("order", DOWN))
            for field in ("collection", "abstained", "commit_id", "release_id", "feedback.thumb", "feedback.tags", "cited.chunk", "paths")
        ),
        _index("cited.path"),
        _index("created_at"),
    ),
    "audit": (_index(("order", DOWN)), _index("principal", ("order", DOWN)), _index("collection", ("order", DOWN))),
    "usage": (IndexModel([("expires", UP)], expireAfterSeconds=0),),
    # Accepted bytes, in GridFS.
    "staging.files": (_index("filename", "uploadDate"),),  # this and the next as GridFS itself would make them
    "staging.chunks": (_index("files_id", "n", unique=True),),
    # Bulk work: texts for shards, and their vectors.
    "bulk_runs": (),
    "bulk_parts": (_index("run", "done", "shard"),),
}


async def make_indexes(database: Database) -> None:
    """Every collection with every index; what is there already stays as it is."""
    known = set(await database.list_collection_names())
    for name, indexes in INDEXES.items():
        if name not in known:
            try:
                await database.create_collection(name, check_exists=False)
            except OperationFailure as error:
                if error.code != _NAMESPACE_EXISTS:  # another process was faster
                    raise
        if indexes:
            await database[name].create_indexes(list(indexes))


MIGRATIONS: tuple[Migration, ...] = (make_indexes, make_indexes)


async def migrate(database: Database, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Brings the database to the newest version; returns how many steps that took. Raises `DataDirectoryError` for one that a newer release made.

    Several processes may do this at once: a migration can be run again, and beside itself. A document counts those that were run.
    """
    schema = database["schema"]
    with suppress(DuplicateKeyError):  # another process was faster
        await schema.update_one({"_id": "ragstone"}, {"$setOnInsert": {"version": 0}}, upsert=True)
    steps = 0
    while True:
        found = await schema.find_one({"_id": "ragstone"})
        version = int(found["version"]) if found is not None else 0
        if version > len(migrations):
            raise DataDirectoryError(
                f"the MongoDB database {database.name!r} was made by a newer ragstone (its schema is version {version}, this release knows "
                f"{len(migrations)}); upgrade ragstone."
            )
        if version == len(migrations):
            return steps
        await migrations[version](database)
        await schema.update_one({"_id": "ragstone", "version": version}, {"$set": {"version": version + 1}})
        steps += 1


async def missing_indexes(database: Database) -> list[str]:
    """Declared indexes that the database lacks or has otherwise, a sentence each."""
    faults = []
    for name, indexes in INDEXES.items():
        there = await database[name].index_information()
        for index in indexes:
            wanted = index.document
            found = there.get(str(wanted["name"]))
            if found is None or bool(found.get("unique")) != bool(wanted.get("unique")):
                faults.append(f"MongoDB's collection {name} lacks its index {wanted['name']}; run `ragstone migrate`")
    return faults
