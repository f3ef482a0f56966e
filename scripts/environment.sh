#!/bin/sh
# Makes a virtual environment from lock files and installs ragstone into it, or does nothing when it is up to date.
# usage: scripts/environment.sh DIRECTORY LOCK...
# Needs Python 3.11 or newer and a Python package index as pip is configured to reach it. PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
venv=$1
shift

say() { printf '%s\n' "$*" >&2; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" && { printf '%s' "$PYTHON"; return; }
        say "PYTHON=$PYTHON is not a Python 3.11 or newer: name another one, for example 'make PYTHON=python3.12'."
        exit 2
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        is_new_enough "$candidate" && { printf '%s' "$candidate"; return; }
    done
    say "ragstone needs Python 3.11 or newer, and 'python3' here is $(python3 --version 2>&1 || true)."
    say "Install one (Debian 12, Ubuntu 24.04: apt install python3 python3-venv; macOS: brew install python) or name it: make PYTHON=/path/to/python3.12"
    exit 2
}

# What the environment is made of: when this text changes, pip runs again.
fingerprint() {
    cat "$@" scripts/environment.sh
    sed -n '/^\[build-system\]/,/^dependencies/p; /^\[project.scripts\]/,/^$/p' pyproject.toml
    pwd
}

# Turns pip's talk into one line of progress; the whole of it goes to the log.
watch() {
    total=$1
    log=$2
    seen=0
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        case $line in
        Collecting*)
            seen=$((seen + 1))
            name=${line#Collecting }
            name=${name%%==*}
            if [ -t 2 ]; then
                printf '\r\033[K  [%d of about %d] %s' "$seen" "$total" "$name" >&2
            elif [ $((seen % 20)) -eq 0 ]; then
                say "  [$seen of about $total] $name"
            fi
            ;;
        "Installing collected packages"*)
            [ -t 2 ] && printf '\r\033[K' >&2
            [ "$seen" -eq 0 ] || say "  [$seen downloaded] unpacking"
            ;;
        esac
    done
}

run_pip() {
    status_file=$venv/pip-status
    { "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off --no-compile "$@" 2>&1 || echo $? >"$status_file"; } |
        watch "$total" "$log"
    if [ -e "$status_file" ]; then
        rm -f "$status_file"
        tail -n 15 "$log" >&2
        say "pip could not install the packages; its last lines are above, all of them in $log."
        say "It uses your pip configuration (pip config list): is the package index reachable from here?"
        exit 1
    fi
}

wanted=$(fingerprint "$@" | cksum)
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/ragstone-environment" 2>/dev/null)" = "$wanted" ] && is_new_enough "$venv/bin/python"; then
    exit 0
fi

started=$(date +%s)
if ! [ -x "$venv/bin/python" ] || ! is_new_enough "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$python has no ensurepip, which makes virtual environments: on Debian and Ubuntu it comes with 'apt install python3-venv'."
        exit 2
    fi
    say "Making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi
rm -f "$venv/ragstone-environment"
log=$venv/install.log
: >"$log"
total=$(cat "$@" | grep -c '^[a-z0-9].*==')
say "Installing the locked packages ($*)"
locks=
for lock in "$@"; do locks="$locks -r $lock"; done
# The locks are whole, so nothing is left to resolve; and an older pip does not find that `coverage==1` is what `coverage[toml]>=1` may be.
# shellcheck disable=SC2086  # a list of words
run_pip --no-deps --require-hashes $locks
run_pip --no-deps --no-build-isolation --editable .
printf '%s' "$wanted" >"$venv/ragstone-environment"
say "Environment ready in $venv after $(($(date +%s) - started)) s"
