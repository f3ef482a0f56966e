"""What every inbox promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from ragstone.domain.errors import NotFound
from ragstone.domain.inbox import Push, PushedDocument
from ragstone.ports.inbox import Inbox
from tests.fakes.inbox import PREFIX, InMemoryInbox
from tests.servers.lakefs import LakeFs, fresh_prefix

REPO = "c0ffee"


@dataclass
class Post:
    """An inbox, what its repository is called, and what a person does in it: puts files, removes some, commits."""

    inbox: Inbox
    name: str
    commit: Callable[..., Awaitable[str]]

    async def push(self) -> Push:
        found = await self.inbox.push(REPO)
        assert found is not None
        return found


@pytest.fixture(params=["memory", pytest.param("lakefs", marks=pytest.mark.servers)])
async def post(request: pytest.FixtureRequest) -> AsyncIterator[Post]:
    if request.param == "memory":
        memory = InMemoryInbox()

        async def remember(*removed: str, **put: str) -> str:
            return memory.commit(REPO, {path: text.encode() for path, text in put.items()}, *removed, author="admin", message="by hand")

        yield Post(memory, PREFIX + REPO, remember)
        return
    server: LakeFs = request.getfixturevalue("lakefs_server")
    prefix = fresh_prefix()
    store, client = server.store(prefix=prefix), server.client()
    await store.create(REPO)
    tip = await client.tip(prefix + REPO, "main")
    assert tip is not None
    await client.create_branch(prefix + REPO, "inbox", tip)

    async def commit(*removed: str, **put: str) -> str:
        for path, text in put.items():
            await client.upload(prefix + REPO, "inbox", f"documents/{path}", text.encode(), "text/plain")
        await client.delete(prefix + REPO, "inbox", [f"documents/{path}" for path in removed])
        return (await client.commit(prefix + REPO, "inbox", "by hand", {})).id

    yield Post(store.inbox, prefix + REPO, commit)
    await store.close()
    await client.close()


async def test_a_push_tells_what_is_new_since_the_last_that_was_taken(post: Post) -> None:
    await post.commit(a="One.", b="Two.")
    tip = await post.commit(c="Three!")
    first = await post.push()
    assert first == Push(tip, "admin", "by hand", (PushedDocument("a", 4), PushedDocument("b", 4), PushedDocument("c", 6)), ())
    assert await post.push() == first  # until it is taken
    await post.inbox.take(REPO, first)
    assert await post.inbox.push(REPO) is None
    await post.commit("a", b="Two, changed.")
    second = await post.push()
    assert ([put.path for put in second.puts], second.removes) == (["b"], ("a",))


async def test_documents_are_read_as_of_the_push(post: Post) -> None:
    await post.commit(a="One.")
    push = await post.push()
    await post.commit(a="Changed.")
    assert await post.inbox.read(REPO, push.tip, "a") == b"One."
    with pytest.raises(NotFound):
        await post.inbox.read(REPO, push.tip, "b")


async def test_taking_twice_is_fine_and_what_came_meanwhile_stays(post: Post) -> None:
    await post.commit(a="One.")
    push = await post.push()
    await post.commit(b="Two.")
    for _ in range(2):
        await post.inbox.take(REPO, push)
    assert [put.path for put in (await post.push()).puts] == ["b"]


async def test_an_inbox_in_which_nothing_was_done_tells_nothing(post: Post) -> None:
    assert await post.inbox.push(REPO) is None


async def test_a_repository_is_known_by_the_version_store_s_name(post: Post) -> None:
    assert post.inbox.repository(post.name) == REPO
    assert post.inbox.repository("somebody-else") is None
