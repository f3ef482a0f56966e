"""Bulk work on a real cluster: a release of documentation embedded by the pods of an Indexed Job, one of which is killed; and who may make Jobs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.bed import Bed
from tests.cluster.dev_profile import DevProfile
from tests.cluster.figures import record
from tests.cluster.images import stores
from tests.cluster.installing import Release
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

NAMESPACE, READY, PATIENCE = "ragstone-bulk", 120.0, 600.0  # seconds
SHARDS = 2


@pytest.fixture(scope="module")
def profile(bed: Bed, new_release: Callable[[str, str], Release]) -> Iterator[DevProfile]:
    """The dev profile with bulk work, its pods small enough for one node."""
    if bed.name == "local" and (lacking := stores.missing()):
        pytest.skip(f"no dev profile without {', '.join(lacking)}, which are not on PATH")
    found = DevProfile.of(new_release("ragstone", NAMESPACE), {})
    resources = {"requests": {"cpu": "50m", "memory": "256Mi"}}
    found.release.overlay["worker"]["bulk"] = {"enabled": True, "shards": SHARDS, "least": 50, "resources": resources}
    found.release.make_bare_namespace()
    try:
        found.install()
        found.release.until_ready(READY)
        yield found
    finally:
        found.release.uninstall()


@pytest.fixture(scope="module")
def documents(data: Path) -> Path:
    """A release of documentation: some hundred files."""
    return min((data / "fastapi-docs").iterdir())


def allowed(kubectl: Kubectl, account: str, verb: str, what: str, namespace: str = NAMESPACE) -> bool:
    try:
        said = kubectl("auth", "can-i", verb, what, "--namespace", namespace, "--as", f"system:serviceaccount:{NAMESPACE}:{account}")
    except ClusterError as error:  # kubectl ends with 1 for a no
        said = str(error)
    return said.strip().startswith("yes")


def test_only_the_workers_account_may_make_jobs_and_only_here(profile: DevProfile, kubectl: Kubectl) -> None:
    accounts = [one["metadata"]["name"] for one in kubectl.json("get", "serviceaccounts", "--namespace", NAMESPACE)["items"]]
    assert {account for account in accounts if allowed(kubectl, account, "create", "jobs.batch")} == {"ragstone-worker"}
    assert all(allowed(kubectl, "ragstone-worker", verb, "jobs.batch") for verb in ("get", "list", "watch", "delete"))
    for verb, what, namespace in (
        ("create", "jobs.batch", "default"),
        ("create", "pods", NAMESPACE),
        ("get", "secrets", NAMESPACE),
        ("patch", "jobs.batch", NAMESPACE),
        ("create", "cronjobs.batch", NAMESPACE),
    ):
        assert not allowed(kubectl, "ragstone-worker", verb, what, namespace), (verb, what, namespace)


def test_a_release_is_embedded_by_the_pods_of_a_job_one_of_which_is_killed(profile: DevProfile, kubectl: Kubectl, documents: Path) -> None:
    api = profile.api()
    api.post("/v1/collections", {"name": "bulk"})
    seen: list[dict[str, object]] = []
    killed: list[str] = []
    over = threading.Event()

    def kill_one() -> None:
        while not over.wait(0.2) and not killed:
            pods = kubectl.json("get", "pods", "--namespace", NAMESPACE, "--selector", "ragstone.dev/bulk=shard")["items"]
            running = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
            if running:
                kubectl("delete", "pod", running[0], "--namespace", NAMESPACE, "--grace-period=0", "--force")
                killed.append(running[0])

    killer = threading.Thread(target=kill_one)
    killer.start()
    began = time.monotonic()
    try:
        job = api.start_ingest("bulk", documents)
        made: list[Any] = []
        while True:
            now = api.get(f"/v1/jobs/{job}")["job"]
            seen += now["progress"]["shards"]
            made = made or kubectl.json("get", "jobs", "--namespace", NAMESPACE, "--selector", "ragstone.dev/bulk=shard")["items"]
            if now["state"] in ("published", "failed"):
                break
            assert time.monotonic() - began < PATIENCE, now
            time.sleep(0.3)
    finally:
        over.set()
        killer.join()
    assert now["state"] == "published", now
    assert killed
    assert made, "no Job was seen"
    assert {shard["shard"] for shard in seen} == set(range(SHARDS))
    chunks = now["result"]["stats"]["chunks_embedded"]
    record(
        "bulk work on the cluster: chunks embedded by an Indexed Job",
        chunks / (time.monotonic() - began),
        "1/s",
        f"{chunks} chunks, {SHARDS} pods, 1 killed",
    )
    assert api.ask("bulk", "How do I declare a dependency?")["answer"]["citations"]
    deadline = time.monotonic() + 60
    while kubectl.json("get", "jobs", "--namespace", NAMESPACE, "--selector", "ragstone.dev/bulk=shard")["items"]:
        assert time.monotonic() < deadline, "the Job is left"
        time.sleep(0.5)
    (spec,) = (one["spec"] for one in made)
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", SHARDS), json.dumps(spec)
