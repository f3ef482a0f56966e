"""Isolation: 50 collections, 20 groups, 10,000 random questions, searches, histories, exports, replays and listings by principals of limited rights.

Over the HTTP application in this process, on Git, SQLite and Qdrant Edge, with stub models. The oracle knows nothing of ragstone's rules: each
collection's name, each document's path and each text bear words that occur nowhere else, and a table of its own says whose they are. Every word in
an answer that its reader did not send, and may not see at that moment, is a leak; so is a number that counts what they may not see. What they may see
and do not get is counted too: a server that says nothing leaks nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx

from bench.rows import Row, row
from ragstone.domain.access import Principal, parse_scopes
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.fakes.authenticator import KnownKeys
from tests.support.world import embedded_world

COLLECTIONS, GROUPS, READERS, REQUESTS = 50, 20, 60, 10_000
DOCUMENTS, WRITES = 8, 4  # of each collection at first, and commits before anything is asked
BUILT_AT_ONCE = 8  # collections
BLOCK, AT_ONCE = 100, 4  # requests between two changes, and of them beside one another
_WORD = re.compile(r"(?<![0-9a-z])[qpc]z[0-9a-z]{10}(?![0-9a-z])")  # of a text, a path, a collection's name
_PATH = re.compile(r"[a-z]+/pz[0-9a-z]{10}\.md")
_COUNTS = ("documents", "chunks", "chunks_kept", "documents_added", "documents_changed", "documents_removed")
_TOPICS = ("tide", "rope", "harbour", "engine", "crane", "lamp", "cargo", "chart")


@dataclass
class Document:
    """A path of a collection, with all words that its path and texts ever had."""

    words: set[str]
    groups: frozenset[str] = frozenset()


@dataclass
class Collection:
    """By the bench's own account."""

    name: str
    random: random.Random
    documents: dict[str, Document] = field(default_factory=dict)
    versions: list[dict[str, str]] = field(default_factory=list)  # a word of each text by its path, by position


@dataclass(frozen=True)
class Reader:
    """A key and what it allows, as the oracle has it: scopes by beginnings of names."""

    name: str
    grants: tuple[tuple[str, str], ...]
    groups: frozenset[str]

    def scope(self, collection: str) -> str:
        """`admin`, `write`, `read` or nothing."""
        held = {
            scope
            for pattern, scope in self.grants
            if collection == pattern or (pattern.endswith("*") and collection.startswith(pattern[:-1]))
        }
        return next((scope for scope in ("admin", "write", "read") if scope in held), "")

    def sees(self, collection: Collection, path: str) -> bool:
        """A document, or that there is one."""
        scope, groups = self.scope(collection.name), collection.documents[path].groups
        return scope == "admin" or bool(scope and (not groups or groups & self.groups))

    def sees_all(self, collection: Collection) -> bool:
        """Nothing of the collection is kept from them."""
        return all(self.sees(collection, path) for path in collection.documents)


@dataclass
class Tally:
    """What went wrong, with examples."""

    leaks: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def leak(self, what: str, example: str) -> None:
        """A passage, a name or a count that got out."""
        self.leaks[what] += 1
        if len(self.examples) < 5:
            self.examples.append(f"{what}: {example}"[:300])


class Isolation:
    """The world and its oracle."""

    def __init__(self, http: httpx.AsyncClient, keys: dict[str, Principal], seed: int = 20_261_129) -> None:
        self.http = http
        self.random = random.Random(seed)
        self.collections: dict[str, Collection] = {}
        self.owners: dict[str, tuple[Collection, str | None]] = {}  # by word: whose it is; None for a collection's name
        self.interactions: dict[str, tuple[Collection, frozenset[str]]] = {}  # by id: documents that it was answered from, or is about
        self.tally = Tally()
        self.readers = [self._reader(number) for number in range(READERS)]
        for reader in self.readers:
            scopes = parse_scopes(",".join(f"{pattern}={scope}" for pattern, scope in reader.grants))
            keys[reader.name] = Principal(reader.name, *scopes, groups=reader.groups)

    def _reader(self, number: int) -> Reader:
        grants = []
        for _ in range(self.random.randint(1, 5)):
            pattern = f"t{self.random.randrange(COLLECTIONS):02}-*" if self.random.random() < 0.9 else f"t{self.random.randrange(5)}*"
            grants.append((pattern, self.random.choices(("read", "write", "admin"), (8, 3, 1))[0]))
        return Reader(f"reader{number}", tuple(grants), _groups(4, self.random))

    async def build(self) -> None:
        """All collections with a little history."""
        at_once = asyncio.Semaphore(BUILT_AT_ONCE)
        for number in range(COLLECTIONS):
            word = _word("c", self.random)
            collection = Collection(f"t{number:02}-{word}", random.Random(word))
            self.collections[collection.name] = collection
            self.owners[word] = collection, None

        async def fill(collection: Collection) -> None:
            async with at_once:
                await self.write(collection, DOCUMENTS)
                for _ in range(WRITES - 1):
                    await self.write(collection, 2)

        await asyncio.gather(*(fill(collection) for collection in self.collections.values()))

    async def write(self, collection: Collection, count: int) -> None:
        """A commit of new and changed documents; then maybe a move or a deletion."""
        documents: list[dict[str, Any]] = []
        held = dict(collection.versions[-1]) if collection.versions else {}
        pick = collection.random
        for _ in range(count):
            path = pick.choice(sorted(held)) if held and pick.random() < 0.3 else self._path(collection)
            text_word = _word("q", pick)
            collection.documents[path].words.add(text_word)
            self.owners[text_word] = collection, path
            topics = pick.sample(_TOPICS, 3)
            text = f"The {topics[0]} of {text_word} is new.\n\nIts {topics[1]} and {topics[2]} are by {text_word}."
            groups = sorted(collection.documents[path].groups)
            documents = [one for one in documents if one["path"] != path] + [{"path": path, "text": text, "groups": groups}]
            held[path] = text_word
        body = {"collection": collection.name, "create": True, "documents": documents, "message": f"Now with {documents[-1]['path']}"}
        await self._admin("POST", "/ingest", body)
        collection.versions.append(dict(held))
        if pick.random() < 0.5 and len(held) > 2:
            path = pick.choice(sorted(held))
            text_word = held.pop(path)
            if pick.random() < 0.5:
                await self._admin("DELETE", f"/v1/collections/{collection.name}/documents/{quote(path)}")
            else:
                target = self._path(collection)
                collection.documents[target].groups = collection.documents[path].groups  # a move takes them along
                collection.documents[target].words.add(text_word)  # the same text, at both paths: it leaks where neither is seen
                await self._admin("POST", f"/v1/collections/{collection.name}/moves", {"source": path, "target": target})
                held[target] = text_word
            collection.versions.append(held)

    def _path(self, collection: Collection) -> str:
        word = _word("p", collection.random)
        path = f"{collection.random.choice(_TOPICS)}/{word}.md"
        collection.documents[path] = Document({word}, _groups(2, collection.random))
        self.owners[word] = collection, path
        return path

    async def _admin(self, method: str, place: str, body: Any = None) -> httpx.Response:
        answer = await self.http.request(method, place, json=body, headers={"Authorization": "Bearer root"})
        if answer.status_code >= 300:
            raise RuntimeError(f"{method} {place}: {answer.text}")
        return answer

    async def change(self) -> None:
        """Between two blocks: other groups for some documents, and now and then a commit."""
        for _ in range(3):
            collection = self.random.choice(list(self.collections.values()))
            path = self.random.choice(sorted(collection.documents))
            collection.documents[path].groups = _groups(2, self.random)
            groups = sorted(collection.documents[path].groups)
            await self._admin("PUT", f"/v1/collections/{collection.name}/acls/{quote(path)}", {"groups": groups})
        if self.random.random() < 0.3:
            await self.write(self.random.choice(list(self.collections.values())), 2)

    def request(self, reader: Reader) -> tuple[str, str, str, Any, Collection | None]:
        """What kind, method, place, body, and the collection that it names."""
        pick, mine = self.random.random, [one for one in self.collections.values() if reader.scope(one.name)]
        collection = self.random.choice(mine if mine and pick() < 0.85 else list(self.collections.values()))
        place = f"/v1/collections/{collection.name}"
        version = self.random.randint(1, len(collection.versions))
        as_of = self.random.choice([None, f"#{version}"])
        path = self.random.choice(sorted(collection.documents))
        question = self.random.choice(
            [f"What of the {self.random.choice(_TOPICS)}?", " ".join(sorted(collection.documents[path].words)), f"Which {path}?"]
        )
        asked = {"collection": collection.name, "question": question, "as_of": as_of, "top_k": self.random.choice([3, 20])}
        kind = self.random.choices(
            ("query", "search", "chat", "documents", "document", "history", "diff", "collection", "export", "interaction", "replay", "impact",
             "jobs", "listing", "dry run"),
            (20, 20, 4, 8, 6, 6, 6, 4, 6, 5, 5, 3, 3, 3, 1),
        )[0]  # fmt: skip
        match kind:
            case "query":
                return kind, "POST", "/query", {**asked, "abstain": False, "stream": pick() < 0.2}, collection
            case "search":
                return kind, "POST", "/v1/search", {**asked, "explain": True, "neighbours": self.random.choice([0, 2])}, collection
            case "chat":
                model = f"ragstone/{collection.name}" + (f"@#{version}" if as_of else "")
                return (
                    kind,
                    "POST",
                    "/v1/chat/completions",
                    {"model": model, "messages": [{"role": "user", "content": question}]},
                    collection,
                )
            case "documents":
                return kind, "GET", f"{place}/documents?limit=1000&as_of=%23{version}", None, collection
            case "document":
                form = self.random.choice(["json", "text", "chunks", "original"])
                return kind, "GET", f"{place}/documents/{quote(path)}?as_of=%23{version}&form={form}", None, collection
            case "history":
                return kind, "GET", self.random.choice([f"{place}/commits", f"{place}/commits/%23{version}"]), None, collection
            case "diff":
                other = self.random.randint(1, len(collection.versions))
                return kind, "GET", f"{place}/commits/%23{version}/diff/%23{other}", None, collection
            case "collection":
                return kind, "GET", place, None, collection
            case "export":
                return kind, "GET", f"/v1/interactions/export?collection={collection.name}", None, collection
            case "interaction" | "replay" if self.interactions:
                id_ = self.random.choice(list(self.interactions))
                whose = self.interactions[id_][0]
                if kind == "replay":
                    return kind, "POST", f"/v1/interactions/{id_}/replay", None, whose
                return kind, "GET", f"/v1/interactions/{id_}", None, whose
            case "impact":
                return kind, "GET", f"{place}/impact?from=%23{version}&to=head", None, collection
            case "dry run":
                text = f"The {question} is new."
                body = {"collection": collection.name, "dry_run": True, "documents": [{"path": "own.md", "text": text}]}
                return kind, "POST", "/ingest", body, collection
        place = "/v1/jobs" if kind == "jobs" else self.random.choice(["/v1/collections", "/v1/models", "/v1/info", "/v1/interactions"])
        return "jobs" if kind == "jobs" else "listing", "GET", place, None, None

    async def ask(self, reader: Reader) -> None:
        """One request, and what the oracle says of its answer."""
        kind, method, place, body, collection = self.request(reader)
        before = frozenset(self.interactions)
        answer = await self.http.request(method, place, json=body, headers={"Authorization": f"Bearer {reader.name}"})
        self.tally.answers[kind] += 1
        self.tally.statuses[answer.status_code] += 1
        where = f"{reader.name} {method} {place} {json.dumps(body)[:100]} -> {answer.status_code}"
        if answer.status_code >= 500:
            raise RuntimeError(f"{where}: {answer.text}")
        forms = list(_forms(answer.text))
        sent = set(_WORD.findall(f"{place} {json.dumps(body)}"))
        # A question is somebody's own words. What they say of a text is theirs to say; but a document's path is not told on.
        questions = list(_texts(forms, "question"))
        others = {word for text in questions for word in _WORD.findall(text)}
        for path in {path for text in questions for path in _PATH.findall(text)} - set(_PATH.findall(f"{place} {json.dumps(body)}")):
            self._judge(reader, _WORD.findall(path)[0], where)
        for word in set(_WORD.findall(answer.text)) - sent - others:
            self._judge(reader, word, where)
        for name, value in answer.headers.items():
            if set(_WORD.findall(value)) - sent:
                self.tally.leak("names", f"{where}: header {name}")
        if collection is not None and kind not in ("impact", "dry run"):
            self._count(reader, collection, forms, where)
        if answer.status_code == 200:
            self._whole(kind, place, reader, collection, forms, before, where)
            self._remember(kind, forms, body)

    def _judge(self, reader: Reader, word: str, where: str) -> None:
        collection, path = self.owners[word]
        if path is None:
            if not reader.scope(collection.name):
                self.tally.leak("names", f"{where}: {collection.name}")
        elif not any(word in document.words and reader.sees(collection, other) for other, document in collection.documents.items()):
            self.tally.leak("passages" if word.startswith("q") else "names", f"{where}: {path} of {collection.name}")

    def _count(self, reader: Reader, collection: Collection, forms: Sequence[Any], where: str) -> None:
        """A number under one of these names counts all of a collection, or of a commit."""
        if reader.scope(collection.name) and reader.sees_all(collection):
            return
        for form in forms:
            for name, value in _numbers(form):
                if name in _COUNTS:
                    self.tally.leak("counts", f"{where}: {name} = {value}")

    def _whole(
        self, kind: str, place: str, reader: Reader, collection: Collection | None, forms: Sequence[Any], before: frozenset[str], where: str
    ) -> None:
        """Listings have what may be seen, no more and no less."""
        if kind == "documents" and collection is not None:
            version = collection.versions[_version(place)]
            self._compare(
                {one["path"] for one in forms[0]["documents"]}, {path for path in version if reader.sees(collection, path)}, where
            )
        if kind == "impact" and collection is not None:
            then, now = collection.versions[_version(place)], collection.versions[-1]
            differing = [path for path, word in then.items() if now.get(path) != word and reader.sees(collection, path)]
            if forms[0]["documents"] != len(differing):
                self.tally.leak("counts", f"{where}: {forms[0]['documents']} documents instead of {len(differing)}")
            self._count(reader, collection, [forms[0]["from"], forms[0]["to"]], where)
        if kind == "export":
            got = {one["id"] for one in forms}
            seen = {
                id_
                for id_, (of, paths) in self.interactions.items()
                if of is collection and all(reader.sees(collection, path) for path in paths)
            }
            self.tally.missing += len((seen & before) - got)
            for id_ in got & self.interactions.keys() - seen:
                self.tally.leak("counts", f"{where}: interaction {id_}")
        if kind == "listing":
            readable = {name for name in self.collections if reader.scope(name)}
            if place == "/v1/info" and forms[0]["collections"] != len(readable):
                self.tally.leak("counts", f"{where}: {forms[0]['collections']} collections instead of {len(readable)}")
            if place == "/v1/collections":
                self._compare({one["name"] for one in forms[0]["collections"]}, readable, where)
                for one in forms[0]["collections"]:
                    self._count(reader, self.collections[one["name"]], [one], where)

    def _compare(self, got: set[str], wanted: set[str], where: str) -> None:
        self.tally.missing += len(wanted - got)
        for extra in got - wanted:
            self.tally.leak("names", f"{where}: {extra}")

    def _remember(self, kind: str, forms: Sequence[Any], body: Any) -> None:
        """Which documents a logged answer names: those of its passages, and what its question says. Chats and replays are not kept account of."""
        for form in forms:
            if kind == "query" and isinstance(form, dict) and "snapshot" in form:
                used = frozenset(one["path"] for one in form["passages"])
                collection = self.collections[form["snapshot"]["collection"]]
                named = frozenset(path for path in _PATH.findall(body["question"]) if path in collection.documents)
                self.interactions[form["id"]] = collection, used | named


def _word(kind: str, pick: random.Random) -> str:
    """One that was never used."""
    return kind + "z" + "".join(pick.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=10))


def _groups(most: int, pick: random.Random) -> frozenset[str]:
    return frozenset(f"g{number}" for number in pick.sample(range(GROUPS), pick.randint(0, most)))


def _forms(text: str) -> Iterator[Any]:
    """The JSON values of a body: one, one a line, or one an event."""
    try:
        yield json.loads(text)
    except ValueError:
        for line in text.splitlines():
            if (line := line.removeprefix("data: ")).startswith("{"):
                yield json.loads(line)


def _version(place: str) -> int:
    """Where the first version that a place names stands."""
    found = re.search(r"%23([0-9]+)", place)
    if found is None:
        raise AssertionError(place)
    return int(found[1]) - 1


def _texts(forms: Sequence[Any], name: str) -> Iterator[str]:
    """The texts under this name, at any depth."""
    waiting = list(forms)
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting += members.values()
                if isinstance(members.get(name), str):
                    yield members[name]
            case list() as several:
                waiting += several


def _numbers(form: Any) -> Iterator[tuple[str, float]]:
    waiting = [form]
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting += members.values()
                yield from (
                    (name, value) for name, value in members.items() if isinstance(value, int | float) and not isinstance(value, bool)
                )
            case list() as several:
                waiting += several


async def measure(directory: Path, requests: int) -> tuple[Tally, float]:
    """The tally, and the seconds that the requests took."""
    world = await embedded_world(directory)
    keys: dict[str, Principal] = {"root": Principal("root", *parse_scopes("admin"))}
    transport = httpx.ASGITransport(create_app(world.platform, Settings(data_dir=directory / "data"), KnownKeys(keys)))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://rag.example.org", timeout=60.0) as http:
            isolation = Isolation(http, keys)
            await isolation.build()
            began = time.perf_counter()
            for _ in range(0, requests, BLOCK):
                asking = [isolation.random.choice(isolation.readers) for _ in range(BLOCK)]
                for at in range(0, BLOCK, AT_ONCE):
                    await asyncio.gather(*(isolation.ask(reader) for reader in asking[at : at + AT_ONCE]))
                await isolation.change()
            return isolation.tally, time.perf_counter() - began
    finally:
        await world.end(world.platform)


async def rows(data: Path) -> list[Row]:
    """Leaks, and what was kept back without need."""
    with TemporaryDirectory() as name:
        tally, seconds = await measure(Path(name), REQUESTS)
    asked = sum(tally.answers.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in tally.answers.most_common())
    answered = f"{tally.statuses[200]:,} x 200, {tally.statuses[404]:,} x 404, {tally.statuses[403]:,} x 403; {kinds}; {seconds:.0f} s"
    title = f"isolation: {COLLECTIONS} collections, {GROUPS} groups, {READERS} principals of limited rights"
    return [
        row(
            f"{title}: passages, names and counts leaked",
            sum(tally.leaks.values()),
            "leaks",
            "==",
            0,
            asked,
            "; ".join(tally.examples) or answered,
        ),
        row("isolation: entries that may be seen, and were missing in a listing or an export", tally.missing, "entries", "==", 0, asked),
    ]
