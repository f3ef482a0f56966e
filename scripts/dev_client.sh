#!/bin/sh
# ragstone's command line against the development cluster, through its gateway and with its key (the Tiltfile's buttons use it).
# usage: scripts/dev_client.sh COMMAND [ARGUMENT...]      for example: scripts/dev_client.sh ask -c handbook "How long is lost property kept?"
set -eu
cd "$(dirname "$0")/.."
[ -s .tilt/api-key ] || { echo "There is no key in .tilt/api-key yet: start the development cluster with 'tilt up' first (docs/development-cluster.md)." >&2; exit 1; }
make env-demo >&2
export RAGSTONE_SERVER=http://localhost:8080 RAGSTONE_API_KEY_FILE=.tilt/api-key
exec .venv-demo/bin/ragstone "$@"
