#!/usr/bin/env bash
# The development cluster on kind, with a registry for images built here and a gateway on loopback.
# usage: scripts/kind.sh up|down   (needs docker, kind, kubectl and helm; "up" is safe to repeat and finishes what is not there yet)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=k8s/versions.env
. k8s/versions.env

cluster=ragstone
context=kind-$cluster
registry=ragstone-registry
registry_port=5001

say() { printf '%s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }
on_cluster() { kubectl --context "$context" "$@"; }

need_tools() {
    local tool missing=()
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} -eq 0 ] || stop "The development cluster needs ${missing[*]}, not found on PATH: install what is missing (docs/development-cluster.md), then repeat."
    docker info >/dev/null 2>&1 || stop "Docker does not answer: start it, or let this user talk to it (docker info shows the reason), then repeat."
}

has_cluster() { kind get clusters 2>/dev/null | grep -qx "$cluster"; }
registry_state() { docker inspect --format '{{.State.Status}}' "$registry" 2>/dev/null || echo none; }

need_free_port() {
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
        stop "Port $1 of 127.0.0.1 is taken, and $2 needs it: stop what listens there, or change the port in $3, then repeat."
    fi
}

# Before anything is made. What is there already holds its ports itself.
need_free_ports() {
    if [ "$(registry_state)" = none ]; then
        need_free_port $registry_port "the local registry" "scripts/kind.sh and k8s/local-registry"
    fi
    if ! has_cluster; then
        local port
        while read -r port; do
            need_free_port "$port" "the gateway" kind-config.yaml
        done < <(sed -n 's/^ *hostPort: *//p' kind-config.yaml)
    fi
}

start_registry() {
    case $(registry_state) in
        running) ;;
        none)
            docker run --detach --restart always --publish "127.0.0.1:$registry_port:5000" --network bridge --name $registry "$REGISTRY_IMAGE" >/dev/null ||
                stop "The registry's container could not be started from $REGISTRY_IMAGE: docker's message above says why; then repeat." ;;
        *) docker start $registry >/dev/null || stop "The container $registry does not start: see 'docker logs $registry', or 'make kind-down' and begin anew." ;;
    esac
}

create_cluster() {
    if ! has_cluster; then
        kind create cluster --config kind-config.yaml --wait 180s ||
            stop "kind could not create the cluster: its message above says why; 'make kind-down' removes what was begun."
    fi
    kind export kubeconfig --name $cluster
    on_cluster get nodes --request-timeout=20s >/dev/null ||
        stop "The cluster $cluster exists and does not answer: 'make kind-down', then 'make kind-up'."
}

connect_registry() {
    local node
    for node in $(kind get nodes --name $cluster); do
        docker exec --interactive "$node" sh -c "mkdir -p /etc/containerd/certs.d/localhost:$registry_port && cat >/etc/containerd/certs.d/localhost:$registry_port/hosts.toml" \
            <k8s/local-registry/hosts.toml
    done
    if [ "$(docker inspect --format '{{json .NetworkSettings.Networks.kind}}' $registry)" = null ]; then
        docker network connect kind $registry
    fi
    on_cluster apply --filename k8s/local-registry/hosting.yaml
}

start_gateway() {
    local manifests=k8s/gateway
    # With a certificate in place the Gateway listens for HTTPS too.
    on_cluster --namespace ragstone-gateway get secret ragstone-tls >/dev/null 2>&1 && manifests=k8s/gateway-https
    on_cluster apply --kustomize $manifests
    if ! on_cluster --namespace ragstone-gateway rollout status deployment/traefik --timeout=180s ||
        ! on_cluster --namespace ragstone-gateway wait --for=condition=Programmed --timeout=60s gateway/ragstone; then
        scripts/why_not_ready.py ragstone-gateway >&2 || true
        stop "The gateway is not ready: what is said above is why; then repeat."
    fi
}

up() {
    need_tools docker kind kubectl helm
    need_free_ports
    start_registry
    create_cluster
    connect_registry
    on_cluster apply --filename k8s/namespaces.yaml
    k8s/crds.sh --context "$context"
    start_gateway
    say "The cluster is up: kubectl's context is $context, the gateway is http://127.0.0.1:8080. Next: tilt up."
}

down() {
    need_tools docker kind
    kind delete cluster --name $cluster
    docker rm --force --volumes $registry >/dev/null 2>&1 || true
    say "The cluster and its registry are gone."
}

case ${1:-} in
    up) up ;;
    down) down ;;
    *) stop "usage: scripts/kind.sh up|down" ;;
esac
