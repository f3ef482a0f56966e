"""The crash matrix over servers: which are there, and what of them belongs to one collection that is crashed.

A directory that is crashed has a file beside it then, which says where its stores are; without that file they are embedded.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.mongo import MongoDatabase
from ragstone.adapters.mongo_acls import MongoAcls
from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.adapters.mongo_interactions import MongoInteractionLog
from ragstone.adapters.mongo_staging import GridFsStaging
from ragstone.adapters.nats_dead_letters import NatsDeadLetters
from ragstone.adapters.nats_names import Names
from ragstone.adapters.nats_queue import NatsJobQueue
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.platform import Adapters
from tests.fakes.document_parser import ParagraphParser
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.servers import lakefs, mongo, nats, qdrant

Kind = Literal["embedded", "mixed", "lakefs", "networked"]
_ACK_WAIT = 2.0  # seconds, after which the message of a killed process is given to the next one


@dataclass(frozen=True)
class Servers:
    """Addresses. `lakefs`: URL, key, secret, namespace; it and `qdrant` are None where versions and index are embedded."""

    mongo: str
    nats: str
    lakefs: tuple[str, str, str, str] | None = None
    qdrant: str | None = None
    own: str = ""  # begins the names of everything that belongs to one directory

    def write(self, directory: Path) -> None:
        """The stores of `directory` are new ones in these servers."""
        _beside(directory).write_text(json.dumps({**asdict(self), "own": f"c{uuid4().hex[:10]}-"}))

    def adapters(self, directory: Path, clock: Callable[[], float], embedder: HashingEmbeddingModel) -> Adapters:
        """Connections are closed by the platform."""
        database = MongoDatabase(lambda: self.mongo, self.own + "crash")
        names = Names(self.own)
        connection = nats.connection(self.nats, names)
        versions: VersionStore = GitVersionStore(directory / "versions")
        index: VectorIndex
        if self.lakefs is not None:
            url, key, secret, namespace = self.lakefs
            versions = lakefs.LakeFs(url, key, secret, f"{namespace}/{self.own}", None).store(prefix=self.own)
        if self.qdrant is not None:
            index = qdrant.index(qdrant.server(self.qdrant, prefix=self.own))
        else:
            index = QdrantEdgeIndex(directory / "index", optimise_after=10**9)
        return Adapters(
            MongoCatalog(database, mongo.dependency(), clock),
            versions,
            index,
            GridFsStaging(database, mongo.dependency("staging")),
            NatsJobQueue(connection, names, tries=100, ack_wait=_ACK_WAIT, first_pause=0.01, longest_pause=0.05),
            ParagraphParser(),
            embedder,
            MongoInteractionLog(database, mongo.dependency("interactions")),
            NatsDeadLetters(connection, names),
            MongoAcls(database, mongo.dependency("acls")),
            connections=(database, connection),
        )


def of(directory: Path) -> Servers | None:
    """Where the stores of a directory are; None: in it."""
    try:
        fields = json.loads(_beside(directory).read_text())
    except FileNotFoundError:
        return None
    return Servers(**{**fields, "lakefs": tuple(fields["lakefs"]) if fields["lakefs"] else None})


def forget(directory: Path) -> None:
    """The directory is gone."""
    _beside(directory).unlink(missing_ok=True)


@contextmanager
def running(kind: Kind) -> Iterator[Servers | None]:
    """Servers of a run. Ends the process with a sentence where one of them can't be started."""
    if kind == "embedded":
        yield None
        return
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ragstone-crash-servers-", ignore_cleanup_errors=True)))
        for name in ("mongo", "nats", "lakefs", "qdrant"):
            (directory / name).mkdir()
        wanted = {"networked": ("lakefs", "qdrant"), "lakefs": ("lakefs",)}.get(kind, ())
        if missing := [name for name in wanted if shutil.which(name) is None]:
            raise SystemExit(f"--stores {kind}: there is no {' and no '.join(missing)} on PATH.")
        mongo_url, _ = stack.enter_context(mongo.serving(directory / "mongo"))
        nats_url, _ = stack.enter_context(nats.serving(directory / "nats"))
        versions = stack.enter_context(lakefs.serving(directory / "lakefs")) if "lakefs" in wanted else None
        qdrant_url = stack.enter_context(qdrant.serving(directory / "qdrant"))[0] if "qdrant" in wanted else None
        yield Servers(
            mongo_url, nats_url, (versions.url, versions.key, versions.secret, versions.namespace) if versions else None, qdrant_url
        )


def _beside(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.stores.json")
