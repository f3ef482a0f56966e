"""XQuAD as a collection: every paragraph a plain-text document, with its article as metadata."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ragstone.bootstrap.platform import open_platform
from ragstone.domain.filters import Equals, Filter, Not
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings
from ragstone.use_cases.platform import Platform

NAME = "xquad"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its gold spans. `path` is its paragraph's document; `even`: its article's number (from 0) is."""

    question: str
    spans: tuple[str, ...]
    path: str
    article: str
    even: bool

    @property
    def without_article(self) -> Filter:
        """Leaves out what could answer it."""
        return Filter((Not(Equals("article", self.article)),))


def load(data: Path) -> tuple[tuple[Upload, ...], tuple[Asked, ...]]:
    """The documents and the questions."""
    articles = json.loads((data / "xquad" / "xquad.en.json").read_text("utf-8"))["data"]
    uploads: list[Upload] = []
    asked: list[Asked] = []
    for number, article in enumerate(articles):
        title = article["title"]
        for paragraph in article["paragraphs"]:
            path = f"{len(uploads):03}.txt"
            uploads.append(Upload(path, paragraph["context"].encode(), metadata={"article": title}))
            for qa in paragraph["qas"]:
                spans = tuple(answer["text"] for answer in qa["answers"])
                asked.append(Asked(qa["question"], spans, path, title, number % 2 == 0))
    return tuple(uploads), tuple(asked)


@asynccontextmanager
async def collection(uploads: tuple[Upload, ...]) -> AsyncIterator[Platform]:
    """A platform with embedded defaults whose collection `NAME` holds the documents."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_platform(load_settings(data_dir=Path(directory) / "data")) as platform:
            await platform.collections.create(NAME)
            job = await platform.ingest.submit(NAME, IngestRequest(uploads))
            job = await platform.ingest.wait(job.id, 600)
            assert job.state == "published", job.result
            yield platform
