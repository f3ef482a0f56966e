"""`ragstone models register|alias|unalias|versions`: versions of models and the aliases that move over them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.command import command
from ragstone.cli.output import table, text
from ragstone.cli.progress import size
from ragstone.cli.session import Session

if TYPE_CHECKING:
    from ragstone.domain.registered_models import GeneratorReference, ModelVersion

_NAME = Annotated[str, typer.Argument(help="Of the model in the registry: a-z, 0-9, '.', '_', '-'.")]
_ALIAS = Annotated[str, typer.Argument(help="For example champion.")]


def add_to(group: typer.Typer) -> None:
    """Registers the commands in the group `models`."""
    for name, work in (("register", register), ("alias", alias_), ("unalias", unalias), ("versions", versions)):
        command(group, name)(work)


async def register(
    session: Session,
    name: _NAME,
    source: Annotated[str | None, typer.Argument(help="A preset, a directory, or an .onnx, .gguf or prompt's .toml file.")] = None,
    kind: Annotated[str, typer.Option(help="embedder, reranker, prompt or generator.")] = "embedder",
    licence: Annotated[str, typer.Option(help="Under which it may be used, for example Apache-2.0.")] = "",
    base_url: Annotated[str | None, typer.Option(help="Of a generator that runs elsewhere, in place of files.")] = None,
    served_model: Annotated[str | None, typer.Option(help="That generator's name there.")] = None,
    revision: Annotated[str | None, typer.Option(help="Which revision of it is meant.")] = None,
    alias: Annotated[str | None, typer.Option(help="Also point this alias at the version.")] = None,
) -> None:
    """Register a version: its files with their digests, licence and kind. The same content again is the version of before."""
    import asyncio

    from ragstone.bootstrap.registry import content_of, model_registry
    from ragstone.cli.loading import author
    from ragstone.domain.errors import InvalidInput
    from ragstone.domain.registered_models import KINDS, ModelContent, check_model_name

    check_model_name(name)
    found = next((each for each in KINDS if each == kind), None)
    if found is None:
        raise InvalidInput(f"kind: {kind[:80]!r} is none; it is one of {', '.join(KINDS)}.", field="kind")
    elsewhere = _elsewhere(base_url, served_model, revision)
    if (source is None) == (elsewhere is None):
        raise InvalidInput("Give a preset, directory or file, or --base-url, --served-model and --revision of a generator.", field="source")
    if elsewhere is not None:
        if found != "generator":
            raise InvalidInput(f"kind: only a generator may run elsewhere, and this is a {found}.", field="kind")
        content, folder = ModelContent(found, licence, reference=elsewhere), None
    else:
        content, folder = await asyncio.to_thread(content_of, session.settings, str(source), found, licence)
    async with model_registry(session.settings) as registry:
        version = await registry.register(name, content, folder, author())
        if alias is not None:
            version = await registry.move_alias(name, alias, version.number)
    session.output.result(_document(version), text(f"{version.label}, SHA-256 {version.content.digest}"))


async def alias_(
    session: Session,
    name: _NAME,
    alias: _ALIAS,
    version: Annotated[int, typer.Argument(help="The number that it points at from now on.")],
    present: Annotated[int | None, typer.Option(help="Only if it points at this one now; 0: at none.")] = None,
) -> None:
    """Point an alias at a version. Services that follow it load that version beside the one they have, and then change over."""
    from ragstone.bootstrap.registry import model_registry

    async with model_registry(session.settings) as registry:
        moved = await registry.move_alias(name, alias, version, expected=present)
    session.output.result(_document(moved), text(f"models:/{name}@{alias} is version {version}"))


async def unalias(session: Session, name: _NAME, alias: _ALIAS) -> None:
    """Take an alias away. Services that follow it go on with the version they have."""
    from ragstone.bootstrap.registry import model_registry

    async with model_registry(session.settings) as registry:
        await registry.drop_alias(name, alias)
    session.output.result({"name": name, "alias": alias}, text(f"{name} has no alias {alias} (any more)"))


async def versions(
    session: Session, name: _NAME, limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50
) -> None:
    """List the versions of a model, newest first."""
    from ragstone.bootstrap.registry import model_registry

    async with model_registry(session.settings) as registry:
        found = await registry.versions(name, limit=limit)
    if not found:
        session.output.note(f"Nothing is registered under the name {name}.")
    rows = [
        (
            one.number,
            ", ".join(one.aliases),
            one.content.kind,
            one.content.digest[:12],
            one.content.licence,
            size(one.content.size) if one.content.files else "elsewhere",
            _time(one.created_at)[:16].replace("T", " "),
            one.principal,
        )
        for one in found
    ]
    columns = ("version", "aliases", "kind", "SHA-256", "licence", "size", "registered", "by")
    session.output.result({"name": name, "versions": [_document(one) for one in found]}, table(columns, rows, right=("version", "size")))


async def pull(session: Session, reference: str) -> None:
    """Fetch a version into the model cache, where it is found while the registry is away."""
    import asyncio

    from ragstone.bootstrap.registry import pulled

    found = await asyncio.to_thread(pulled, session.settings, reference)
    document = _document(found.version) | {"path": str(found.path), "as_last_seen": found.as_last_seen}
    told = "; the registry does not answer, so it is the one seen last" if found.as_last_seen else ""
    session.output.result(document, text(f"{found.version.label} is here, every file as it was registered{told}"))


def _elsewhere(base_url: str | None, model: str | None, revision: str | None) -> GeneratorReference | None:
    from ragstone.domain.errors import InvalidInput
    from ragstone.domain.registered_models import GeneratorReference

    given = [each for each in (base_url, model, revision) if each]
    if not given:
        return None
    if base_url is None or model is None or revision is None or len(given) < 3:
        raise InvalidInput("A generator that runs elsewhere needs --base-url, --served-model and --revision.", field="base_url")
    if not base_url.startswith(("http://", "https://")) or "@" in base_url.split("/")[2]:
        raise InvalidInput("base_url: it is an http or https address without a password.", field="base_url")
    return GeneratorReference(base_url, model, revision)


def _document(version: ModelVersion) -> dict[str, Any]:
    from dataclasses import asdict

    content = version.content
    return {
        "name": version.name,
        "version": version.number,
        "kind": content.kind,
        "digest": content.digest,
        "licence": content.licence,
        "aliases": list(version.aliases),
        "registered_at": _time(version.created_at),
        "by": version.principal,
        "size": content.size,
        "files": [asdict(file) for file in content.files],
        "embedding": {"space": content.identity.space, **asdict(content.identity)} if content.identity else None,
        "elsewhere": asdict(content.reference) if content.reference else None,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
