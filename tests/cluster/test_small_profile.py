"""The small profile as its user meets it: installed, asked through the ingress, killed, upgraded, rolled back. The tests run in this order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.figures import record
from tests.cluster.installing import HANDBOOK, QUESTION, QUOTED, Release
from tests.cluster.knowledge import QUESTIONS, differences, state

FIRST_ANSWER, OUTAGE = 60.0, 30.0  # seconds: the bars
MEBIBYTE = 2**20
DATA = Path(__file__).parents[3] / "shared" / "data" / "fastapi-docs"


@pytest.fixture(scope="module")
def small(new_release: Callable[[str, str], Release]) -> Iterator[Release]:
    """Installed, asked once; the time is a figure."""
    release = new_release("ragstone", "ragstone-small")
    release.make_namespace()
    began = time.monotonic()
    release.install()
    release.until_ready(FIRST_ANSWER)
    installed = time.monotonic() - began
    api = release.api()
    api.ingest("handbook", HANDBOOK / "v1")
    first = api.ask("handbook", QUESTION)
    record("first answer after helm install", time.monotonic() - began, "s", f"reachable after {installed:.1f} s")
    assert first["answer"]["citations"], first
    yield release
    release.uninstall()


@pytest.fixture(scope="module")
def releases(data: Path) -> list[Path]:
    """The folders of eight releases of documentation, oldest first."""
    return sorted((data / "fastapi-docs").iterdir(), key=lambda folder: tuple(int(part) for part in folder.name.split(".")))


@pytest.fixture
def known(small: Release) -> tuple[str, str, str]:
    """A collection, a question to it and a commit that it had: of the documentation, or of the handbook where that data set is not here."""
    there = small.api().call("GET", "/v1/collections/clean").status_code == 200
    return ("clean", "How do I declare a dependency?", "#3") if there else ("handbook", QUESTION, "#2")


def test_every_answer_names_the_commit_that_it_was_read_from(small: Release) -> None:
    api = small.api()
    commit = api.ingest("handbook", HANDBOOK / "v2")["result"]["commit_id"]
    answer = api.ask("handbook", QUESTION, min_commit=commit)
    assert QUOTED in answer["answer"]["text"]
    assert answer["snapshot"]["commit_id"] == commit
    assert answer["logged"] == "stored"


def test_an_old_commit_is_asked_and_rolled_back_to_through_the_ingress(small: Release) -> None:
    api = small.api()
    old = api.passages("handbook", QUESTION, "#1")
    assert "38 knots" in old[0][2]
    embedded = api.post("/v1/collections/handbook/rollback", {"to": "#1"}, 120.0)["job"]["result"]["stats"]["chunks_embedded"]
    assert embedded == 0
    assert api.passages("handbook", QUESTION) == old
    api.post("/v1/collections/handbook/rollback", {"to": "#2"}, 120.0)
    assert QUOTED in api.ask("handbook", QUESTION)["answer"]["text"]


def test_a_streamed_answer_comes_through_the_ingress_event_by_event(small: Release) -> None:
    events = list(small.api().stream("handbook", QUESTION))
    assert events[0][1] == "passages"
    assert events[-1][1] == "answer"
    assert QUOTED in "".join(data["text"] for _, name, data in events if name == "delta")


def test_progress_of_an_ingest_is_streamed_while_it_runs(small: Release, releases: list[Path]) -> None:
    """A gateway that buffers would send all events at the end."""
    api = small.api()
    job = api.start_ingest("streamed", releases[0])
    arrived = [(moment, data) for moment, _, data in api.events(job)]
    spread = arrived[-1][0] - arrived[0][0]
    assert len(arrived) > 3
    assert spread > 1.0, f"all {len(arrived)} events came within {spread:.2f} s"
    assert api.get(f"/v1/jobs/{job}")["job"]["state"] == "published"


def test_nobody_gets_in_without_a_key(small: Release) -> None:
    without, wrong = small.api(""), small.api("0" * 48)
    for api in (without, wrong):
        assert api.call("GET", "/v1/collections").status_code == 401
        assert api.call("GET", "/metrics").status_code == 401
        refused = api.call("POST", "/query", json={"collection": "handbook", "question": QUESTION})
        assert refused.status_code == 401
        assert "bearer" in refused.headers["WWW-Authenticate"].lower()


def test_helm_test_ingests_and_asks(small: Release) -> None:
    printed = small.helm("test", small.name, "--namespace", small.namespace, "--logs", "--timeout", "3m", limit=240.0)
    assert "Succeeded" in printed
    assert "Failed" not in printed


def test_the_pod_runs_as_nobody_with_nothing_to_write_on_and_no_token(small: Release) -> None:
    program = (
        "import json, os, pathlib\n"
        "def refused(path):\n"
        "    try:\n"
        "        pathlib.Path(path).write_text('x')\n"
        "    except OSError as error:\n"
        "        return error.strerror\n"
        "    return None\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "lines = dict(line.split(':', 1) for line in status.splitlines() if ':' in line)\n"
        "print(json.dumps({'uid': os.getuid(), 'write': refused('/opt/x'), 'etc': refused('/etc/x'),\n"
        "  'token': os.path.exists('/var/run/secrets/kubernetes.io/serviceaccount/token'),\n"
        "  'capabilities': lines['CapEff'].strip(), 'no_new_privs': lines['NoNewPrivs'].strip()}))\n"
    )
    [pod] = small.pods()
    seen = json.loads(small.python(pod["metadata"]["name"], program))
    assert seen["uid"] != 0
    assert seen["write"] == seen["etc"] == "Read-only file system"
    assert seen["token"] is False
    assert int(seen["capabilities"], 16) == 0
    assert seen["no_new_privs"] == "1"


def test_a_privileged_pod_is_refused_in_the_namespace(small: Release, refusal: Callable[..., str]) -> None:
    container = {"name": "root", "image": "docker.io/library/anything:1", "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": small.namespace},
        "spec": {"containers": [container]},
    }
    assert 'violates PodSecurity "restricted' in refusal("create", "--filename", "-", stdin=json.dumps(pod))


def test_a_pod_killed_three_ways_in_mid_ingest_loses_nothing(small: Release, releases: list[Path]) -> None:
    """The process killed, the pod deleted, the pod deleted without grace, each while a release is being ingested."""
    api, kills = small.api(), {1: small.kill_process, 3: small.delete_pod, 5: small.delete_pod_at_once}
    clean = [api.ingest("clean", folder) for folder in releases]
    with small.watch("handbook").running() as watch:
        for number, folder in enumerate(releases):
            ingest = threading.Thread(target=_insist, args=(small, "killed", folder), name=f"ingest {folder.name}")
            ingest.start()
            if number in kills:
                _until_running(small.api(), "killed", ingest)
                kills[number]()
            ingest.join(300)
            assert not ingest.is_alive(), f"{folder.name} was not ingested within 300 s"
    record("outage, pod killed during ingest", watch.longest, "s", f"3 kills, {watch.answered} answers between")
    assert len(clean) == len(releases)
    assert differences(state(api, "killed", len(releases)), state(api, "clean", len(releases))) == {}
    record(
        "state after the kills equals a clean run",
        1,
        "share",
        f"{len(releases)} commits: documents, chunks, passages of {len(QUESTIONS)} questions each",
    )
    assert watch.longest <= OUTAGE


def test_the_working_set_of_the_pod_fits_its_request(
    small: Release, working_set: Callable[[str, str], int], known: tuple[str, str, str]
) -> None:
    """Most of what the pod has held: the kernel's own maximum counts file cache besides, so the working set is read while it works and after."""
    [pod] = small.pods()
    request = _bytes(pod["spec"]["containers"][0]["resources"]["requests"]["memory"])
    api, most, stop = small.api(), 0, threading.Event()

    def sample() -> None:
        nonlocal most
        while not stop.wait(1.0):
            most = max(most, working_set(small.namespace, pod["metadata"]["name"]))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        api.ingest("measured", DATA / "0.115.0" if DATA.is_dir() else HANDBOOK / "v2")
        for _ in range(20):
            api.ask(*known[:2])
    finally:  # a thread that goes on would keep pytest from ending
        stop.set()
        sampler.join()
    record("memory request of the pod", request / MEBIBYTE, "MiB")
    record("working set of the pod, most", most / MEBIBYTE, "MiB", "kubelet, each second of an ingest and of 20 questions")
    assert 0 < most <= request <= 1024 * MEBIBYTE


def test_an_upgrade_keeps_every_answer_and_a_rollback_of_helm_too(small: Release, known: tuple[str, str, str]) -> None:
    api = small.api()
    before = api.passages(*known)
    for what, change in (("upgrade", small.upgrade), ("helm rollback", small.roll_back)):
        with small.watch("handbook").running() as watch:
            change()
            small.until_ready(OUTAGE)
        record(f"outage, {what}", watch.longest, "s", f"{watch.answered} answers, {watch.failed} failures around it")
        assert api.passages(*known) == before
        assert watch.longest <= OUTAGE


def test_a_downgrade_that_cannot_work_says_so_and_leaves_the_data_alone(small: Release, eventually: Callable[..., Any]) -> None:
    """The data directory claims to come from a newer ragstone: what an older image finds after a downgrade."""
    [pod] = small.pods()
    format_file = "/var/lib/ragstone/data/FORMAT"
    was = small.python(pod["metadata"]["name"], f"print(open({format_file!r}).read().strip())").strip()
    small.python(pod["metadata"]["name"], f"open({format_file!r}, 'w').write('99\\n')")
    try:
        small.kubectl("delete", "pod", "--namespace", small.namespace, pod["metadata"]["name"], "--wait=true", limit=120.0)
        told = eventually(lambda: [line for line in small.why() if "newer ragstone" in line], "the migration's refusal", 60.0)
        assert "upgrade ragstone, or restore a backup" in told[0]
    finally:
        small.python_on_data(f"open({format_file!r}, 'w').write({was + chr(10)!r})")
    small.restart()
    small.until_ready(60.0)
    assert QUOTED in small.api().ask("handbook", QUESTION)["answer"]["text"]


def _insist(release: Release, collection: str, folder: Path) -> None:
    """As a client would: the same request again until it is answered."""
    deadline = time.monotonic() + 280
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            release.api().ingest(collection, folder)
            return
        time.sleep(0.5)


def _until_running(api: Any, collection: str, ingest: threading.Thread) -> None:
    """Until a job of the collection has begun to embed or write."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and ingest.is_alive():
        with suppress(httpx.HTTPError):
            jobs = api.get("/v1/jobs", collection=collection, limit=1)["jobs"]
            if jobs and jobs[0]["state"] == "running":
                return
        time.sleep(0.05)


def _bytes(quantity: str) -> int:
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]] if quantity[-2:] in units else int(quantity)
