"""The indexes of a Qdrant server: made, opened, dropped, put in one another's place.

An index is an alias (prefix and name) of a collection (the same with a number after a dot): a collection can't be renamed, an alias can, and at once.
A collection of ours that no alias names is a leftover of a call that was cut short.
"""

from __future__ import annotations

import asyncio
import logging
import re

from qdrant_client import AsyncQdrantClient, models

from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder
from ragstone.adapters.qdrant_server_connection import STRONG, Connection
from ragstone.adapters.qdrant_server_errors import is_there_already
from ragstone.adapters.qdrant_server_schema import (
    MOST_NUMBERS,
    FieldIndex,
    Opened,
    check_field_indexes,
    create_collection,
    field_indexes,
    missing_field_indexes,
)
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.spaces import EmbeddingSpace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_log = logging.getLogger(__name__)


class Collections:
    """What is known of an index that was opened is kept until it is dropped, replaced, or not found any more."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = connection.server.prefix
        self._opened: dict[str, Opened] = {}
        self._opening = asyncio.Lock()

    def alias(self, index: str) -> str:
        """What the index is called on the server. Raises `NotFound` for what is no name of an index."""
        if not _NAME.fullmatch(index):
            raise NotFound(f"There is no index {index[:80]!r}.", field="index")
        return self._prefix + index

    async def names(self) -> list[str]:
        """The indexes that there are, in order."""
        return sorted(alias.removeprefix(self._prefix) for alias in await self._aliases())

    async def exists(self, index: str) -> bool:
        """Whether it was created and not dropped."""
        return _NAME.fullmatch(index) is not None and self.alias(index) in await self._aliases()

    async def target(self, index: str) -> str:
        """The collection of an index. Raises `NotFound`."""
        target = (await self._aliases()).get(self.alias(index))
        if target is None:
            raise NotFound(f"There is no index {index!r}; create it first.", field="index")
        return target

    async def open(self, index: str) -> Opened:
        """Raises `NotFound`, or `DataDirectoryError` when its collection is not as it must be."""
        opened = self._opened.get(index)
        if opened is None:
            opened = await self._read(index)
            check_field_indexes(index, opened)
            self._opened[index] = opened
        return opened

    def forget(self, index: str) -> None:
        """The next call looks at the index anew."""
        self._opened.pop(index, None)

    async def create(self, index: str, space: EmbeddingSpace) -> None:
        """Idempotent, from several processes at once too: all make the same collection, and nobody writes before there is an alias.

        One that is there is checked; field indexes that it lacks are made.
        """
        if not _NAME.fullmatch(index):
            raise InvalidInput(f"index: {index[:80]!r} is no name of an index; use letters, digits, '-' and '_'.", field="index")
        Bm25Encoder(space.bm25)  # refuses an unknown language before anything is made
        alias, aliases = self.alias(index), await self._aliases()
        if alias in aliases:
            await self._complete(index, aliases[alias])
            return
        taken, number = set(aliases.values()), 1
        while (collection := f"{alias}.{number}") in taken:
            number += 1
        if not await self._make(collection, space):
            points = await self._connection.call(lambda client, seconds: client.count(collection, timeout=seconds))
            if alias in await self._aliases():
                return
            if points.count:  # nobody writes to one without an alias: it is what a replaced or dropped index left
                await self._delete(collection)
                await self._make(collection, space)
        await self._index_fields(collection, set(field_indexes(self._connection.server.shard_number)))
        await self._change(models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)))

    async def drop(self, index: str) -> None:
        """Idempotent. With a collection its aliases go."""
        self.forget(index)
        if not _NAME.fullmatch(index):
            return
        target = (await self._aliases()).get(self.alias(index))
        if target is not None:
            await self._delete(target)
        await self._sweep(index)

    async def replace(self, index: str, by: str) -> None:
        """In one step of the server; then what bore the name before is dropped."""
        await self.target(by)
        self.forget(index)
        self.forget(by)
        rename = models.RenameAlias(old_alias_name=self.alias(by), new_alias_name=self.alias(index))
        await self._change(models.RenameAliasOperation(rename_alias=rename), retry=False)
        await self._sweep(index)
        await self._sweep(by)

    async def adopt(self, index: str, collection: str) -> None:
        """Makes a collection that is there bear the name of the index; what bore it is dropped. `DataDirectoryError` unless it is as it must be."""
        alias = self.alias(index)
        check_field_indexes(index, Opened(index, await self._connection.call(lambda client, _: client.get_collection(collection))))
        self.forget(index)
        await self._change(models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)))
        await self._sweep(index)

    async def discard(self, collection: str) -> None:
        """Deletes a collection that no alias names."""
        if collection not in (await self._aliases()).values():
            await self._delete(collection)

    async def unused(self, index: str) -> str:
        """A name for a new collection of the index."""
        alias, number = self.alias(index), 1
        taken = {each.name for each in (await self._connection.call(lambda client, _: client.get_collections())).collections}
        while f"{alias}.{number}" in taken:
            number += 1
        return f"{alias}.{number}"

    async def index_numbers(self, index: str, opened: Opened, paths: set[str]) -> None:
        """Range indexes for fields of numbers, made before the points that bring them; further ones than `MOST_NUMBERS` get none."""
        if paths:
            opened.numbers = (await self._read(index)).numbers
        for path in sorted(paths - opened.numbers):
            if len(opened.numbers) >= MOST_NUMBERS:
                return
            await self._index_field(self.alias(index), path, models.PayloadSchemaType.FLOAT)
            opened.numbers.add(path)

    async def known_numbers(self, index: str, opened: Opened, paths: set[str]) -> set[str]:
        """Those of `paths` that have a range index; no point has a number in another one. Raises `InvalidInput` when that can't be said."""
        if paths:
            opened.numbers = (await self._read(index)).numbers  # another process may have made some, or put another collection in its place
        if paths - opened.numbers and len(opened.numbers) >= MOST_NUMBERS:
            raise InvalidInput(
                f"filter: the collection has more than {MOST_NUMBERS} metadata keys with numbers, and ranges can be asked of the first only; "
                "use another condition.",
                field="filter",
            )
        return paths & opened.numbers

    async def _read(self, index: str) -> Opened:
        alias = self.alias(index)
        return Opened(index, await self._connection.call(lambda client, _: client.get_collection(alias)))

    async def _complete(self, index: str, collection: str) -> None:
        opened = await self._read(index)
        if opened.missing:
            _log.warning("the Qdrant collection of index %s lacked the payload indexes of %s; they are made", index, sorted(opened.missing))
            await self._index_fields(collection, opened.missing)

    async def _make(self, collection: str, space: EmbeddingSpace) -> bool:
        """False when it is there already."""
        server = self._connection.server

        async def make(client: AsyncQdrantClient, seconds: int) -> bool:
            try:
                await create_collection(client, collection, server, space, seconds)
            except Exception as error:  # which of the client's it is, `is_there_already` knows
                if is_there_already(error):
                    return False
                raise
            return True

        return await self._connection.call(make)

    async def _index_fields(self, collection: str, fields: set[str]) -> None:
        info = await self._connection.call(lambda client, _: client.get_collection(collection))
        shards = info.config.params.shard_number or 1
        missing = fields & missing_field_indexes(info.payload_schema, shards)
        for field in sorted(missing & info.payload_schema.keys()):  # of another kind
            await self._drop_field_index(collection, field)
        await asyncio.gather(*(self._index_field(collection, field, field_indexes(shards)[field]) for field in sorted(missing)))

    async def _index_field(self, collection: str, field: str, schema: models.PayloadSchemaType | FieldIndex) -> None:
        await self._connection.write(
            lambda client, seconds: client.create_payload_index(collection, field, schema, wait=True, ordering=STRONG, timeout=seconds)
        )

    async def _drop_field_index(self, collection: str, field: str) -> None:
        await self._connection.write(
            lambda client, seconds: client.delete_payload_index(collection, field, wait=True, ordering=STRONG, timeout=seconds)
        )

    async def _aliases(self) -> dict[str, str]:
        """Our aliases with the collections that they name."""
        found = await self._connection.call(lambda client, _: client.get_aliases())
        return {
            each.alias_name: each.collection_name
            for each in found.aliases
            if each.alias_name.startswith(self._prefix) and self._ours.fullmatch(each.collection_name)
        }

    async def _sweep(self, index: str) -> None:
        """Deletes collections that bore the name and that no alias names."""
        found = await self._connection.call(lambda client, _: client.get_collections())
        named = set((await self._aliases()).values())
        own = re.compile(re.escape(self.alias(index)) + r"\.\d+")
        for each in found.collections:
            if own.fullmatch(each.name) and each.name not in named:
                await self._delete(each.name)

    async def _delete(self, collection: str) -> None:
        await self._connection.call(lambda client, seconds: client.delete_collection(collection, timeout=seconds))

    async def _change(self, operation: models.AliasOperations, *, retry: bool = True) -> None:
        await self._connection.call(lambda client, seconds: client.update_collection_aliases([operation], timeout=seconds), retry=retry)

    @property
    def _ours(self) -> re.Pattern[str]:
        return re.compile(re.escape(self._prefix) + r"[A-Za-z0-9][A-Za-z0-9_-]*\.\d+")
