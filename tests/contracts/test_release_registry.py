"""What every release registry promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from ragstone.adapters.sqlite_releases import SqliteReleaseRegistry
from ragstone.domain.errors import Conflict, InvalidInput, NotFound
from ragstone.domain.generation import GeneratorIdentity
from ragstone.domain.releases import Release
from ragstone.domain.retrieval import RetrievalSettings
from ragstone.ports.release_registry import ReleaseRegistry
from tests.fakes.release_registry import InMemoryRegistry

RELEASE = Release(
    "docs", "c" * 40, "space", RetrievalSettings(top_k=5), "answer/1", GeneratorIdentity("extractive", "sentences", "1"), 0.31
)
NEXT = replace(RELEASE, commit_id="d" * 40)


@pytest.fixture(params=["memory", "sqlite", pytest.param("mlflow", marks=[pytest.mark.packaged, pytest.mark.xdist_group("mlflow")])])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReleaseRegistry]:
    adapter: ReleaseRegistry
    if request.param == "mlflow":
        from ragstone.adapters.mlflow_registry import MlflowReleaseRegistry  # noqa: PLC0415 - six seconds of imports

        adapter = MlflowReleaseRegistry(request.getfixturevalue("mlflow_uri"), prefix=f"{uuid4().hex}.")
    else:
        adapter = SqliteReleaseRegistry(tmp_path / "ragstone.db") if request.param == "sqlite" else InMemoryRegistry()
    yield adapter
    await adapter.close()


async def test_a_release_comes_back_whole(registry: ReleaseRegistry) -> None:
    registered = await registry.register(RELEASE, "ada")
    assert (registered.release, registered.number, registered.principal) == (RELEASE, 1, "ada")
    assert await registry.release("docs", RELEASE.id) == registered
    assert await registry.releases("docs") == [registered]


async def test_the_same_release_again_is_the_one_registered_before(registry: ReleaseRegistry) -> None:
    first = await registry.register(RELEASE, "ada")
    assert await registry.register(RELEASE, "bob") == first
    assert len(await registry.releases("docs")) == 1


async def test_numbers_rise_a_collection(registry: ReleaseRegistry) -> None:
    await registry.register(RELEASE, "ada")
    assert (await registry.register(NEXT, "ada")).number == 2
    assert (await registry.register(replace(RELEASE, collection="other"), "ada")).number == 1
    assert [one.number for one in await registry.releases("docs")] == [2, 1]
    assert [one.number for one in await registry.releases("docs", before=2)] == [1]
    assert [one.number for one in await registry.releases("docs", limit=1)] == [2]


async def test_a_collection_knows_its_own_releases_only(registry: ReleaseRegistry) -> None:
    await registry.register(RELEASE, "ada")
    with pytest.raises(NotFound):
        await registry.release("other", RELEASE.id)
    assert await registry.releases("other") == []
    assert await registry.aliases("other") == []


async def test_an_alias_moves_by_compare_and_swap(registry: ReleaseRegistry) -> None:
    await asyncio.gather(registry.register(RELEASE, "ada"))
    await registry.register(NEXT, "ada")
    alias = await registry.move_alias("docs", "champion", RELEASE.id, expected=None)
    assert (alias.release_id, alias.number) == (RELEASE.id, 1)
    with pytest.raises(Conflict):
        await registry.move_alias("docs", "champion", NEXT.id, expected=None)
    assert (await registry.move_alias("docs", "champion", NEXT.id, expected=RELEASE.id)).number == 2
    assert (await registry.alias("docs", "champion")).release_id == NEXT.id


async def test_an_alias_of_no_release_is_not_made(registry: ReleaseRegistry) -> None:
    with pytest.raises(NotFound):
        await registry.move_alias("docs", "champion", "0" * 16, expected=None)
    with pytest.raises(NotFound):
        await registry.alias("docs", "champion")


@pytest.mark.parametrize("name", ["latest", "v7", "", "Champion", "../x", "a" * 101])
async def test_names_that_mean_something_else_are_refused(registry: ReleaseRegistry, name: str) -> None:
    await registry.register(RELEASE, "ada")
    with pytest.raises(InvalidInput, match="alias"):
        await registry.move_alias("docs", name, RELEASE.id, expected=None)


async def test_aliases_are_listed_by_name_and_dropped(registry: ReleaseRegistry) -> None:
    await registry.register(RELEASE, "ada")
    for name in ("staging", "champion"):
        await registry.move_alias("docs", name, RELEASE.id, expected=None)
    assert [alias.name for alias in await registry.aliases("docs")] == ["champion", "staging"]
    await registry.drop_alias("docs", "staging")
    await registry.drop_alias("docs", "staging")
    assert [alias.name for alias in await registry.aliases("docs")] == ["champion"]
