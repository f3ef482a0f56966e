"""What a platform answers, commit by commit, as plain JSON: two directories that say the same have the same portrait."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question

Portrait = dict[str, Any]


async def portrait(platform: Platform, questions: Sequence[str], *, answers: bool = False, only: str | None = None) -> Portrait:
    """Every collection, or `only` this one: its tags, and of each commit the documents' bytes, the visible chunks, and what searches of it find.

    `answers`: their text too; each is logged as an interaction.
    """
    catalog = platform.adapters.catalog
    found: Portrait = {}
    for collection in await catalog.collections():
        if only not in (None, collection.name):
            continue
        commits = await catalog.commits(collection.name, limit=1000)
        found[collection.name] = {
            "tags": {tag.name: tag.commit_id for tag in await catalog.tags(collection.name)},
            "commits": [await _commit(platform, collection, commit, questions, answers) for commit in reversed(commits)],
        }
    return found


async def _commit(platform: Platform, collection: Collection, commit: Commit, questions: Sequence[str], answers: bool) -> Portrait:
    versions, index = platform.adapters.versions, collection.index_name(commit.space_id)
    infos = await versions.documents(collection.uid, commit.id, limit=10_000)
    documents = {}
    for info in infos:
        stored = await versions.read(collection.uid, commit.id, info.path)
        documents[info.path] = [_digest(stored.content), _digest(stored.extracted.text.encode()), info.media_type, info.title]
    chunks = await platform.adapters.index.visible(index, commit.seq, commit.gaps, documents)
    asked: Portrait = {}
    for text in questions:
        question = Question(collection.name, text, as_of=commit.id)
        searched = await platform.query.search(question)
        hits = [[passage.chunk.id, passage.score, passage.dense, passage.bm25] for passage in searched.passages]
        asked[text] = {"hits": hits}
        if answers:
            asked[text]["answer"] = (await platform.query.run(question)).answer.text
    return {
        "commit": [commit.id, commit.seq, commit.position, commit.parent_id, commit.message, commit.created_at],
        "documents": documents,
        "chunks": [[chunk.id, chunk.path, chunk.start, chunk.end, _digest(chunk.text.encode()), chunk.commit_id] for chunk in chunks],
        "count": await platform.adapters.index.count_visible(index, commit.seq, commit.gaps),
        "questions": asked,
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
