"""The model services in the dev profile: one process embeds for all, is replaced under load and killed; a language model is turned on. In this order."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.charts.documented import documented
from tests.charts.helm import merged
from tests.cluster.bed import Bed
from tests.cluster.dev_profile import DevProfile
from tests.cluster.figures import record
from tests.cluster.images import stores
from tests.cluster.installing import HANDBOOK, QUESTION, QUOTED, ROOT, Release
from tests.cluster.outage import Watch
from tests.support.tiny_llama import WORDS, write_tiny_llama

NAMESPACE, READY, BACK = "ragstone-services", 120.0, 120.0  # seconds
_ASKING = 2  # clients in the load under which the embedding service's pod is replaced
_MODEL_POD, _COPIED = "generation-models", "/models/chat.gguf"
_LIBRARIES = "print(sum('onnxruntime' in line for line in open('/proc/1/maps')))"
_QUERIES, _PASSAGES = (f'ragstone_embedding_texts_total{{input_type="{kind}"}}' for kind in ("query", "passage"))


@pytest.fixture(scope="module")
def profile(bed: Bed, new_release: Callable[[str, str], Release]) -> Iterator[DevProfile]:
    """Which knows the handbook."""
    if bed.name == "local" and (lacking := stores.missing()):
        pytest.skip(f"no dev profile without {', '.join(lacking)}, which are not on PATH")
    found = DevProfile.of(new_release("ragstone", NAMESPACE), {})
    found.release.make_bare_namespace()
    try:
        found.install()
        found.release.until_ready(READY)
        found.api().ingest("handbook", HANDBOOK / "v2")
        yield found
    finally:
        found.release.uninstall()


@pytest.fixture(scope="module")
def questions() -> Iterator[str]:
    """Each another text, for vectors of questions are kept for a while where they were asked."""
    return (f"{QUESTION} ({number})" for number in itertools.count())


def test_a_question_through_the_ingress_is_embedded_by_the_service_alone(profile: DevProfile, questions: Iterator[str]) -> None:
    queries, passages = profile.metric("embedding", _QUERIES), profile.metric("embedding", _PASSAGES)
    assert passages > 0, "the handbook"
    assert QUOTED in profile.api().ask("handbook", next(questions))["answer"]["text"]
    assert profile.metric("embedding", _QUERIES) > queries
    held = {
        pod["metadata"]["name"]: int(profile.release.python(pod["metadata"]["name"], _LIBRARIES, component))
        for component in ("embedding", "orchestrator", "worker")
        for pod in profile.pods(component)
    }
    holding = [name for name, count in held.items() if count]
    record("dev profile: processes that hold the embedding model", len(holding), "processes", f"of {len(held)} that use it")
    assert len(held) == 4
    assert holding == [pod["metadata"]["name"] for pod in profile.pods("embedding")]


def test_the_service_is_replaced_under_load_without_a_failed_query(profile: DevProfile) -> None:
    before = {pod["metadata"]["uid"] for pod in profile.pods("embedding")}
    with ExitStack() as load:
        watches = [load.enter_context(_watch(profile, client).running()) for client in range(_ASKING)]
        profile.restart("embedding")
        time.sleep(3.0)  # the one that ends is asked no more
    answered, failed = (sum(counts) for counts in zip(*((one.answered, one.failed) for one in watches), strict=True))
    what = "dev profile: failed queries, rolling restart of the embedding service"
    record(what, failed, "queries", f"{answered} answers around it, {_ASKING} clients")
    assert not before & {pod["metadata"]["uid"] for pod in profile.pods("embedding")}
    assert answered > 20
    assert failed == 0


def test_while_its_only_pod_is_gone_questions_are_refused_and_jobs_wait(
    profile: DevProfile, questions: Iterator[str], data: Path, eventually: Callable[..., Any]
) -> None:
    api = profile.api()
    job = api.start_ingest("during", min((data / "fastapi-docs").iterdir()))
    eventually(lambda: api.get(f"/v1/jobs/{job}")["job"]["state"] == "running", "the ingest to begin", 60.0)
    asked: list[httpx.Response] = []
    began = time.monotonic()
    profile.kill("embedding")
    while not (503 in [one.status_code for one in asked] and asked[-1].status_code == 200):
        assert time.monotonic() - began <= BACK, [one.status_code for one in asked]
        asked.append(api.call("POST", "/query", json={"collection": "handbook", "question": next(questions)}, timeout=BACK))
        time.sleep(0.1)
    away = time.monotonic() - began
    refused = [one for one in asked if one.status_code != 200]
    record("dev profile: questions refused after the embedding service's pod was killed, until", away, "s", f"{len(refused)} refused")
    assert {one.status_code for one in refused} == {503}
    ours = [
        one for one in refused if one.headers["Content-Type"] == "application/problem+json"
    ]  # others are the gateway's: nobody is ready
    assert ours
    assert all("Retry-After" in one.headers for one in ours)
    assert QUOTED in asked[-1].json()["answer"]["text"]
    eventually(lambda: _state(api, job) in ("published", "failed"), "the ingest to end", 300.0)
    assert _state(api, job) == "published"


def test_a_language_model_is_turned_on_and_streams_its_answers_through_the_orchestrator(
    profile: DevProfile, questions: Iterator[str], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """As docs/generation.md says, with its values; while the service is gone, answers are quotations again, and say so."""
    _copy_model(profile.release, write_tiny_llama(tmp_path / "chat.gguf", endless=True))
    profile.release.overlay = merged(profile.release.overlay, documented()[0])
    profile.install()
    profile.release.until_ready(READY)
    api = profile.api()
    events = list(api.stream("handbook", next(questions), top_k=1))
    words = [(moment, data["text"]) for moment, name, data in events if name == "delta"]
    assert "".join(text for _, text in words).startswith("".join(WORDS) * 2)
    assert len(words) > 1, "what comes within 100 ms is sent together, and an answer of 512 tokens takes longer"
    name, answer = events[-1][1:]
    assert name == "answer"
    assert answer["models"]["generator"] == "openai:chat"
    assert answer["degraded"] == []
    assert profile.metric("generation", "ragstone_generation_answers_total{") == 1
    record("dev profile: first word of the generation service through the ingress", words[0][0], "s", f"{len(words)} pieces, a tiny model")

    profile.scale("generation", 0)
    eventually(lambda: not profile.pods("generation"), "the service's pod to go", 60.0)
    quoted = eventually(lambda: _degraded(api.ask("handbook", next(questions), top_k=1)), "an answer without it", 60.0)
    assert QUOTED in quoted["answer"]["text"]
    profile.scale("generation", 1)
    eventually(lambda: not _degraded(api.ask("handbook", next(questions), top_k=1)), "answers of the model again", BACK)


def _watch(profile: DevProfile, client: int) -> Watch:
    api, number = profile.api(), itertools.count()
    return Watch(lambda: QUOTED in api.ask("handbook", f"{QUESTION} ({client}: {next(number)})")["answer"]["text"])


def _state(api: Any, job: str) -> str:
    try:
        return str(api.get(f"/v1/jobs/{job}")["job"]["state"])
    except httpx.HTTPError:
        return ""


def _degraded(answer: dict[str, Any]) -> dict[str, Any] | None:
    return answer if answer["degraded"] == ["generation"] else None


def _copy_model(release: Release, file: Path) -> None:
    place = ("--namespace", release.namespace)
    release.kubectl("apply", *place, "--filename", str(ROOT / "k8s" / "models" / "models.yaml"))
    release.kubectl("wait", *place, "--for=condition=Ready", f"pod/{_MODEL_POD}", "--timeout=60s", limit=90.0)
    copy = f"import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, open({_COPIED!r}, 'wb'))"
    command = [*release.command, "exec", *place, "--stdin", _MODEL_POD, "--", "/opt/ragstone/bin/python", "-c", copy]
    with file.open("rb") as content:
        subprocess.run(command, stdin=content, check=True, timeout=60)
    release.kubectl("delete", *place, "pod", _MODEL_POD, "--wait", limit=60.0)
