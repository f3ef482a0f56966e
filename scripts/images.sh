#!/bin/sh
# Builds an image, or the bill of materials of one, with any Docker: BuildKit or the classic builder.
# usage: scripts/images.sh build [orchestrator|embedding|generation|generation-vllm|mlflow] | sbom [orchestrator|embedding|generation]
# From the environment: IMAGE_REGISTRY (before the name), WITH_MODEL=1 (bakes the embedding model, tag VERSION-model), PYTHON_IMAGE, BUILDER_IMAGE,
# PIP_INDEX_URL (see images/orchestrator/Dockerfile), VLLM_IMAGE, VLLM_BUILDER_IMAGE (see images/generation-vllm/Dockerfile), IMAGE_SOURCE (address of the source, for the label), IMAGE_OPTIONS (more for docker build).
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

command -v docker >/dev/null || { say "docker is missing: install Docker, or a client that speaks to one (DOCKER_HOST)."; exit 2; }
docker version >/dev/null 2>&1 || { say "docker reaches no daemon: start it, or set DOCKER_HOST (docker version says what is wrong)."; exit 2; }

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/ragstone/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD -- 2>/dev/null || revision=$revision-modified
created=$(TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo unknown)
name=${2:-orchestrator}
prefix=${IMAGE_REGISTRY:+$IMAGE_REGISTRY/}ragstone
case $name in
orchestrator | embedding) image=$prefix/$name:$version${WITH_MODEL:+-model} ;;
generation | mlflow) image=$prefix/$name:$version; WITH_MODEL='' ;;
generation-vllm) image=$prefix/generation:$version-vllm; WITH_MODEL='' ;;
*) say "There is no image '$name': orchestrator, embedding, generation, generation-vllm or mlflow."; exit 2 ;;
esac

# Runs docker build on the image's Dockerfile with the settings that are set, and the options given.
build() {
    for setting in WITH_MODEL PYTHON_IMAGE BUILDER_IMAGE VLLM_IMAGE VLLM_BUILDER_IMAGE PIP_INDEX_URL; do
        eval "value=\${$setting:-}"
        [ -z "$value" ] || set -- "$@" --build-arg "$setting=$value"
    done
    # shellcheck disable=SC2086  # IMAGE_OPTIONS is a list of words
    docker build --file "images/$name/Dockerfile" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created" \
        --build-arg "SOURCE=${IMAGE_SOURCE:-unknown}" "$@" ${IMAGE_OPTIONS:-} .
}

case ${1:-} in
build)
    build --tag "$image"
    say "Built $image"
    ;;
sbom)
    grep -q '^FROM scratch AS sbom$' "images/$name/Dockerfile" || { say "There is no bill of materials of '$name': orchestrator, embedding or generation."; exit 2; }
    bill=dist/$name-$version${WITH_MODEL:+-model}.cdx.json
    build --target sbom --tag "$image-sbom"
    mkdir -p dist
    container=$(docker create "$image-sbom" none)
    docker cp "$container:/$name.cdx.json" "$bill"
    docker rm "$container" >/dev/null
    docker rmi "$image-sbom" >/dev/null
    say "Wrote $bill"
    ;;
*)
    say "usage: scripts/images.sh build [orchestrator|embedding|generation|generation-vllm|mlflow] | sbom [orchestrator|embedding|generation]"
    exit 2
    ;;
esac
