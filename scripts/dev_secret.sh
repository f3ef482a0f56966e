#!/bin/sh
# Prints the Secret with the development cluster's API key, as a manifest. The key is made once and kept in .tilt, which Git ignores.
# usage: scripts/dev_secret.sh NAMESPACE
set -eu
cd "$(dirname "$0")/.."
file=.tilt/api-key
if [ ! -s "$file" ]; then
    umask 077
    mkdir -p .tilt
    od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n' >"$file.new"
    mv "$file.new" "$file"
fi
digest=$( (sha256sum <"$file" || shasum -a 256 <"$file") 2>/dev/null | cut -d' ' -f1)
[ -n "$digest" ] || { echo "Neither sha256sum nor shasum is here: install coreutils." >&2; exit 1; }
cat <<MANIFEST
apiVersion: v1
kind: Secret
metadata:
  name: ragstone-api-keys
  namespace: $1
type: Opaque
stringData:
  api-keys: |
    developer:admin:$digest
  test-api-key: $(cat "$file")
MANIFEST
