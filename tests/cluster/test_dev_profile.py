"""The dev profile, a whole cluster on one node: installed, asked, upgraded under load, its workers killed, backed up and restored. In this order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.api import Api
from tests.cluster.bed import Bed
from tests.cluster.dev_profile import DevProfile, requested
from tests.cluster.figures import record
from tests.cluster.images import stores
from tests.cluster.installing import HANDBOOK, QUESTION, QUOTED, Release
from tests.cluster.knowledge import QUESTIONS, differences, state
from tests.cluster.outage import Watch

READY, MEMORY, CPU, KILLS = 120.0, 4 * 2**30, 1.5, 20  # the bars: seconds, bytes, cores, workers
MEBIBYTE = 2**20
SOURCE, RESTORED = "ragstone-dev", "ragstone-restored"
_ASKING = 2  # clients in the load under which pods are replaced
_RELEASES = 3  # of documentation, ingested while workers are killed
_SEED = 6


@pytest.fixture(scope="module", autouse=True)
def programs(bed: Bed) -> None:
    """The local cluster has images of the stores only where their programs are."""
    if bed.name == "local" and (lacking := stores.missing()):
        pytest.skip(f"no dev profile without {', '.join(lacking)}, which are not on PATH")


@pytest.fixture(scope="module")
def dev(programs: None, new_release: Callable[[str, str], Release]) -> Iterator[tuple[DevProfile, float]]:
    """Installed, and the seconds that it took until it answered."""
    there = {"networkPolicy": {"extraIngress": [{"from": [_namespace(RESTORED)]}]}}
    found = DevProfile.of(new_release("ragstone", SOURCE), {"object-store": there})
    found.release.make_bare_namespace()
    try:
        began = time.monotonic()
        found.install()
        found.release.until_ready(READY)
        yield found, time.monotonic() - began
    finally:
        found.release.uninstall()


@pytest.fixture(scope="module")
def profile(dev: tuple[DevProfile, float]) -> DevProfile:
    """Which knows the two versions of the handbook."""
    for version in ("v1", "v2"):
        dev[0].api().ingest("handbook", HANDBOOK / version)
    return dev[0]


@pytest.fixture(scope="module")
def releases(data: Path) -> list[Path]:
    """The folders of eight releases of documentation, oldest first."""
    return sorted((data / "fastapi-docs").iterdir(), key=lambda folder: tuple(int(part) for part in folder.name.split(".")))


def test_it_is_ready_in_time_and_answers_through_the_ingress(dev: tuple[DevProfile, float], profile: DevProfile) -> None:
    record("dev profile: Ready after install", dev[1], "s", "images loaded; Helm waits for every pod")
    answer = profile.api().ask("handbook", QUESTION)
    assert QUOTED in answer["answer"]["text"]
    assert answer["logged"] == "stored"
    assert len(profile.pods("orchestrator")) == 2
    assert dev[1] <= READY


def test_its_requests_fit_a_small_machine_and_its_working_sets_fit_them(
    profile: DevProfile, releases: list[Path], working_set: Callable[[str, str], int]
) -> None:
    """Most of what each pod has held, each second of an ingest and of 20 questions."""
    requests = {pod["metadata"]["name"]: requested(pod, "memory") for pod in profile.pods()}
    cores = sum(float(requested(pod, "cpu")) for pod in profile.pods())
    most, stop = dict.fromkeys(requests, 0), threading.Event()

    def sample() -> None:
        while not stop.wait(1.0):
            for name in most:
                most[name] = max(most[name], working_set(SOURCE, name))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        api = profile.api()
        api.ingest("measured", releases[0])
        for _ in range(20):
            api.ask("measured", QUESTIONS[0])
    finally:
        stop.set()
        sampler.join()
    record("dev profile: memory requests, sum", float(sum(requests.values())) / MEBIBYTE, "MiB")
    record("dev profile: CPU requests, sum", cores, "cores")
    share = {name: most[name] / float(request) for name, request in requests.items()}
    told = ", ".join(
        f"{name.removeprefix('ragstone-')} {most[name] / MEBIBYTE:.0f} of {requests[name] / MEBIBYTE:.0f} MiB" for name in sorted(most)
    )
    record("dev profile: working set against request, the fullest pod", max(share.values()), "x", told)
    assert sum(requests.values()) <= MEMORY
    assert cores <= CPU
    assert all(0 < one <= 1 for one in share.values()), told


@pytest.mark.parametrize("how", ["helm upgrade", "rolling restart"])
def test_pods_are_replaced_under_load_without_a_failed_query(profile: DevProfile, how: str) -> None:
    before = {pod["metadata"]["uid"] for pod in profile.pods("orchestrator")}
    with ExitStack() as load:
        watches = [load.enter_context(_watch(profile).running()) for _ in range(_ASKING)]
        profile.upgrade() if how == "helm upgrade" else profile.restart("orchestrator")
        time.sleep(3.0)  # those that end are asked no more
    answered, failed = (sum(counts) for counts in zip(*((one.answered, one.failed) for one in watches), strict=True))
    record(f"dev profile: failed queries, {how}", failed, "queries", f"{answered} answers around it, {_ASKING} clients")
    assert not before & {pod["metadata"]["uid"] for pod in profile.pods("orchestrator")}
    assert answered > 20
    assert failed == 0


def test_workers_killed_again_and_again_leave_what_a_clean_run_leaves(
    profile: DevProfile, releases: list[Path], eventually: Callable[..., Any]
) -> None:
    api, chance, folders = profile.api(), random.Random(_SEED), releases[:_RELEASES]
    jobs = [api.start_ingest("killed", folder) for folder in folders]
    killed = 0
    while killed < KILLS:
        if _done(api, jobs):  # faster than the killer
            folders.append(releases[len(folders) % len(releases)])
            jobs.append(api.start_ingest("killed", folders[-1]))
        eventually(profile.worker_is_ready, "another worker", 60.0)
        time.sleep(chance.uniform(0.0, 3.0))
        profile.kill_workers()
        killed += 1
    eventually(lambda: _done(api, jobs), "the jobs", 300.0)
    ended = [api.get(f"/v1/jobs/{job}")["job"] for job in jobs]
    assert [job["state"] for job in ended] == ["published"] * len(jobs), [job["result"] for job in ended]
    for folder in folders:
        api.ingest("clean", folder)
    commits = len({one["id"] for one in api.get("/v1/collections/clean/commits", limit=100)["commits"]})
    different = differences(state(api, "killed", commits), state(api, "clean", commits))
    told = f"{killed} kills during {len(jobs)} ingests"
    record("dev profile: state after killed workers equals a clean run", float(not different), "share", told)
    assert different == {}


def test_a_backup_is_restored_into_an_empty_namespace(profile: DevProfile, new_release: Callable[[str, str], Release]) -> None:
    api = profile.api()
    before = [api.passages("handbook", QUESTION, position) for position in ("#1", "#2")]
    commits = [one["id"] for one in api.get("/v1/collections/handbook/commits", limit=10)["commits"]]
    name = profile.back_up()
    profile.keep_only_the_object_store()

    target = DevProfile.of(new_release("ragstone", RESTORED), {})
    target.release.make_bare_namespace()
    try:
        source = target.read_backups_of(profile) | {"networkPolicy": {"extraEgress": [{"to": [_namespace(SOURCE)]}]}}
        target.release.overlay = {**target.release.overlay, "backup": source}
        asleep = "orchestrator.replicas=0,worker.replicas=0"
        target.install("--set", f"{asleep},backup.restore.enabled=true,backup.restore.backup={name}")
        target.wait_for_restore()
        target.install()
        target.release.until_ready(READY)
        restored = target.api()
        assert [one["id"] for one in restored.get("/v1/collections/handbook/commits", limit=10)["commits"]] == commits
        same = [restored.passages("handbook", QUESTION, position) for position in ("#1", "#2")] == before
        record("dev profile: answers of a restored namespace equal those before", float(same), "share", f"{len(commits)} commits")
        assert same
        assert QUOTED in restored.ask("handbook", QUESTION)["answer"]["text"]
        target.check_up()
    finally:
        target.release.uninstall()


def _watch(profile: DevProfile) -> Watch:
    api = profile.api()
    return Watch(lambda: QUOTED in api.ask("handbook", QUESTION)["answer"]["text"])


def _done(api: Api, jobs: list[str]) -> bool:
    try:
        states = [api.get(f"/v1/jobs/{job}")["job"]["state"] for job in jobs]
    except httpx.HTTPError:
        return False
    return all(one not in ("queued", "running") for one in states)


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
