"""Groups of documents in MongoDB."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pymongo import ReplaceOne, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from ragstone.adapters.mongo import MongoAdapter
from ragstone.adapters.mongo_schema import UP, Database, Document
from ragstone.domain.access import DocumentAcl

_EVERY = 500  # documents that one query names


class MongoAcls(MongoAdapter):
    """Implements `DocumentAcls`: a document a path in `document_acls`, and one a collection, which every change writes, in `acl_versions`."""

    async def change(self, uid: str, groups: Mapping[str, Collection[str]]) -> None:
        wanted = {path: sorted(set(members)) for path, members in groups.items()}

        async def work(db: Database, session: AsyncClientSession) -> None:
            known: dict[str, list[str]] = {}
            paths = list(wanted)
            for start in range(0, len(paths), _EVERY):
                of_paths = {"uid": uid, "path": {"$in": paths[start : start + _EVERY]}}
                async for row in db["document_acls"].find(of_paths, {"path": 1, "groups": 1}, session=session):
                    known[row["path"]] = row["groups"]
            changed = {path: members for path, members in wanted.items() if members != known.get(path, [])}
            if not changed:
                return
            newest = await db["acl_versions"].find_one_and_update(
                {"_id": uid}, {"$inc": {"version": 1}}, upsert=True, return_document=ReturnDocument.AFTER, session=session
            )
            documents = [
                {"uid": uid, "path": path, "groups": members, "version": _number(newest), "settled": False}
                for path, members in changed.items()
            ]
            await db["document_acls"].bulk_write(
                [ReplaceOne({"uid": uid, "path": document["path"]}, document, upsert=True) for document in documents],
                ordered=False,
                session=session,
            )

        await self._transaction(work)

    async def version(self, uid: str) -> int:
        return _number(await self._call(lambda db: db["acl_versions"].find_one({"_id": uid})))

    async def every(self, uid: str) -> tuple[int, dict[str, frozenset[str]]]:
        async def work(db: Database) -> tuple[int, dict[str, frozenset[str]]]:
            # Changes that come in between are in the groups and not in the version: the next look at that reads all again.
            version = _number(await db["acl_versions"].find_one({"_id": uid}))
            rows = db["document_acls"].find({"uid": uid, "groups": {"$ne": []}}, {"path": 1, "groups": 1})
            return version, {row["path"]: frozenset(row["groups"]) async for row in rows}

        return await self._call(work)

    async def page(self, uid: str, *, prefix: str = "", after: str = "", limit: int = 100) -> list[DocumentAcl]:
        begin = {"$gte": prefix} if prefix > after else {"$gt": after}
        wanted: Document = {"uid": uid, "path": begin, "groups": {"$ne": []}}

        async def work(db: Database) -> list[DocumentAcl]:
            found: list[DocumentAcl] = []
            async for row in db["document_acls"].find(wanted).sort("path", UP):
                if not row["path"].startswith(prefix) or len(found) == limit:  # in the order of paths, those of a prefix follow one another
                    break
                found.append(DocumentAcl(row["path"], frozenset(row["groups"])))
            return found

        return await self._call(work)

    async def unsettled(self, uid: str, limit: int = 100) -> dict[str, tuple[frozenset[str], int]]:
        wanted = {"uid": uid, "settled": False}
        rows = await self._call(lambda db: db["document_acls"].find(wanted).sort([("version", UP), ("path", UP)]).limit(limit).to_list())
        return {row["path"]: (frozenset(row["groups"]), int(row["version"])) for row in rows}

    async def settle(self, uid: str, path: str, version: int) -> None:
        done = {"uid": uid, "path": path, "version": version}

        async def work(db: Database) -> None:
            await db["document_acls"].update_one(done, {"$set": {"settled": True}})
            await db["document_acls"].delete_one({**done, "groups": []})

        await self._call(work)

    async def collections(self) -> list[str]:
        return await self._call(lambda db: db["document_acls"].distinct("uid", {"settled": False}))

    async def drop(self, uid: str) -> None:
        await self._delete_all("document_acls", {"uid": uid})
        await self._call(lambda db: db["acl_versions"].delete_one({"_id": uid}))

    async def close(self) -> None:
        """Nothing: whoever made the `MongoDatabase` closes it."""


def _number(row: Document | None) -> int:
    return 0 if row is None else int(row["version"])
