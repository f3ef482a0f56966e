#!/usr/bin/env python3
"""Says what keeps a namespace from being ready: one sentence per trouble, with what to do about it.

usage: scripts/why_not_ready.py NAMESPACE    exit status 0: all is ready, 3: something is not. Needs kubectl and nothing else.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LIMIT_S = 20
KINDS = "pods,persistentvolumeclaims,deployments,replicasets,statefulsets,daemonsets,jobs,events"
SUFFIXES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "m": 1e-3, "": 1}
PULL_REASONS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable"}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
UNSCHEDULABLE = {
    r"untolerated taint(\(s\)|s)?( \{[^}]*\})?": "add it to tolerations in the values, or take it off the node (`kubectl describe nodes` shows taints)",
    r"didn't match Pod's node affinity/selector": "correct nodeSelector and affinity in the values, or label a node",
    r"were unschedulable": "let the node take pods again (`kubectl uncordon NODE`)",
    r"(PersistentVolume's|volume) node affinity( conflict)?|no available volume zone": "its volume is where the pod may not run: allow it there",
    r"didn't find available persistent volumes|enough free storage": "make a volume that is large enough, or lower the size in the values",
    r"Too many pods": "add a node, or raise the kubelet's maxPods",
    r"topology spread constraints": "add nodes, or loosen topologySpreadConstraints in the values",
    r'persistentvolumeclaim "[^"]+" not found': "create that claim, or correct existingClaim in the values",
    r"unbound immediate PersistentVolumeClaims": "its claim must get a volume first",
}

Item = dict[str, Any]


class KubectlError(Exception):
    """kubectl is missing, or answered with an error (its last line)."""


@dataclass
class Snapshot:
    """What the API server says about a namespace. `nodes` and `classes` are None where the user may not read them."""

    namespace: str
    items: list[Item]
    nodes: list[Item] | None
    classes: list[Item] | None
    last_line: Callable[[str, str, bool], str]  # (pod, container, previous instance) -> last line of its log, or ""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def of(self, kind: str) -> list[Item]:
        return [item for item in self.items if item["kind"] == kind]

    def messages(self, item: Item, *reasons: str) -> list[str]:
        """What the events of these reasons say about the object, the newest first."""
        name, uid = item["metadata"]["name"], item["metadata"].get("uid")
        about = [
            event
            for event in self.of("Event")
            if event["reason"] in reasons
            and (event["involvedObject"].get("kind"), event["involvedObject"].get("name")) == (item["kind"], name)
            and event["involvedObject"].get("uid", uid) == uid
        ]
        return [" ".join(event.get("message", "").split()) for event in sorted(about, key=_when, reverse=True)]


def why(namespace: str, kubectl: Sequence[str] = ("kubectl",)) -> list[str]:
    """One sentence per trouble of that namespace; none when every pod and workload in it is ready."""
    try:
        snapshot = _look(namespace, kubectl)
        if not any(item["kind"] != "Event" for item in snapshot.items):
            return [_empty(namespace, kubectl)]
    except KubectlError as error:
        return [f"{error}: check that the cluster runs and that `kubectl config current-context` names the one you mean."]
    return troubles(snapshot)


def troubles(snapshot: Snapshot) -> list[str]:
    """The sentences for what was seen, causes before their effects."""
    found = [*_nodes(snapshot), *_claims(snapshot), *_creation(snapshot)]
    for pod in snapshot.of("Pod"):
        found += _pod(pod, snapshot)
    return list(dict.fromkeys(found)) or list(_unready_workloads(snapshot))


def _run(kubectl: Sequence[str], *arguments: str) -> str:
    command = [*kubectl, f"--request-timeout={LIMIT_S}s", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * LIMIT_S, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    except FileNotFoundError as error:
        raise KubectlError(f"{kubectl[0]} is not installed or not on the PATH") from error
    except subprocess.TimeoutExpired as error:
        raise KubectlError(f"kubectl had no answer within {2 * LIMIT_S} s") from error
    if done.returncode:
        raise KubectlError(f"kubectl failed ({_cut((done.stderr.strip() or 'it says nothing').splitlines()[-1])})")
    return done.stdout


def _items(kubectl: Sequence[str], *arguments: str) -> list[Item]:
    items: list[Item] = json.loads(_run(kubectl, "get", *arguments, "--output=json"))["items"]
    return items


def _look(namespace: str, kubectl: Sequence[str]) -> Snapshot:
    def optional(kind: str) -> list[Item] | None:
        try:
            return _items(kubectl, kind)
        except KubectlError:
            return None  # cluster-wide objects may be closed to this user; the rest still helps

    def last_line(pod: str, container: str, previous: bool) -> str:
        which = ["--previous"] if previous else []
        try:
            lines = _run(kubectl, "logs", pod, f"--namespace={namespace}", f"--container={container}", "--tail=20", *which).split("\n")
        except KubectlError:
            return ""  # no log yet, or it is gone with its container
        return _cut(next((line.strip() for line in reversed(lines) if line.strip()), ""))

    items = _items(kubectl, KINDS, f"--namespace={namespace}")
    return Snapshot(namespace, items, optional("nodes"), optional("storageclasses"), last_line)


def _empty(namespace: str, kubectl: Sequence[str]) -> str:
    try:
        _run(kubectl, "get", "namespace", namespace, "--output=name")
    except KubectlError as error:
        if "not found" not in str(error).lower():
            raise
        return f"There is no namespace {namespace}: make it with `kubectl create namespace {namespace}`, or name another one."
    return f"Namespace {namespace} is empty: install the chart into it (`helm install ragstone charts/ragstone --namespace {namespace} --values …`)."


def _nodes(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.nodes == []:
        yield "The cluster has no node: start a kubelet that joins it (`kubectl get nodes` lists them)."
    for node in snapshot.nodes or []:
        name = node["metadata"]["name"]
        for condition in node["status"].get("conditions", []):
            kind, status = condition["type"], condition["status"]
            if kind == "Ready" and status != "True":
                yield f"Node {name} is not ready ({_cut(condition.get('message', 'no reason given'))}): start or mend its kubelet and container network."
            elif kind.endswith("Pressure") and status == "True":
                yield f"Node {name} has {kind} ({_cut(condition.get('message', ''))}): free some of it, or add a node; until then it takes no new pods."


def _claims(snapshot: Snapshot) -> Iterator[str]:
    for claim in snapshot.of("PersistentVolumeClaim"):
        phase, name, wanted = claim["status"].get("phase"), claim["metadata"]["name"], claim["spec"].get("storageClassName")
        classes = {each["metadata"]["name"]: each for each in snapshot.classes or []}
        failed = snapshot.messages(claim, "ProvisioningFailed")
        if phase == "Lost":
            yield f"PersistentVolumeClaim {name} has lost its volume: restore the volume, or delete the claim and restore a backup into a new one."
        elif phase != "Pending":
            continue
        elif wanted is None and not any(each["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true" for each in classes.values()):
            yield (
                f"PersistentVolumeClaim {name} names no StorageClass and the cluster has no default one: "
                f"set storageClassName in the values to one of {_listed(classes)}, or mark one as the default (annotation {DEFAULT_CLASS}=true)."
            )
        elif wanted and snapshot.classes is not None and wanted not in classes:
            yield f"PersistentVolumeClaim {name} asks for StorageClass {wanted}, which does not exist: set storageClassName in the values to one of {_listed(classes)}."
        elif failed:
            yield f"PersistentVolumeClaim {name} gets no volume ({_cut(failed[0])}): mend the provisioner, or ask for what it can give."
        elif waiting := snapshot.messages(claim, "ExternalProvisioning"):
            yield f"PersistentVolumeClaim {name} waits for its provisioner ({_cut(waiting[0])}): see that the provisioner's pods run."


def _creation(snapshot: Snapshot) -> Iterator[str]:
    """Controllers that may not make their pods: Pod Security, quotas, a missing service account or priority class."""
    for kind in ("ReplicaSet", "StatefulSet", "DaemonSet", "Job"):
        for item in snapshot.of(kind):
            status, name = item.get("status", {}), item["metadata"]["name"]
            failures = [
                each for each in status.get("conditions", []) if each["status"] == "True" and each["type"] in ("ReplicaFailure", "Failed")
            ]
            if kind == "Job" and failures:
                yield f"Job {name} failed ({_cut(failures[0].get('message', ''))}): read `kubectl logs job/{name} -n {snapshot.namespace}`, mend that, delete it."
                continue
            messages = [each.get("message", "") for each in failures]
            if kind in ("StatefulSet", "DaemonSet", "Job") and not any(
                status.get(each) for each in ("readyReplicas", "numberReady", "active", "succeeded")
            ):
                messages += snapshot.messages(item, "FailedCreate")
            if messages and item["spec"].get("replicas", 1):
                yield _refused(f"{kind} {name}", messages[0])


def _refused(owner: str, message: str) -> str:
    if found := re.search(r'violates PodSecurity "([^"]+)": (.*)', message, re.DOTALL):
        return (
            f"{owner} may not make pods: the namespace enforces Pod Security {found[1]} and the pod breaks it ({_cut(found[2])}): "
            "take the values that loosen its security context or volumes back."
        )
    if "exceeded quota" in message:
        return f"{owner} may not make pods ({_cut(message)}): raise the namespace's ResourceQuota, or lower the pod's requests."
    if found := re.search(r'serviceaccount "([^"]+)" not found', message):
        return f"{owner} may not make pods: ServiceAccount {found[1]} does not exist: create it, or let the chart make it."
    if found := re.search(r"no PriorityClass with name (\S+) was found", message):
        return f"{owner} may not make pods: PriorityClass {found[1]} does not exist: create it, or empty priorityClassName in the values."
    return f"{owner} may not make pods: {_cut(message)}: change what the message names."


def _pod(pod: Item, snapshot: Snapshot) -> list[str]:
    status, name = pod["status"], pod["metadata"]["name"]
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    if status.get("phase") == "Succeeded" or conditions.get("Ready", {}).get("status") == "True":
        return []
    if status.get("phase") == "Failed" and _replaced(pod, snapshot):
        return []
    if ends := pod["metadata"].get("deletionTimestamp"):
        late = (snapshot.now - datetime.fromisoformat(ends)).total_seconds()
        stuck = f"Pod {name} should have been gone {late:.0f} s ago: its node may be down, or a finalizer holds it (`kubectl get pod {name} -o yaml`)."
        return [stuck] if late > LIMIT_S else []
    if "reason" in status:
        return [f"Pod {name} was ended: {status['reason']} ({_cut(status.get('message', ''))}): mend that, then delete the pod."]
    if conditions.get("PodScheduled", {}).get("status") != "True":
        return list(_unschedulable(pod, conditions.get("PodScheduled", {}).get("message", ""), snapshot))
    no_secret = snapshot.messages(pod, "FailedToRetrieveImagePullSecret")[:1]
    found = [f"Pod {name}: {_cut(each)}: create the pull secrets that it names, or correct global.imagePullSecrets." for each in no_secret]
    for kind, statuses in (("Init container", "initContainerStatuses"), ("Container", "containerStatuses")):
        here = [each for container in status.get(statuses, []) for each in _container(pod, kind, container, snapshot)]
        if here:
            return [*found, *here]  # what comes later only waits for this
    return [*found, _before_containers(pod, snapshot)]


def _replaced(pod: Item, snapshot: Snapshot) -> bool:
    """Its ReplicaSet has as many ready pods as it wants without this one."""
    owners = {owner["name"] for owner in pod["metadata"].get("ownerReferences", []) if owner["kind"] == "ReplicaSet"}
    sets = [each for each in snapshot.of("ReplicaSet") if each["metadata"]["name"] in owners]
    return any(each["status"].get("readyReplicas", 0) >= each["spec"].get("replicas", 1) for each in sets)


def _unschedulable(pod: Item, message: str, snapshot: Snapshot) -> Iterator[str]:
    name, clauses = pod["metadata"]["name"], message.split("preemption:", 1)[0]
    known = False
    for resource in re.findall(r"Insufficient ([\w./-]+?)(?=[,.\s]|$)", clauses):
        known = True
        largest = max((_quantity(node["status"].get("allocatable", {}).get(resource, "0")) for node in snapshot.nodes or []), default=None)
        size = "" if largest is None else f" (the largest node gives pods {_shown(largest, resource)} in all)"
        yield (
            f"Pod {name} asks for {_shown(_requested(pod['spec'], resource), resource)} of {resource} and no node has that much free{size}: "
            f"add a node, free one, or lower resources.requests.{resource} in the values."
        )
    for pattern, advice in UNSCHEDULABLE.items():
        if match := re.search(pattern, clauses):
            known = True
            yield f"Pod {name} fits on no node ({match[0]}): {advice}."
    if not known:
        yield f"Pod {name} has no node yet ({_cut(clauses or 'the scheduler has not looked at it: is kube-scheduler running?')}): change what the message names."


def _container(pod: Item, kind: str, status: Item, snapshot: Snapshot) -> Iterator[str]:
    what = f"{kind} {status['name']} of pod {pod['metadata']['name']}"
    state = status.get("state", {})
    waiting = state.get("waiting", {})
    ended = state.get("terminated") or status.get("lastState", {}).get("terminated")
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in PULL_REASONS:
        yield _unpulled(what, status["image"], message, snapshot.messages(pod, "Failed"))
    elif reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        yield f"{what} cannot be made: {_advised(message, snapshot.namespace)}"
    elif ended and (ended.get("exitCode") != 0 or reason == "CrashLoopBackOff") and not status.get("ready"):
        yield _ended(what, pod, status, ended, snapshot)
    elif (running := state.get("running")) and (_runs_to_its_end(pod, kind, status["name"]) or not status.get("ready")):
        yield _slow(what, pod, kind, status, running, snapshot)


def _runs_to_its_end(pod: Item, kind: str, name: str) -> bool:
    """An init container that is no sidecar."""
    sidecars = [each["name"] for each in pod["spec"].get("initContainers", []) if each.get("restartPolicy") == "Always"]
    return kind == "Init container" and name not in sidecars


def _unpulled(what: str, image: str, message: str, events: list[str]) -> str:
    details = next((each for each in [message, *events] if re.search(r"desc =|rror|not found|denied", each)), message or "no reason given")
    cause = _cut(re.sub(r".*desc = ", "", details))
    if re.search(r"no such host|timeout|refused|unreachable|x509|i/o|EOF|lookup|TLS", details):
        advice = "the node cannot reach the registry: mend its network or certificates, or set global.imageRegistry to a mirror"
    elif re.search(r"unauthori[sz]ed|denied|authentication|forbidden|40[13]", details, re.IGNORECASE):
        advice = "the registry wants a login: create a pull secret and name it in global.imagePullSecrets"
    else:
        advice = "correct image.repository, image.tag and image.digest, or build and load it (`make images`, then `kind load docker-image` or a push)"
    return f"{what} has no image, {image} cannot be pulled ({cause}): {advice}."


def _advised(message: str, namespace: str) -> str:
    """The message about something that a pod refers to, with what to do."""
    message = _cut(re.sub(r"^MountVolume\.SetUp failed for volume \S+ ?: ?", "", message))
    if found := re.search(r'(secret|configmap) "([^"]+)" not found', message):
        return f"{found[1].capitalize()} {found[2]} does not exist: create it (`kubectl create {'secret generic' if found[1] == 'secret' else found[1]} {found[2]} -n {namespace} …`)."
    if found := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) [^/\s]+/(\S+)", message):
        return f"{found[2]} {found[3]} has no key {found[1]}: add it, or correct the key's name in the values."
    if found := re.search(r"references non-existent (secret|config) key: (\S+)", message):
        return f"the {found[1]} that it mounts has no key {found[2]}: add it, or correct the key's name in the values."
    if "runAsNonRoot" in message:
        return f"{message}: use an image whose user is a number other than 0."
    return f"{message}: change what the message names."


def _ended(what: str, pod: Item, status: Item, ended: Item, snapshot: Snapshot) -> str:
    name, container = pod["metadata"]["name"], status["name"]
    if ended.get("reason") == "OOMKilled":
        spec = next(each for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]] if each["name"] == container)
        limit = spec.get("resources", {}).get("limits", {}).get("memory", "none of its own")
        return f"{what} was killed for memory at its limit ({limit}): raise resources.requests.memory and resources.limits.memory in the values."
    previous = not status.get("state", {}).get("terminated") and status.get("restartCount", 0) > 0
    said = _cut(ended.get("message", "")) or snapshot.last_line(name, container, previous)
    log = f"kubectl logs {name} -n {snapshot.namespace} -c {container}" + (" --previous" if previous else "")
    words = f'it last said "{said}"' if said else "it said nothing"
    return f"{what} ended with exit status {ended.get('exitCode')} ({status.get('restartCount', 0)} restarts), {words}: mend that (whole log: `{log}`)."


def _slow(what: str, pod: Item, kind: str, status: Item, running: Item, snapshot: Snapshot) -> str:
    seconds = (snapshot.now - datetime.fromisoformat(running["startedAt"])).total_seconds()
    said = snapshot.last_line(pod["metadata"]["name"], status["name"], False)
    words = f'it last said "{said}"' if said else "it said nothing yet"
    if kind == "Init container":
        return f"{what} has been at work for {seconds:.0f} s, {words}: wait for it, or give it what it asks for."
    probe = next(iter(snapshot.messages(pod, "Unhealthy")), "no probe has failed yet")
    return f"{what} has run for {seconds:.0f} s and is not ready ({_cut(probe)}), {words}: wait for it, or mend what the log names."


def _before_containers(pod: Item, snapshot: Snapshot) -> str:
    """For a pod on a node none of whose containers says more than that it is being made."""
    name = pod["metadata"]["name"]
    mounts = snapshot.messages(pod, "FailedMount", "FailedAttachVolume")
    if mounts:
        telling = next((each for each in mounts if "not found" in each or "non-existent" in each), mounts[0])
        return f"Pod {name} waits for a volume: {_advised(telling, snapshot.namespace)}"
    if sandbox := snapshot.messages(pod, "FailedCreatePodSandBox", "NetworkNotReady"):
        return f"Pod {name} gets no network or sandbox ({_cut(sandbox[0])}): mend the node's container runtime and CNI plugin."
    return f"Pod {name} is {pod['status'].get('phase', 'Unknown')} and not ready; no event says why: see `kubectl describe pod {name} -n {snapshot.namespace}`."


def _unready_workloads(snapshot: Snapshot) -> Iterator[str]:
    """Where nothing else explains it."""
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for item in snapshot.of(kind):
            status, name = item.get("status", {}), item["metadata"]["name"]
            daemons = kind == "DaemonSet"
            wanted = status.get("desiredNumberScheduled", 0) if daemons else item["spec"].get("replicas", 1)
            ready = status.get("numberReady" if daemons else "readyReplicas", 0)
            if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
                yield f"{kind} {name} was changed and no controller has looked at it: see that kube-controller-manager runs."
            elif ready < wanted:
                yield f"{kind} {name} has {ready} of {wanted} pods ready: wait, or see `kubectl describe {kind.lower()} {name} -n {snapshot.namespace}`."


def _requested(spec: Item, resource: str) -> float:
    """What the scheduler reserves: the containers together, or the largest init container."""

    def requests(container: Item) -> float:
        return _quantity(container.get("resources", {}).get("requests", {}).get(resource, "0"))

    return max([sum(map(requests, spec["containers"])), *map(requests, spec.get("initContainers", []))])


def _quantity(text: str) -> float:
    suffix = text.lstrip("0123456789.")
    return float(text.removesuffix(suffix) or 0) * SUFFIXES.get(suffix, 1)


def _shown(value: float, resource: str) -> str:
    return f"{value / 2**20:.0f} MiB" if resource in ("memory", "ephemeral-storage") else f"{value:g}"


def _listed(names: dict[str, Item]) -> str:
    return ", ".join(sorted(names)) or "those that you install (there is none)"


def _when(event: Item) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _cut(text: str) -> str:
    """One line, without its full stop, of bearable length."""
    text = " ".join(text.split()).rstrip(".:")
    return text if len(text) <= 400 else text[:400] + "…"


def main() -> int:
    """Print the troubles of the namespace that the command line names."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    found = why(sys.argv[1])
    for sentence in found:
        print(sentence)
    if not found:
        print(f"Everything in namespace {sys.argv[1]} is ready.")
    return 3 if found else 0


if __name__ == "__main__":
    sys.exit(main())
