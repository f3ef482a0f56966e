"""Adapters of servers. They are imported only where they are used: they, and what they need, are an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.secret_source import SecretSource
from ragstone.bootstrap.secrets import secret_of
from ragstone.ports.dead_letters import DeadLetters
from ragstone.ports.event_publisher import EventPublisher
from ragstone.ports.job_queue import JobQueue
from ragstone.settings import stores
from ragstone.use_cases.platform import Connection

if TYPE_CHECKING:
    from ragstone.adapters.lakefs import LakeFsVersionStore
    from ragstone.adapters.object_store import ObjectStore
    from ragstone.adapters.qdrant_server import QdrantServerIndex


def lakefs_versions(settings: stores.LakeFsVersions) -> LakeFsVersionStore:
    """Documents in lakeFS. Raises `InvalidInput`."""
    from ragstone.adapters.lakefs import LakeFsVersionStore  # noqa: PLC0415
    from ragstone.adapters.lakefs_client import LakeFsClient  # noqa: PLC0415
    from ragstone.adapters.lakefs_errors import translate  # noqa: PLC0415

    dependency = Dependency("versions", timeout=settings.timeout, concurrency=settings.concurrency, translate=translate)
    client = LakeFsClient(settings.endpoint, settings.access_key_id, lakefs_secret(settings), dependency, concurrency=settings.concurrency)
    objects = object_store("versions.object_store", settings.object_store) if settings.object_store else None
    return LakeFsVersionStore(client, namespace=settings.storage_namespace, prefix=settings.repository_prefix, objects=objects)


def qdrant_index(settings: stores.QdrantIndex) -> QdrantServerIndex:
    """The index of a Qdrant server. Raises `InvalidInput`."""
    from ragstone.adapters.qdrant_server import QdrantServerIndex  # noqa: PLC0415
    from ragstone.adapters.qdrant_server_connection import QdrantServer  # noqa: PLC0415
    from ragstone.adapters.qdrant_server_errors import translate  # noqa: PLC0415

    has_key = settings.api_key is not None or settings.api_key_file is not None
    server = QdrantServer(
        url=settings.url,
        grpc_port=settings.grpc_port,
        api_key=secret_of("index.api_key", settings.api_key, settings.api_key_file) if has_key else None,
        prefix=settings.prefix,
        replication_factor=settings.replication_factor,
        shard_number=settings.shard_number,
        write_consistency=settings.write_consistency,
        read_consistency=settings.read_consistency,
        quantisation=settings.quantisation,
        on_disk=settings.on_disk,
        timeout=settings.timeout,
    )
    dependency = Dependency("index", timeout=settings.timeout, concurrency=settings.concurrency, translate=translate)
    return QdrantServerIndex(server, dependency)


def nats_queue(settings: stores.NatsQueue, connections: list[Connection]) -> tuple[JobQueue, DeadLetters, EventPublisher]:
    """What goes over NATS; the connection is added to `connections`. Raises `InvalidInput`."""
    from ragstone.adapters.nats import NatsConnection, NatsServer  # noqa: PLC0415
    from ragstone.adapters.nats_dead_letters import NatsDeadLetters  # noqa: PLC0415
    from ragstone.adapters.nats_events import NatsEventPublisher  # noqa: PLC0415
    from ragstone.adapters.nats_names import Names  # noqa: PLC0415
    from ragstone.adapters.nats_queue import NatsJobQueue  # noqa: PLC0415

    has_password = settings.password is not None or settings.password_file is not None
    server = NatsServer(
        settings.url,
        user=(lambda: settings.user or "") if settings.user else None,
        password=secret_of("queue.password", settings.password, settings.password_file) if has_password else None,
        credentials_file=settings.credentials_file,
        timeout=settings.timeout,
    )
    names = Names(settings.stream_prefix, settings.replicas)
    connection = NatsConnection(server, (names.jobs, names.dead, names.events))
    connections.append(connection)
    queue = NatsJobQueue(connection, names, parallel=settings.parallel, tries=settings.max_deliver, ack_wait=settings.ack_wait)
    return queue, NatsDeadLetters(connection, names), NatsEventPublisher(connection, names)


def object_store(name: str, settings: stores.ObjectStoreSettings) -> ObjectStore:
    """The object store of a section of the settings, by whose name its errors go. Raises `InvalidInput`."""
    from ragstone.adapters.object_store import ObjectStore, rotating, translate  # noqa: PLC0415

    options: dict[str, Any] = {}
    if settings.endpoint:
        options |= {"endpoint": settings.endpoint, "client_options": {"allow_http": settings.endpoint.startswith("http://")}}
    if settings.region:
        options["region"] = settings.region
    if settings.secret_access_key is not None or settings.secret_access_key_file is not None:
        secret = secret_of(f"{name}.secret_access_key", settings.secret_access_key, settings.secret_access_key_file)
        options["credential_provider"] = rotating(settings.access_key_id or "", secret)
    return ObjectStore(settings.url, Dependency("objects", timeout=60.0, concurrency=16, translate=translate), **options)


def lakefs_secret(settings: stores.LakeFsVersions) -> SecretSource:
    """Of the access key."""
    return secret_of("versions.secret_access_key", settings.secret_access_key, settings.secret_access_key_file)
