"""The way to a Qdrant server: one client over gRPC, every call through the platform's `Dependency`, the server's version known before the first."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from qdrant_client import AsyncQdrantClient, models

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.qdrant_server_errors import NotApplied
from ragstone.domain.errors import Unavailable

T = TypeVar("T")
OLDEST = (1, 19)  # the first with an IDF corpus per query
STRONG = models.WriteOrdering.STRONG
# A server that is back is reached within a second: by default gRPC waits up to two minutes between tries, for all channels to one address together.
_RECONNECTING = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.min_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000}


@dataclass(frozen=True, slots=True, kw_only=True)
class QdrantServer:
    """Where the server is and how collections are made on it.

    `url`: of its HTTP port, such as http://127.0.0.1:6333; `https` turns TLS on for both ports. `api_key` is asked for at every call.
    `prefix` begins the name of every collection and alias; others on the same server are left alone. `write_consistency`: replicas that must have
    a write before it is acknowledged; None: a majority. `read_consistency`: replicas that must agree on an answer; None: half of them and one where there
    are several. `timeout`: seconds that the server may take for one call at most.
    """

    url: str
    grpc_port: int = 6334
    api_key: Callable[[], str] | None = None
    prefix: str = "ragstone-"
    replication_factor: int = 1
    shard_number: int = 1
    write_consistency: int | None = None
    read_consistency: Literal["majority", "quorum", "all"] | None = None
    quantisation: Literal["none", "scalar"] = "none"
    on_disk: bool = False
    timeout: float = 30.0

    @property
    def acknowledging(self) -> int:
        """Replicas that must have a write."""
        return self.write_consistency or self.replication_factor // 2 + 1

    @property
    def consistency(self) -> models.ReadConsistency | None:
        """Of every read; None: the one replica there is."""
        if self.read_consistency is None and self.replication_factor == 1:
            return None
        return models.ReadConsistencyType(self.read_consistency or "quorum")


class Connection:
    """Calls to one server. The client is made in the event loop that first calls."""

    def __init__(self, server: QdrantServer, dependency: Dependency) -> None:
        self.server = server
        self._dependency = dependency
        self._client: AsyncQdrantClient | None = None

    async def call(self, work: Callable[[AsyncQdrantClient, int], Awaitable[T]], *, retry: bool = True) -> T:
        """What `work` returns. It gets the client and whole seconds, which it tells the server too. Raises as `Dependency.call` does."""
        client = self._client or await self._connected()
        return await self._dependency.call(lambda seconds: work(client, math.ceil(seconds)), retry=retry)

    async def write(self, work: Callable[[AsyncQdrantClient, int], Awaitable[models.UpdateResult]]) -> None:
        """A write that may be done again: it has been applied, and its log entry is on the disk, of as many replicas as asked for, on return."""

        async def applied(client: AsyncQdrantClient, seconds: int) -> None:
            result = await work(client, seconds)
            if result.status != models.UpdateStatus.COMPLETED:
                raise NotApplied

        await self.call(applied)

    async def _connected(self) -> AsyncQdrantClient:
        client = _client(self.server)
        try:
            info = await self._dependency.call(lambda _: client.info(), retry=True)
            check_version(info.version)
        except BaseException:
            await client.close()
            raise
        if self._client is None:
            self._client = client
        else:
            await client.close()
        return self._client

    async def aclose(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def check_version(version: str) -> None:
    """Raises `Unavailable` for a server that can't do what is asked of it."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise Unavailable(f"index: the Qdrant server is version {version[:40]}, and {wanted} is the oldest that will do; upgrade it.")


def _client(server: QdrantServer) -> AsyncQdrantClient:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*insecure connection", category=UserWarning)  # within a cluster TLS is the mesh's
        return AsyncQdrantClient(
            url=server.url,
            port=None,
            grpc_port=server.grpc_port,
            prefer_grpc=True,
            timeout=math.ceil(server.timeout),
            auth_token_provider=server.api_key,
            grpc_options={**_RECONNECTING},  # the client adds to it
            check_compatibility=False,  # it would start a thread and warn; `check_version` raises
        )
