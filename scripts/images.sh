#!/bin/sh
# Builds an image, or the bill of materials of the orchestrator's, with any Docker: BuildKit or the classic builder.
# usage: scripts/images.sh build [orchestrator|embedding|generation|generation-vllm|mlflow] | sbom
# From the environment: IMAGE_REGISTRY (before the name), WITH_MODEL=1 (bakes the embedding model, tag VERSION-model), PYTHON_IMAGE, BUILDER_IMAGE, VLLM_IMAGE,
# PIP_INDEX_URL (see images/orchestrator/Dockerfile), IMAGE_SOURCE (address of the source, for the label), IMAGE_OPTIONS (more for docker build).
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
target=''
case $name in
orchestrator | embedding) image=${IMAGE_REGISTRY:+$IMAGE_REGISTRY/}ragstone/$name:$version${WITH_MODEL:+-model} ;;
generation) image=${IMAGE_REGISTRY:+$IMAGE_REGISTRY/}ragstone/$name:$version; WITH_MODEL='' ;;
generation-vllm) name=generation; target=vllm; image=${IMAGE_REGISTRY:+$IMAGE_REGISTRY/}ragstone/$name:$version-vllm; WITH_MODEL='' ;;
mlflow) image=${IMAGE_REGISTRY:+$IMAGE_REGISTRY/}ragstone/$name:$version; WITH_MODEL='' ;;
*) say "There is no image '$name': orchestrator, embedding, generation, generation-vllm or mlflow."; exit 2 ;;
esac
dockerfile=images/$name/Dockerfile

# Runs docker build on the image's Dockerfile with the settings that are set, and the options given.
build() {
    for name in WITH_MODEL PYTHON_IMAGE BUILDER_IMAGE VLLM_IMAGE PIP_INDEX_URL; do
        eval "value=\${$name:-}"
        [ -z "$value" ] || set -- "$@" --build-arg "$name=$value"
    done
    # shellcheck disable=SC2086  # IMAGE_OPTIONS is a list of words
    docker build --file "$dockerfile" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created" \
        --build-arg "SOURCE=${IMAGE_SOURCE:-unknown}" "$@" ${IMAGE_OPTIONS:-} .
}

case ${1:-} in
build)
    build ${target:+--target "$target"} --tag "$image"
    say "Built $image"
    ;;
sbom)
    bill=dist/orchestrator-$version${WITH_MODEL:+-model}.cdx.json
    build --target sbom --tag "$image-sbom"
    mkdir -p dist
    container=$(docker create "$image-sbom" none)
    docker cp "$container:/orchestrator.cdx.json" "$bill"
    docker rm "$container" >/dev/null
    docker rmi "$image-sbom" >/dev/null
    say "Wrote $bill"
    ;;
*)
    say "usage: scripts/images.sh build [orchestrator|embedding|generation|generation-vllm|mlflow] | sbom"
    exit 2
    ;;
esac
