"""`ragstone cluster-backup`: MongoDB, lakeFS and Qdrant into an object store, and back."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.command import command, new_app
from ragstone.cli.output import table, text
from ragstone.cli.progress import bar, size
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name

if TYPE_CHECKING:
    from ragstone.adapters.cluster_backup_manifest import Manifest


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("Back up a platform whose stores are servers, and restore it. The settings `backup` say where backups are.")
    for name, work in (("create", create), ("list", listed), ("restore", restore)):
        command(group, name)(work)
    app.add_typer(group, name="cluster-backup")


async def create(session: Session) -> None:
    """Back up every collection with its whole history, and what was asked, while the platform goes on; then delete the oldest backups beyond backup.keep."""
    from ragstone.bootstrap.maintenance import cluster_backup

    settings = session.settings
    async with cluster_backup(settings) as (backup, exclusive), AsyncExitStack() as turns:
        for name in await backup.collections():
            await turns.enter_async_context(exclusive.turn(name))
        with bar(session.output, "Backing up") as shown:
            manifest = await backup.create(lambda what, done, total: shown.show(done, total, what))
        deleted = await backup.prune(settings.backup.keep) if settings.backup else []
    _show(session, manifest, f"Backed up as {manifest.name} ({size(manifest.size)}).", deleted=deleted)


async def listed(session: Session) -> None:
    """Show the backups that there are, the latest first."""
    from ragstone.bootstrap.maintenance import cluster_backup

    async with cluster_backup(session.settings) as (backup, _):
        found = [await backup.manifest(name) for name in reversed(await backup.names())]
    rows = [(one.name, str(len(one.collections)), size(one.size), one.ragstone) for one in found]
    document = {"backups": [_summary(one) for one in found]}
    shown = table(("backup", "collections", "size", "made by ragstone"), rows, right=("collections", "size"))
    session.output.result(document, shown if rows else text("There are no backups yet; `ragstone cluster-backup create` makes one."))


async def restore(
    session: Session, name: Annotated[str, typer.Argument(help="The backup, as `ragstone cluster-backup list` shows it.", metavar="BACKUP")]
) -> None:
    """Restore a backup into servers that hold nothing yet. Afterwards: `ragstone doctor --repair` of the running platform."""
    from ragstone.bootstrap.maintenance import cluster_backup

    async with cluster_backup(session.settings) as (backup, _):
        with bar(session.output, "Restoring") as shown:
            manifest = await backup.restore(name, lambda what, done, total: shown.show(done, total, what))
    _show(session, manifest, f"Restored {manifest.name}. Now start the platform and run `ragstone doctor --repair`.")


def _summary(manifest: Manifest) -> dict[str, Any]:
    collections = [{"name": one.name, "commit_id": one.commit_id, "position": one.position} for one in manifest.collections]
    return {
        "name": manifest.name,
        "created_at": manifest.created_at,
        "ragstone": manifest.ragstone,
        "size": manifest.size,
        "collections": collections,
    }


def _show(session: Session, manifest: Manifest, done: str, **more: object) -> None:
    rows = [
        (one.name, commit_name(one.position, one.commit_id) if one.commit_id and one.position else "no commits")
        for one in manifest.collections
    ]
    session.output.result({**_summary(manifest), **more}, text(done), *([table(("collection", "head"), rows)] if rows else []))
