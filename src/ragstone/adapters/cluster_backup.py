"""Backups of a cluster: catalog, version store and index, in that order, copied to an object store and back (docs/backup.md).

    backups/<name>/manifest.json         written last: without it there is no backup
    backups/<name>/catalog/<name>.bson   the database, of one moment
    backups/<name>/index/<name>          a snapshot of each index
    objects/<repository>/<key>           the version store's objects, shared by all backups, for they never change

What is published after that moment is in the later parts too; a restore takes it out by the numbers of its attempts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime

from pydantic import ValidationError

import ragstone
from ragstone.adapters.cluster_backup_manifest import FORMAT, NAME, BackedUp, File, Manifest, Refs
from ragstone.adapters.cluster_backup_stores import Database, IndexSnapshots, Known, Repositories
from ragstone.adapters.mongo_backup import VERSION
from ragstone.adapters.object_store import ObjectStore
from ragstone.domain.errors import Conflict, DataDirectoryError, NotFound, TooLarge
from ragstone.ports.vector_index import VectorIndex

Tell = Callable[[str, int, int], None]  # what, how many are done, of how many
_MANIFEST_LIMIT = 512 * 2**20  # bytes: some five million objects
_AT_ONCE = 8  # objects copied


class ClusterBackup:
    """`objects`: the store under lakeFS; `target`: where backups are. While one is made, nobody prunes, purges or mends (the caller sees to it)."""

    def __init__(
        self,
        database: Database,
        repositories: Repositories,
        index: VectorIndex,
        snapshots: IndexSnapshots,
        objects: ObjectStore,
        target: ObjectStore,
    ) -> None:
        self._database = database
        self._repositories = repositories
        self._index = index
        self._snapshots = snapshots
        self._objects = objects
        self._target = target

    async def collections(self) -> list[str]:
        """Names of those that there are, in order."""
        return await self._database.names()

    async def create(self, tell: Tell) -> Manifest:
        """Makes a backup of now. Raises `Unavailable`, `TooLarge`, `Conflict` when there is one of this second or a collection was deleted on the way."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%SZ}"
        if name in await self.names():
            raise Conflict(f"There is a backup {name} already; try again.", field="backup")
        files: dict[str, File] = {}
        tell("catalog", 0, 1)
        async with self._database.moment() as moment:
            known = moment.collections
            async for file, content in moment.files():
                files[f"catalog/{file}.bson"] = await self._write(name, f"catalog/{file}.bson", content)
        objects: dict[str, int] = {}
        dumps: list[tuple[str, Refs]] = []
        for number, one in enumerate(known):
            tell("documents", number, len(known))
            uid = one.collection.uid
            namespace = await self._repositories.namespace(uid)
            if namespace is None:
                raise Conflict(
                    f"Collection {one.collection.name!r} has no repository: it was deleted meanwhile, then try again; else run `ragstone doctor`.",
                    field="versions",
                )
            dumps.append((namespace, await self._repositories.dump(uid)))
            objects |= await self._copy_objects(uid, namespace)
        collections = []
        for number, (one, (namespace, refs)) in enumerate(zip(known, dumps, strict=True)):
            tell("index", number, len(known))
            for index in _indexes(one):
                async with aclosing(self._snapshots.snapshot(index)) as snapshot:
                    files[f"index/{index}"] = await self._write(name, f"index/{index}", snapshot)
            collections.append(await self._backed_up(one, namespace, refs))
        manifest = Manifest(
            format=FORMAT,
            name=name,
            created_at=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            ragstone=ragstone.__version__,
            schema_version=VERSION,
            collections=tuple(collections),
            files=files,
            objects=objects,
        )
        encoded = manifest.model_dump_json().encode()
        if len(encoded) > _MANIFEST_LIMIT:
            raise TooLarge(f"The version store has {len(objects):,} objects, more than one backup can list; prune collections first.")
        await self._target.put(f"backups/{name}/manifest.json", _once(encoded))
        return manifest

    async def restore(self, name: str, tell: Tell) -> Manifest:
        """Puts a backup into stores that are empty. The catalog comes last: before it is there, nobody sees any of it.

        Raises `Conflict` when the stores hold collections, `NotFound`, `DataDirectoryError` for a backup that is damaged or newer. One that was cut
        short is done by another restore of the same backup.
        """
        manifest = await self.manifest(name)
        await self._database.ensure_empty()
        await self._copy_back(manifest, tell)
        for number, one in enumerate(manifest.collections):
            tell("documents", number, len(manifest.collections))
            await self._repositories.restore(one)
        for number, one in enumerate(manifest.collections):
            tell("index", number, len(manifest.collections))
            for index in one.indexes:
                await self._snapshots.restore(index, self._read(manifest, f"index/{index}"))
                first, last = one.later
                if last >= first:
                    await self._index.erase_attempts(index, range(first, last + 1))
        files = [file for file in manifest.files if file.startswith("catalog/")]
        files.sort(key=lambda file: file == "catalog/collections.bson")  # that which names the others is the last
        for number, file in enumerate(files):
            tell("catalog", number, len(files))
            await self._database.load(file.removeprefix("catalog/").removesuffix(".bson"), self._read(manifest, file))
        await self._database.finish()
        return manifest

    async def names(self) -> list[str]:
        """Backups that are whole, oldest first."""
        keys = [key async for key, _ in self._target.list("backups")]
        return sorted(key.split("/")[1] for key in keys if key.endswith("/manifest.json") and NAME.fullmatch(key.split("/")[1]))

    async def manifest(self, name: str) -> Manifest:
        """Raises `NotFound`, `DataDirectoryError` for one that can't be read."""
        if not NAME.fullmatch(name):
            raise NotFound(f"backup: {name[:80]!r} is no backup's name; `ragstone cluster-backup list` shows them.", field="backup")
        content = bytearray()
        async for piece in self._target.stream(f"backups/{name}/manifest.json"):
            content += piece
            if len(content) > _MANIFEST_LIMIT:
                raise _damaged(name)
        try:
            found = Manifest.model_validate_json(bytes(content))
        except ValidationError as error:
            raise _damaged(name) from error
        if found.format > FORMAT or found.schema_version > VERSION:
            raise DataDirectoryError(
                f"backup: {name} was made by ragstone {found.ragstone[:40]}, which is newer; upgrade ragstone.", field="backup"
            )
        if found.name != name or not found.sound:
            raise _damaged(name)
        return found

    async def prune(self, keep: int) -> list[str]:
        """Deletes all but the newest `keep` backups, and objects that no backup needs any more; returns the names of those deleted."""
        names = await self.names()
        doomed = names[: max(0, len(names) - keep)]
        for name in doomed:
            keys = [key async for key, _ in self._target.list(f"backups/{name}")]
            await self._target.delete(sorted(keys, key=lambda key: not key.endswith("manifest.json")))
        if doomed:
            needed = {f"objects/{key}" for name in names[len(doomed) :] for key in (await self.manifest(name)).objects}
            await self._target.delete([key async for key, _ in self._target.list("objects") if key not in needed])
        return doomed

    async def _backed_up(self, one: Known, namespace: str, refs: Refs) -> BackedUp:
        uid = one.collection.uid
        return BackedUp(
            name=one.collection.name,
            uid=uid,
            commit_id=one.head.id if one.head else None,
            position=one.head.position if one.head else None,
            later=(one.attempts + 1, (await self._database.attempts()).get(uid, one.attempts)),
            indexes=_indexes(one),
            namespace=namespace,
            refs=refs,
        )

    async def _copy_objects(self, uid: str, namespace: str) -> dict[str, int]:
        """Copies what is not there yet; the namespace's objects by key, with their sizes."""
        prefix = self._below(namespace)
        there = {key: size async for key, size in self._target.list(f"objects/{uid}")}
        found = {f"{uid}/{key.removeprefix(prefix).lstrip('/')}": (key, size) async for key, size in self._objects.list(prefix)}
        missing = [(key, source) for key, (source, size) in found.items() if there.get(f"objects/{key}") != size]
        await _several(missing, lambda pair: self._target.put(f"objects/{pair[0]}", self._objects.stream(pair[1])))
        return {key: size for key, (_, size) in found.items()}

    async def _copy_back(self, manifest: Manifest, tell: Tell) -> None:
        prefixes = {one.uid: self._below(one.namespace) for one in manifest.collections}
        pairs = [(key, f"{prefixes[key.partition('/')[0]]}/{key.partition('/')[2]}") for key in manifest.objects]
        done = 0

        async def copy(pair: tuple[str, str]) -> None:
            nonlocal done
            await self._objects.put(pair[1], self._target.stream(f"objects/{pair[0]}"))
            done += 1
            tell("objects", done, len(pairs))

        await _several(pairs, copy)

    def _below(self, namespace: str) -> str:
        """The prefix of a repository's objects in the store under lakeFS. Raises `Conflict` when that is another store."""
        key = self._objects.key(namespace)
        if not key:
            raise Conflict(
                "versions.object_store.url: lakeFS keeps its objects elsewhere; name the same store there and in lakeFS.", field="versions"
            )
        return key

    async def _write(self, name: str, file: str, content: AsyncIterable[bytes]) -> File:
        digest, size = hashlib.sha256(), 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for piece in content:
                digest.update(piece)
                size += len(piece)
                yield piece

        await self._target.put(f"backups/{name}/{file}", counted())
        return File(size=size, sha256=digest.hexdigest())

    async def _read(self, manifest: Manifest, file: str) -> AsyncIterator[bytes]:
        """The content; raises `DataDirectoryError` at its end when it is not what was written."""
        digest = hashlib.sha256()
        try:
            wanted = manifest.files[file]
        except KeyError:
            raise _damaged(manifest.name) from None
        async for piece in self._target.stream(f"backups/{manifest.name}/{file}"):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != wanted.sha256:
            raise _damaged(manifest.name)


def _indexes(one: Known) -> tuple[str, ...]:
    return tuple(one.collection.index_name(space.id) for space in one.collection.spaces)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _several(items: list[tuple[str, str]], work: Callable[[tuple[str, str]], Awaitable[None]]) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(item: tuple[str, str]) -> None:
        async with places:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))


def _damaged(name: str) -> DataDirectoryError:
    return DataDirectoryError(f"backup: {name} is damaged; restore another one.", field="backup")
