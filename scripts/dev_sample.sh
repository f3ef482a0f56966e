#!/bin/sh
# Ingests both versions of the handbook, as two commits, and asks a question: the development cluster's first look.
# usage: scripts/dev_sample.sh
set -eu
cd "$(dirname "$0")/.."
for version in v1 v2; do
    scripts/dev_client.sh ingest "examples/handbook/$version" --collection handbook --mirror --message "Handbook $version"
done
scripts/dev_client.sh ask --collection handbook --no-stream "How long is lost property kept?"
