"""Which stores a platform is made of: one union a port, told apart by `kind`; the first of each is the embedded one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

S = TypeVar("S", bound=BaseModel)


class Section(BaseModel):
    """A part of the settings: nothing unknown, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SqliteCatalog(Section):
    """In the data directory, with interactions and accepted bytes beside it."""

    kind: Literal["sqlite"] = "sqlite"


class MongoCatalog(Section):
    """A MongoDB replica set (6.0 or newer); interactions and accepted bytes are kept there too. The URI holds the password: it comes from a file or the environment."""

    kind: Literal["mongo"]
    uri: SecretStr | None = Field(default=None, description="mongodb://user:password@host:27017/?replicaSet=rs0")
    uri_file: Path | None = None
    database: str = Field(default="ragstone", pattern=r"^[A-Za-z0-9_-]{1,63}$", description="in which everything is kept")
    timeout: float = Field(default=10.0, gt=0, le=600, description="seconds for one call")
    pool: int = Field(default=64, ge=1, le=10_000, description="connections at most")

    @model_validator(mode="after")
    def _one_uri(self) -> MongoCatalog:
        return _one(self, "uri")


class GitVersions(Section):
    """Bare Git repositories in the data directory."""

    kind: Literal["git"] = "git"


class ObjectStoreSettings(Section):
    """An object store: S3, or a directory for trials. Without keys, those of the environment (AWS_...) or of the machine's identity count."""

    url: str = Field(description="s3://bucket/prefix, or file:///directory")
    endpoint: str | None = Field(default=None, description="of an S3 that is not Amazon's")
    region: str | None = Field(default=None, description="of the bucket")
    access_key_id: str | None = Field(default=None, description="unset: keys of the environment or of the machine's identity")
    secret_access_key: SecretStr | None = Field(default=None, description="that goes with access_key_id")
    secret_access_key_file: Path | None = None

    @model_validator(mode="after")
    def _whole_key(self) -> Self:
        """Half a key would be left out."""
        if (self.access_key_id is None) == (self.secret_access_key is not None or self.secret_access_key_file is not None):
            raise ValueError("give access_key_id and its secret_access_key or secret_access_key_file, or none of them")
        return self


class LakeFsVersions(Section):
    """A lakeFS server. `object_store` is the store under it: with it, what is pruned or purged is deleted there, and backups can be made."""

    kind: Literal["lakefs"]
    endpoint: str = Field(description="for example http://127.0.0.1:8000")
    access_key_id: str = Field(description="of a lakeFS user")
    secret_access_key: SecretStr | None = Field(default=None, description="that goes with access_key_id")
    secret_access_key_file: Path | None = None
    storage_namespace: str = Field(description="where lakeFS keeps the repositories' objects: s3://bucket/prefix or local://directory")
    repository_prefix: str = Field(
        default="ragstone-", pattern=r"^[a-z0-9][a-z0-9-]{0,20}$", description="begins the names of its repositories"
    )
    object_store: ObjectStoreSettings | None = None
    hook_secret: SecretStr | None = Field(default=None, description="signs what lakeFS sends to /v1/hooks/lakefs; unset: no hook")
    hook_secret_file: Path | None = None
    timeout: float = Field(default=30.0, gt=0, le=600, description="seconds for one call")
    concurrency: int = Field(default=16, ge=1, le=1_000, description="calls at once")

    @model_validator(mode="after")
    def _one_secret(self) -> LakeFsVersions:
        return _one(self, "secret_access_key")


class EdgeIndex(Section):
    """Qdrant Edge in the data directory."""

    kind: Literal["edge"] = "edge"


class QdrantIndex(Section):
    """A Qdrant server (1.19 or newer)."""

    kind: Literal["qdrant"]
    url: str = Field(description="of its HTTP port, for example http://127.0.0.1:6333; https turns TLS on for gRPC too")
    grpc_port: int = Field(default=6334, ge=1, le=65535, description="on the host of url")
    api_key: SecretStr | None = Field(default=None, description="unset: a server that asks for none")
    api_key_file: Path | None = None
    prefix: str = Field(default="ragstone-", pattern=r"^[a-z0-9][a-z0-9-]{0,20}$", description="begins the names of its collections")
    replication_factor: int = Field(default=1, ge=1, le=100, description="of new collections")
    shard_number: int = Field(default=1, ge=1, le=1_000, description="of new collections")
    write_consistency: int | None = Field(default=None, ge=1, le=100, description="replicas that must have a write; unset: a majority")
    read_consistency: Literal["majority", "quorum", "all"] | None = Field(
        default=None, description="unset: quorum (half of the replicas and one) where there are several"
    )
    quantisation: Literal["none", "scalar"] = Field(
        default="none", description="scalar: vectors of new collections in a quarter of the memory"
    )
    on_disk: bool = Field(default=False, description="vectors of new collections")
    timeout: float = Field(default=30.0, gt=0, le=600, description="seconds for one call")
    concurrency: int = Field(default=64, ge=1, le=1_000, description="calls at once")


class InProcessQueue(Section):
    """Jobs are worked on by the process that accepts them."""

    kind: Literal["in_process"] = "in_process"


class NatsQueue(Section):
    """A NATS server with JetStream (2.10 or newer)."""

    kind: Literal["nats"]
    url: str = Field(description="for example nats://127.0.0.1:4222; several, with commas between")
    user: str | None = Field(default=None, description="unset: a server that asks for none")
    password: SecretStr | None = Field(default=None, description="that goes with user")
    password_file: Path | None = None
    credentials_file: Path | None = Field(default=None, description="a .creds file, in place of user and password")
    stream_prefix: str = Field(
        default="ragstone-", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$", description="begins the names of its streams"
    )
    replicas: int = Field(default=1, ge=1, le=5, description="of new streams")
    parallel: int = Field(default=4, ge=1, le=64, description="collections that one worker works on at a time")
    max_deliver: int = Field(default=10, ge=1, le=1_000, description="tries at a job before it is a dead letter")
    ack_wait: float = Field(
        default=60.0,
        ge=2,
        le=3_600,
        description="seconds without a sign of life after which a job is given to another worker (30 at least, once it is begun)",
    )
    timeout: float = Field(default=5.0, gt=0, le=600, description="seconds for one call")


class NoTracking(Section):
    """No server: runs and releases are kept beside an embedded catalog, and nowhere otherwise."""

    kind: Literal["none"] = "none"


class MlflowTracking(Section):
    """An MLflow server: one run a published commit, and the registry of releases."""

    kind: Literal["mlflow"]
    uri: str = Field(description="for example http://127.0.0.1:5000")


class BackupSettings(ObjectStoreSettings):
    """Where `ragstone cluster-backup` puts backups."""

    keep: int = Field(default=14, ge=1, le=10_000, description="backups that stay; older ones are deleted after a new one was made")


Catalog = Annotated[SqliteCatalog | MongoCatalog, Field(discriminator="kind")]
Versions = Annotated[GitVersions | LakeFsVersions, Field(discriminator="kind")]
Index = Annotated[EdgeIndex | QdrantIndex, Field(discriminator="kind")]
Queue = Annotated[InProcessQueue | NatsQueue, Field(discriminator="kind")]
Tracking = Annotated[NoTracking | MlflowTracking, Field(discriminator="kind")]


def _one(section: S, name: str) -> S:
    """Raises when neither `name` nor `name`_file is given, or both are."""
    given = [getattr(section, name) is not None, getattr(section, f"{name}_file") is not None]
    if sum(given) != 1:
        raise ValueError(f"give {name} or {name}_file, {'not both' if all(given) else 'one of them'}")
    return section
