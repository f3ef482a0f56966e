"""What runs on the node: each component's command line and configuration, with the defaults of kubeadm and kind where they matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.certificates import Authority, Pair
from tests.cluster.images.names import PAUSE
from tests.cluster.layout import Layout
from tests.cluster.node import NAME, NODE_ADDRESS, SERVICES

PODS = "10.244.0.0/16"
DNS = "10.96.0.10"
DOMAIN = "cluster.local"
SOCKET = "/run/containerd/containerd.sock"
SERVER = f"https://{NODE_ADDRESS}:6443"
_NODE_PODS = "10.244.0.0/24"  # the range that the controller manager gives the first node
_CNI_PLUGINS = "/usr/lib/cni"  # Debian's containernetworking-plugins
_VOLUMES = "/var/lib/ragstone-volumes"

Command = list[str | Path]


def control_plane(layout: Layout, binaries: Path, authority: Authority) -> dict[str, Command]:
    """etcd, API server, controller manager and scheduler: command by name, in the order to start them."""
    accounts = authority.signing_key()
    names = ["localhost", NAME, "kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}"]
    serving = authority.server("apiserver", [*names, "127.0.0.1", NODE_ADDRESS, SERVICES.replace(".0.0/16", ".0.1")])
    to_kubelet = authority.client("apiserver-to-kubelet", "kube-apiserver-kubelet-client", "system:masters")
    authority.kubeconfig(layout.kubeconfig, SERVER, authority.client("admin", "kubernetes-admin", "system:masters"))
    manager = _kubeconfig(layout, authority, "controller-manager", "system:kube-controller-manager")
    scheduler = _kubeconfig(layout, authority, "scheduler", "system:kube-scheduler")
    etcd = "http://127.0.0.1:2379"
    return {
        "etcd": [
            "etcd",
            f"--data-dir={layout.run / 'node' / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            "--logger=zap",
            "--log-level=warn",
        ],
        "apiserver": [
            binaries / "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--client-ca-file={authority.pair.certificate}",
            *_tls(serving),
            f"--service-cluster-ip-range={SERVICES}",
            f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
            f"--service-account-key-file={accounts.certificate}",
            f"--service-account-signing-key-file={accounts.key}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={to_kubelet.certificate}",
            f"--kubelet-client-key={to_kubelet.key}",
            f"--kubelet-certificate-authority={authority.pair.certificate}",
            "--kubelet-preferred-address-types=InternalIP",
        ],
        "controller-manager": [
            binaries / "kube-controller-manager",
            f"--kubeconfig={manager}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={accounts.key}",
            f"--root-ca-file={authority.pair.certificate}",
            f"--cluster-signing-cert-file={authority.pair.certificate}",
            f"--cluster-signing-key-file={authority.pair.key}",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={PODS}",
            f"--service-cluster-ip-range={SERVICES}",
        ],
        "scheduler": [binaries / "kube-scheduler", f"--kubeconfig={scheduler}", "--bind-address=127.0.0.1", "--leader-elect=false"],
    }


def workers(layout: Layout, binaries: Path, authority: Authority) -> dict[str, Command]:
    """containerd, kubelet, kube-proxy and the provisioner of volumes: command by name, in the order to start them."""
    folder = layout.run / "config"
    kubelet_client = _kubeconfig(layout, authority, "kubelet", f"system:node:{NAME}", "system:nodes")
    proxy_client = _kubeconfig(layout, authority, "kube-proxy", "system:kube-proxy")
    provisioner = _kubeconfig(layout, authority, "provisioner", "ragstone-test-provisioner")
    serving = authority.server("kubelet", [NAME, NODE_ADDRESS, "127.0.0.1"])
    (folder / "resolv.conf").write_text("")  # pods get the cluster's DNS alone
    _write(folder / "cni" / "10-bridge.conflist", _cni())
    (folder / "containerd.toml").write_text(_containerd(folder / "cni"))
    _write(folder / "kubelet.yaml", _kubelet(authority, serving, folder / "resolv.conf"))
    _write(folder / "kube-proxy.yaml", _kube_proxy(proxy_client))
    return {
        "containerd": ["containerd", "--config", folder / "containerd.toml"],
        "kubelet": [
            binaries / "kubelet",
            f"--config={folder / 'kubelet.yaml'}",
            f"--kubeconfig={kubelet_client}",
            f"--hostname-override={NAME}",
            f"--node-ip={NODE_ADDRESS}",
            "--node-labels=ingress-ready=true",
        ],
        "kube-proxy": [binaries / "kube-proxy", f"--config={folder / 'kube-proxy.yaml'}", f"--hostname-override={NAME}"],
        "provisioner": [binaries / "provisioner", provisioner, _VOLUMES],
    }


def _kubelet(authority: Authority, serving: Pair, resolv: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.pair.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS],
        "clusterDomain": DOMAIN,
        "resolvConf": str(resolv),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # The machine's disk is nobody's business here: nothing is evicted and no image deleted because it is rather full.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
        "logging": {"verbosity": 1},
    }


def _kube_proxy(kubeconfig: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0},  # the limit is the whole machine's
        "iptables": {"minSyncPeriod": "100ms"},
    }


def _cni() -> dict[str, Any]:
    ranges = [[{"subnet": _NODE_PODS}]]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,  # a pod may reach itself through its own service
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {"cniVersion": "0.4.0", "name": "ragstone", "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}


def _containerd(cni: Path) -> str:
    # restrict_oom_score_adj: where scores can't be lowered, sandboxes would die at birth.
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{_CNI_PLUGINS}"
conf_dir = "{cni}"
"""


def _kubeconfig(layout: Layout, authority: Authority, name: str, user: str, group: str | None = None) -> Path:
    folder = layout.run / "config"
    folder.mkdir(exist_ok=True)
    return authority.kubeconfig(folder / f"{name}.kubeconfig", SERVER, authority.client(name, user, group))


def _tls(pair: Pair) -> Command:
    return [f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content))
