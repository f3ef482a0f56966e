"""scripts/why_not_ready.py on what an API server answers in each kind of trouble (JSON after the Kubernetes API reference)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scripts.why_not_ready import Snapshot, troubles

Json = dict[str, Any]
NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
STARTED = "2026-11-24T11:58:30Z"
NODE: Json = {
    "kind": "Node",
    "metadata": {"name": "node-1"},
    "status": {"allocatable": {"cpu": "2", "memory": "512Mi"}, "conditions": [{"type": "Ready", "status": "True"}]},
}
STANDARD: Json = {"kind": "StorageClass", "metadata": {"name": "standard"}}
DEFAULT: Json = {
    "kind": "StorageClass",
    "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
}


def pod(
    *statuses: Json, init: list[Json] | None = None, phase: str = "Pending", scheduled: str = "True", message: str = "", **status: Any
) -> Json:
    return {
        "kind": "Pod",
        "metadata": {"name": "p", "uid": "u-1"},
        "spec": {
            "initContainers": [{"name": "model", "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}}],
            "containers": [
                {"name": "orchestrator", "resources": {"requests": {"memory": "768Mi", "cpu": "250m"}, "limits": {"memory": "1Gi"}}}
            ],
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": scheduled, "message": message}, {"type": "Ready", "status": "False"}],
            "initContainerStatuses": init or [],
            "containerStatuses": list(statuses),
            **status,
        },
    }


def container(name: str = "orchestrator", restarts: int = 0, **state: Any) -> Json:
    last = state.pop("last", {})
    return {"name": name, "image": "ragstone/orchestrator:1", "ready": False, "restartCount": restarts, "state": state, "lastState": last}


def waiting(reason: str, message: str = "", **extra: Any) -> Json:
    return container(waiting={"reason": reason, "message": message}, **extra)


def event(reason: str, message: str, kind: str = "Pod", name: str = "p", **more: Any) -> Json:
    about = {"kind": kind, "name": name}
    return {"kind": "Event", "metadata": {"name": "e"}, "involvedObject": about, "reason": reason, "message": message, **more}


def claim(storage_class: str | None, phase: str = "Pending") -> Json:
    spec = {} if storage_class is None else {"storageClassName": storage_class}
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": "data", "uid": "u-2"}, "spec": spec, "status": {"phase": phase}}


def replica_set(message: str, replicas: int = 1) -> Json:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return {"kind": "ReplicaSet", "metadata": {"name": "rs"}, "spec": {"replicas": replicas}, "status": {"conditions": [condition]}}


def seen(*items: Json, nodes: list[Json] | None = None, classes: list[Json] | None = None, log: str = "", now: datetime = NOW) -> list[str]:
    return troubles(
        Snapshot("ns", list(items), [NODE] if nodes is None else nodes, [DEFAULT] if classes is None else classes, lambda *_: log, now)
    )


def the_one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: 1 No preemption victims found.",
            "asks for 1024 MiB of memory",
        ),
        (
            "0/1 nodes are available: 1 Insufficient cpu.",
            "asks for 0.25 of cpu and no node has that much free (the largest node gives pods 2 in all)",
        ),
        ("0/1 nodes are available: 1 node(s) had untolerated taint(s).", "(untolerated taint(s)): add it to tolerations"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.", "(untolerated taint {gpu: yes})"),
        ("0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.", "its volume is where the pod may not run"),
        ("0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.", "make a volume that is large enough"),
        ("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", "nodeSelector"),
        ("0/1 nodes are available: 1 node(s) were unschedulable.", "kubectl uncordon"),
        ('persistentvolumeclaim "mine" not found', "create that claim"),
        ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "must get a volume first"),
        ("something new", "(something new)"),
        ("", "is kube-scheduler running?"),
    ],
)
def test_a_pod_that_fits_on_no_node(message: str, expected: str) -> None:
    assert expected in the_one(seen(pod(scheduled="False", message=message)))


def test_each_lacking_resource_has_its_sentence() -> None:
    found = seen(
        pod(
            scheduled="False", message="0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient memory. preemption: 2 Insufficient cpu."
        )
    )
    assert [" of cpu " in found[0], " of memory " in found[1], len(found)] == [True, True, 2]


@pytest.mark.parametrize(
    ("wanted", "classes", "events", "expected"),
    [
        (
            None,
            [STANDARD],
            [],
            "names no StorageClass and the cluster has no default one: set storageClassName in the values to one of standard",
        ),
        (None, [], [], "those that you install (there is none)"),
        (
            "fast",
            [STANDARD, DEFAULT],
            [],
            "asks for StorageClass fast, which does not exist: set storageClassName in the values to one of local, standard",
        ),
        (
            "standard",
            [STANDARD],
            [event("ProvisioningFailed", "quota used up", "PersistentVolumeClaim", "data")],
            "gets no volume (quota used up)",
        ),
        (
            "standard",
            [STANDARD],
            [event("ExternalProvisioning", "waiting for x", "PersistentVolumeClaim", "data")],
            "waits for its provisioner",
        ),
    ],
)
def test_a_claim_without_volume(wanted: str | None, classes: list[Json], events: list[Json], expected: str) -> None:
    assert expected in the_one(seen(claim(wanted), *events, classes=classes))


def test_a_claim_that_waits_for_its_first_pod_and_a_bound_one_are_no_trouble() -> None:
    assert seen(claim("local"), claim("local", "Bound")) == []
    assert "lost its volume" in the_one(seen(claim("local", "Lost")))


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("rpc error: code = NotFound desc = failed to resolve reference: ragstone/orchestrator:1: not found", "make images"),
        ("rpc error: code = Unknown desc = failed to authorize: 401 Unauthorized", "create a pull secret"),
        ("rpc error: code = Unknown desc = dial tcp: lookup registry.example.org: no such host", "cannot reach the registry"),
        ('Container image "ragstone/orchestrator:1" is not present with pull policy of Never', "make images"),
    ],
)
@pytest.mark.parametrize("in_event", [False, True])
def test_an_image_that_cannot_be_pulled(message: str, advice: str, in_event: bool) -> None:
    status = waiting("ImagePullBackOff", 'Back-off pulling image "ragstone/orchestrator:1"' if in_event else message)
    found = the_one(seen(pod(status), event("Failed", "Error: ImagePullBackOff" if not in_event else f"Failed to pull image: {message}")))
    assert advice in found
    assert "ragstone/orchestrator:1" in found


def test_a_missing_pull_secret_is_named_beside_the_image() -> None:
    about = event("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (regcred)")
    found = seen(pod(waiting("ErrImagePull", "desc = denied")), about)
    assert ["(regcred)" in found[0], "pull secret" in found[1], len(found)] == [True, True, 2]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('secret "keys" not found', "Secret keys does not exist: create it (`kubectl create secret generic keys -n ns …`)"),
        ('configmap "settings" not found', "`kubectl create configmap settings -n ns …`"),
        ("couldn't find key api-keys in Secret ns/keys", "Secret keys has no key api-keys"),
        ("container has runAsNonRoot and image will run as root (pod: p)", "a number other than 0"),
    ],
)
def test_a_container_that_cannot_be_made(message: str, expected: str) -> None:
    assert expected in the_one(seen(pod(waiting("CreateContainerConfigError", message))))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            ['MountVolume.SetUp failed for volume "secrets" : secret "ragstone-api-keys" not found'],
            "waits for a volume: Secret ragstone-api-keys does not exist",
        ),
        (['MountVolume.SetUp failed for volume "secrets" : references non-existent secret key: api-keys'], "has no key api-keys"),
        (
            ["Unable to attach or mount volumes: timed out", 'MountVolume.SetUp failed for volume "s" : secret "x" not found'],
            "Secret x does not exist",
        ),
        (["Unable to attach or mount volumes: timed out"], "timed out: change what the message names"),
    ],
)
def test_a_volume_that_cannot_be_mounted(messages: list[str], expected: str) -> None:
    events = [event("FailedMount", message, lastTimestamp=f"2026-11-24T11:0{9 - index}:00Z") for index, message in enumerate(messages)]
    assert expected in the_one(
        seen(pod(waiting("ContainerCreating"), init=[container("model", waiting={"reason": "PodInitializing"})]), *events)
    )


def test_the_newest_event_of_this_very_pod_counts() -> None:
    events = [
        event("FailedMount", "old", lastTimestamp="2026-11-24T11:00:00Z"),
        event("FailedMount", "new", lastTimestamp=None, eventTime="2026-11-24T11:30:00.000000Z"),
        {
            **event("FailedMount", "another pod of that name", lastTimestamp="2026-11-24T11:59:00Z"),
            "involvedObject": {"kind": "Pod", "name": "p", "uid": "u-0"},
        },
    ]
    assert "new" in the_one(seen(pod(waiting("ContainerCreating")), *events))


def test_a_pod_without_network() -> None:
    message = 'Failed to create pod sandbox: plugin type="bridge" failed'
    assert "CNI plugin" in the_one(seen(pod(waiting("ContainerCreating")), event("FailedCreatePodSandBox", message)))


def test_a_crash_loop_is_told_with_the_last_line_of_the_log() -> None:
    status = waiting("CrashLoopBackOff", "back-off 40s", restarts=3, last={"terminated": {"exitCode": 2, "reason": "Error"}})
    found = the_one(seen(pod(status, phase="Running"), log="data directory is newer than this version"))
    assert 'ended with exit status 2 (3 restarts), it last said "data directory is newer than this version"' in found
    assert "`kubectl logs p -n ns -c orchestrator --previous`" in found


def test_an_init_container_that_fails_hides_those_that_wait_for_it() -> None:
    failing = container("model", terminated={"exitCode": 1, "reason": "Error"})
    found = the_one(seen(pod(waiting("PodInitializing"), init=[failing]), log="no index answers"))
    assert found.startswith('Init container model of pod p ended with exit status 1 (0 restarts), it last said "no index answers"')
    assert "--previous" not in found


def test_a_message_on_termination_goes_before_the_log() -> None:
    ended = {"terminated": {"exitCode": 128, "reason": "StartError", "message": 'exec: "ragstone": executable file not found'}}
    assert 'it last said "exec: "ragstone": executable file not found"' in the_one(
        seen(pod(waiting("CrashLoopBackOff", last=ended)), log="x")
    )


def test_a_process_killed_for_memory_is_told_its_limit() -> None:
    status = waiting("CrashLoopBackOff", last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    assert "was killed for memory at its limit (1Gi): raise" in the_one(seen(pod(status)))


def test_an_init_container_at_work_is_told_with_its_time() -> None:
    working = container("model", running={"startedAt": STARTED})
    assert "Init container model of pod p has been at work for 90 s" in the_one(
        seen(pod(waiting("PodInitializing"), init=[working]), log="pulling")
    )


def test_a_sidecar_that_runs_is_no_trouble() -> None:
    sidecar = {**container("model", running={"startedAt": STARTED}), "ready": True}
    waiting_pod = pod(container(running={"startedAt": STARTED}), init=[sidecar])
    waiting_pod["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    assert the_one(seen(waiting_pod)).startswith("Container orchestrator of pod p has run for 90 s")


def test_a_probe_that_fails_is_cited() -> None:
    status = container(running={"startedAt": STARTED})
    probe = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
    found = the_one(seen(pod(status, phase="Running"), probe, log="loading"))
    assert "is not ready (Readiness probe failed: HTTP probe failed with statuscode: 503)" in found
    assert 'it last said "loading"' in found


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            'pods "rs-x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set it)',
            'enforces Pod Security restricted:latest and the pod breaks it (allowPrivilegeEscalation != false (container "c" must set it))',
        ),
        ('pods "rs-x" is forbidden: exceeded quota: mem, requested: requests.memory=1Gi', "raise the namespace's ResourceQuota"),
        (
            'pods "rs-x" is forbidden: error looking up service account ns/sa: serviceaccount "sa" not found',
            "ServiceAccount sa does not exist",
        ),
        ('pods "rs-x" is forbidden: no PriorityClass with name high was found', "PriorityClass high does not exist"),
        ('failed calling webhook "x"', 'failed calling webhook "x"'),
    ],
)
def test_a_controller_that_may_not_make_pods(message: str, expected: str) -> None:
    assert expected in the_one(seen(replica_set(message)))
    assert seen(replica_set(message, replicas=0)) == []


def test_a_stateful_set_says_it_in_events_and_a_job_in_its_condition() -> None:
    stateful = {"kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {"replicas": 1}, "status": {}}
    message = 'create Pod s-0 failed: pods "s-0" is forbidden: exceeded quota: x'
    assert "StatefulSet s may not make pods" in the_one(seen(stateful, event("FailedCreate", message, "StatefulSet", "s")))
    conditions = [{"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}]
    job = {"kind": "Job", "metadata": {"name": "j"}, "spec": {}, "status": {"conditions": conditions}}
    assert "Job j failed (Job has reached the specified backoff limit)" in the_one(seen(job))


def test_nodes_that_are_down_or_short_of_something() -> None:
    down = {"type": "Ready", "status": "False", "message": "cni plugin not initialized"}
    full = {"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"}
    node = {"metadata": {"name": "n"}, "status": {"conditions": [down, full, {"type": "MemoryPressure", "status": "False"}]}}
    found = seen(nodes=[node])
    assert ["cni plugin not initialized" in found[0], "DiskPressure" in found[1], len(found)] == [True, True, 2]
    assert "no node" in the_one(seen(nodes=[]))


def test_an_evicted_pod_is_told_until_another_has_taken_its_place() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.", containerStatuses=[])
    evicted["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "rs"}]
    owner: Json = {"kind": "ReplicaSet", "metadata": {"name": "rs"}, "spec": {"replicas": 1}, "status": {"readyReplicas": 0}}
    evicted["status"]["message"] = "The node was low on resource: memory."
    assert "Evicted (The node was low on resource: memory)" in the_one(seen(evicted, owner))
    assert seen(evicted, {**owner, "status": {"readyReplicas": 1}}) == []


def test_a_pod_that_does_not_go() -> None:
    leaving = pod(container(running={"startedAt": STARTED}))
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T11:59:55Z"
    assert seen(leaving) == []
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T11:59:00Z"
    assert "should have been gone 60 s ago" in the_one(seen(leaving))


def test_what_is_ready_or_done_is_no_trouble() -> None:
    ready = pod({**container(restarts=1, running={"startedAt": STARTED}, last={"terminated": {"exitCode": 1}}), "ready": True})
    ready["status"]["conditions"][1]["status"] = "True"
    deployment = {"kind": "Deployment", "metadata": {"name": "d", "generation": 2}, "spec": {"replicas": 1}}
    status = {"readyReplicas": 1, "observedGeneration": 2}
    assert seen(ready, pod(phase="Succeeded"), {**deployment, "status": status}) == []
    assert "has 0 of 1 pods ready" in the_one(seen({**deployment, "status": {"observedGeneration": 2}}))
    assert "kube-controller-manager" in the_one(seen({**deployment, "status": {"observedGeneration": 1}}))
