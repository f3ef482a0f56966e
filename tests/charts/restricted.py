"""Pod Security Standards, level "restricted", evaluated on a pod spec: every rule of Kubernetes 1.34's baseline and restricted levels.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")

Mapping = dict[str, Any]


def violations(spec: Mapping, annotations: Mapping) -> list[str]:
    """What admission with enforce=restricted would refuse the pod for, one sentence each; none when it is let in."""
    found = list(_pod(spec, annotations))
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(group) or []:
            found += [f"{container['name']}: {each}" for each in _container(container, spec.get("securityContext") or {})]
    return found


def _pod(spec: Mapping, annotations: Mapping) -> Iterator[str]:
    context = spec.get("securityContext") or {}
    for flag in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(flag):
            yield f"{flag} is set"
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"} or {"emptyDir"}
        for kind in sorted(kinds - VOLUMES):
            yield f"volume {volume['name']} is of type {kind}"
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']} is not a safe one"
    for key, value in annotations.items():
        if key.startswith(APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/"):
            yield f"annotation {key} is {value}"
    yield from _shared(context)
    if context.get("runAsUser") == 0:
        yield "the pod's runAsUser is 0"


def _shared(context: Mapping) -> Iterator[str]:
    """Rules that a pod's and a container's security context have in common."""
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "windowsOptions.hostProcess is set"
    if (profile := (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault")) not in ("RuntimeDefault", "Localhost"):
        yield f"appArmorProfile is {profile}"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions set a type, user or role of their own"
    seccomp = (context.get("seccompProfile") or {}).get("type")
    if seccomp not in (None, "RuntimeDefault", "Localhost"):
        yield f"seccompProfile is {seccomp}"


def _container(container: Mapping, pod_context: Mapping) -> Iterator[str]:
    context = container.get("securityContext") or {}
    yield from _shared(context)
    if context.get("privileged"):
        yield "privileged is set"
    if context.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield "a hostPort is set"
    handlers = [container.get(probe) or {} for probe in HANDLERS] + list((container.get("lifecycle") or {}).values())
    if any((handler.get(kind) or {}).get("host") for handler in handlers for kind in ("httpGet", "tcpSocket")):
        yield "a probe or lifecycle handler names a host"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("runAsNonRoot", pod_context.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if not (context.get("seccompProfile") or pod_context.get("seccompProfile") or {}).get("type"):
        yield "no seccompProfile"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "capabilities do not drop ALL"
    if added := set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"capabilities add {', '.join(sorted(added))}"
