#!/bin/sh
# Applies the custom resource definitions that ragstone's charts can use, in the versions of k8s/versions.env.
# usage: k8s/crds.sh [KUBECTL OPTION...]   (needs kubectl and the Internet; safe to repeat)
set -eu
cd "$(dirname "$0")"
# shellcheck source=k8s/versions.env
. ./versions.env

files() {
    github=https://github.com
    raw=https://raw.githubusercontent.com
    echo "$github/kubernetes-sigs/gateway-api/releases/download/$GATEWAY_API/standard-install.yaml"
    echo "$github/prometheus-operator/prometheus-operator/releases/download/$PROMETHEUS_OPERATOR/stripped-down-crds.yaml"
    echo "$github/cert-manager/cert-manager/releases/download/$CERT_MANAGER/cert-manager.crds.yaml"
    echo "$github/kedacore/keda/releases/download/$KEDA/keda-${KEDA#v}-crds.yaml"
    echo "$raw/external-secrets/external-secrets/$EXTERNAL_SECRETS/deploy/crds/bundle.yaml"
    for kind in application applicationset appproject; do
        echo "$raw/argoproj/argo-cd/$ARGO_CD/manifests/crds/$kind-crd.yaml"
    done
}

# Server-side, because some definitions are larger than the annotation that a client-side apply keeps.
for file in $(files); do
    kubectl "$@" apply --server-side --force-conflicts --request-timeout=60s --filename "$file" || {
        echo "The definitions in $file could not be applied: check that this machine reaches it and that kubectl's context is the cluster you mean, then repeat." >&2
        exit 1
    }
done
kubectl "$@" wait --for=condition=Established --timeout=60s customresourcedefinitions --all
