#!/bin/sh
# What a release needs beside the images. It reaches a registry with the credentials that helm has (helm registry login).
# From the environment: IMAGE_REGISTRY (publish-charts writes it into the charts, so that they find the images without a value).
# usage: scripts/release.sh check-tag vX.Y.Z | publish-charts oci://REGISTRY/PATH
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# A tag that says another version than the package and the charts is refused.
check_tag() {
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/ragstone/__init__.py)
    if [ "$1" != "v$version" ]; then
        say "The tag is '$1', but src/ragstone/__init__.py says $version: tag v$version, or change the version first."
        exit 1
    fi
    for chart in charts/*/Chart.yaml; do
        if [ "$(sed -n 's/^version: *//p' "$chart")" != "$version" ]; then
            say "$chart has another version than $version: change it first."
            exit 1
        fi
    done
}

# Packages the charts that can be installed, with the charts that they need inside, and pushes them.
# dist/charts/published: a line for each, REGISTRY/PATH/NAME@DIGEST, to sign.
publish_charts() {
    case $1 in
    oci://*) ;;
    *) say "Charts are published to an OCI registry: CHART_REGISTRY=oci://REGISTRY/PATH, not '$1'."; exit 2 ;;
    esac
    case ${IMAGE_REGISTRY:-} in
    *[!A-Za-z0-9._:/-]*) say "IMAGE_REGISTRY is what stands before the image's name, such as registry.example/team, not '$IMAGE_REGISTRY'."; exit 2 ;;
    esac
    command -v helm >/dev/null || { say "helm is missing: install Helm 3.17 or newer."; exit 2; }
    rm -rf dist/charts
    mkdir -p dist/charts
    : >dist/charts/published
    # helm package can't set values, so they are set in a copy.
    cp -R charts dist/charts/sources
    if [ -n "${IMAGE_REGISTRY:-}" ]; then
        sed -i.before "s|^\\( *\\)registry: \"\"\$|\\1registry: \"$IMAGE_REGISTRY\"|" dist/charts/sources/*/values.yaml
        rm dist/charts/sources/*/values.yaml.before
        grep -qF "  registry: \"$IMAGE_REGISTRY\"" dist/charts/sources/orchestrator/values.yaml ||
            { say "IMAGE_REGISTRY did not get into the charts' values: image.registry is no longer empty there."; exit 1; }
    fi
    for chart in $(grep -l '^type: application' dist/charts/sources/*/Chart.yaml); do
        helm package --dependency-update --destination dist/charts "$(dirname "$chart")"
    done
    for package in dist/charts/*.tgz; do
        said=$(helm push "$package" "$1" 2>&1) || { say "$said"; exit 1; }
        say "$said"
        name=$(printf '%s\n' "$said" | sed -n 's/^Pushed: \(.*\):[^:]*$/\1/p')
        digest=$(printf '%s\n' "$said" | sed -n 's/^Digest: //p')
        [ -n "$name" ] && [ -n "$digest" ] || { say "helm did not say what it pushed, so it can't be signed."; exit 1; }
        printf '%s@%s\n' "$name" "$digest" >>dist/charts/published
    done
}

case ${1:-} in
check-tag) check_tag "${2:-}" ;;
publish-charts) publish_charts "${2:-}" ;;
*)
    say "usage: scripts/release.sh check-tag vX.Y.Z | publish-charts oci://REGISTRY/PATH"
    exit 2
    ;;
esac
