"""How each server is started: command, environment, files, how it says that it is up, and the settings of those that use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from json import dumps as quoted
from pathlib import Path

from ragstone.services.devtree.programs import LAKEFS, MLFLOW, MONGO, NATS, QDRANT
from ragstone.services.devtree.state import State, write_private

PATIENCE = 180.0  # seconds until a server has to be up
Ready = Callable[[], Awaitable[bool]]
Http = Callable[[int, str], Ready]


@dataclass(frozen=True, slots=True)
class Spec:
    """One process. `variables`: for those that use it. `grace`: seconds that it gets to end; `patience`: until it has to be up."""

    name: str
    command: tuple[str, ...]
    directory: Path
    ready: Ready
    address: str
    environment: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    grace: float = 10.0
    patience: float = PATIENCE


def spec(server: str, program: Path, state: State, http: Http, primary: Callable[[int], Ready]) -> Spec:
    """Of a server, its files written. `http`: whether a path is answered with a success; `primary`: whether a replica set takes writes."""
    match server:
        case "MongoDB":
            return _mongo(program, state, primary)
        case "lakeFS":
            return _lakefs(program, state, http)
        case "Qdrant":
            return _qdrant(program, state, http)
        case "NATS":
            return _nats(program, state, http)
    return _mlflow(program, state, http)


def _mongo(program: Path, state: State, primary: Callable[[int], Ready]) -> Spec:
    directory, port = state.directory("mongo"), state.port(MONGO)
    options: tuple[str, ...]
    if program.name == "mongod":
        data = state.directory("mongo") / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        options = ("--bind_ip", "127.0.0.1", "--dbpath", str(data), "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25")
    else:
        options = ("--host", "127.0.0.1", "--storage-path", str(directory / "data"), "--sync-on-commit")
    return Spec(
        MONGO,
        (str(program), *options, "--port", str(port)),
        directory,
        primary(port),
        f"mongodb://127.0.0.1:{port}",
        variables={
            "RAGSTONE_CATALOG__KIND": "mongo",
            "RAGSTONE_CATALOG__URI": f"mongodb://127.0.0.1:{port}/?directConnection=true",
        },
    )


def _lakefs(program: Path, state: State, http: Http) -> Spec:
    directory, port, config = state.directory("lakefs"), state.port(LAKEFS), state.folder / "lakefs" / "lakefs.yaml"
    secret, key = state.secret("lakefs-secret-access-key"), "AKIARAGSTONEPROFILE1"
    write_private(
        config,
        f"listen_address: 127.0.0.1:{port}\n"
        f"database: {{type: local, local: {{path: {quoted(f'{directory}/meta')}}}}}\n"
        f"blockstore: {{type: local, local: {{path: {quoted(f'{directory}/data')}}}}}\n"
        f"installation: {{user_name: admin, access_key_id: {key}, secret_access_key: {secret.read_text()}}}\n"
        f"auth: {{encrypt: {{secret_key: {state.secret('lakefs-encryption').read_text()}}}}}\n"
        "stats: {enabled: false}\n",
    )
    return Spec(
        LAKEFS,
        (str(program), "--config", str(config), "run"),
        directory,
        http(port, "/_health"),
        f"http://127.0.0.1:{port}",
        environment={"HOME": str(directory)},
        variables={
            "RAGSTONE_VERSIONS__KIND": "lakefs",
            "RAGSTONE_VERSIONS__ENDPOINT": f"http://127.0.0.1:{port}",
            "RAGSTONE_VERSIONS__ACCESS_KEY_ID": key,
            "RAGSTONE_VERSIONS__SECRET_ACCESS_KEY_FILE": str(secret),
            "RAGSTONE_VERSIONS__STORAGE_NAMESPACE": "local://ragstone",
            "RAGSTONE_VERSIONS__OBJECT_STORE__URL": f"file://{directory}/data",
        },
    )


def _qdrant(program: Path, state: State, http: Http) -> Spec:
    directory, port, secret = state.directory("qdrant"), state.port(QDRANT, pair=True), state.secret("qdrant-api-key")
    own = {
        "SERVICE__HOST": "127.0.0.1",
        "SERVICE__HTTP_PORT": str(port),
        "SERVICE__GRPC_PORT": str(port + 1),
        "SERVICE__API_KEY": secret.read_text(),
        "STORAGE__STORAGE_PATH": str(directory / "storage"),
        "STORAGE__SNAPSHOTS_PATH": str(directory / "snapshots"),
        "TELEMETRY_DISABLED": "true",
    }
    return Spec(
        QDRANT,
        (str(program),),
        directory,
        http(port, "/readyz"),
        f"http://127.0.0.1:{port}",
        environment={f"QDRANT__{name}": value for name, value in own.items()},
        variables={
            "RAGSTONE_INDEX__KIND": "qdrant",
            "RAGSTONE_INDEX__URL": f"http://127.0.0.1:{port}",
            "RAGSTONE_INDEX__GRPC_PORT": str(port + 1),
            "RAGSTONE_INDEX__API_KEY_FILE": str(secret),
        },
    )


def _nats(program: Path, state: State, http: Http) -> Spec:
    directory, port, monitoring = state.directory("nats"), state.port(NATS), state.port(f"{NATS} (monitoring)")
    secret, config = state.secret("nats-password"), directory / "nats.conf"
    write_private(
        config,
        f'listen: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitoring}"\n'
        f"jetstream {{ store_dir: {quoted(f'{directory}/data')} }}\n"
        f'authorization {{ user: ragstone, password: "{secret.read_text()}" }}\n',
    )
    return Spec(
        NATS,
        (str(program), "-c", str(config)),
        directory,
        http(monitoring, "/healthz"),
        f"nats://127.0.0.1:{port}",
        variables={
            "RAGSTONE_QUEUE__KIND": "nats",
            "RAGSTONE_QUEUE__URL": f"nats://127.0.0.1:{port}",
            "RAGSTONE_QUEUE__USER": "ragstone",
            "RAGSTONE_QUEUE__PASSWORD_FILE": str(secret),
        },
    )


def _mlflow(program: Path, state: State, http: Http) -> Spec:
    directory, port = state.directory("mlflow"), state.port(MLFLOW)
    options = ("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    stores = ("--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--artifacts-destination", str(directory / "artifacts"))
    return Spec(
        MLFLOW,
        (str(program), *options, *stores),
        directory,
        http(port, "/health"),
        f"http://127.0.0.1:{port}",
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": ""},
        variables={"RAGSTONE_TRACKING__KIND": "mlflow", "RAGSTONE_TRACKING__URI": f"http://127.0.0.1:{port}"},
    )
