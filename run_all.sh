#!/usr/bin/env bash
# Regenerates every figure: makes the environment where there is none, then runs the notebooks.
# ./run_all.sh --help lists the options. NVLIB_SETUP_ONLY=1 stops after the environment.
# NVLIB_TORCH=cpu, cuda or default chooses torch's build for .venv: see choose_torch.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

fail() {
    echo "run_all.sh: $*" >&2
    exit 1
}

satisfies_lock() { # the interpreter $1 has every pinned package and nvlib, from this folder
    "$1" - requirements.lock <<'PY' >/dev/null 2>&1
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

pins = [line.split("==") for line in Path(sys.argv[1]).read_text().split() if "==" in line]
assert all(version(name).split("+")[0] == pin for name, pin in pins)
for package in ("nvlib", "artifact"):
    assert Path(find_spec(package).origin).resolve().parents[1] == Path.cwd().resolve()
PY
}

pip_install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}

# On Linux the Python package index holds torch with CUDA, several GB that nothing here needs;
# torch's own index holds the build for processors, the same version with the label "+cpu".
#   cpu      that build, or an error
#   cuda     any other build of the version, or an error
#   default  what pip's configured index gives
#   unset    on Linux cpu without an NVIDIA GPU and cuda with one, each only if it is to be had
torch_index=${NVLIB_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

choose_torch() {
    torch=${NVLIB_TORCH:-}
    case $torch in
    cpu | cuda | default) ;;
    "")
        torch=default
        if [[ $OSTYPE == linux* ]]; then
            if nvidia-smi >/dev/null 2>&1; then torch=cuda; else torch=cpu; fi
        fi
        ;;
    *) fail "NVLIB_TORCH: expected cpu, cuda or default, received $torch; unset it to let the script choose" ;;
    esac
}

install_torch() { # ahead of requirements.lock, whose torch the installed one then satisfies
    local version said
    version=$(sed -n 's/^torch==//p' requirements.lock)
    # Few and short tries: a machine that cannot reach torch's index goes on within a minute.
    case $torch in
    cpu) set -- "torch==$version+cpu" --extra-index-url "$torch_index" --timeout 15 --retries 1 ;;
    cuda) set -- "torch==$version,!=$version+cpu" ;;
    default) return ;;
    esac
    said=$(pip_install --no-deps "$@" 2>&1) && return
    # Only what is not there is replaced: a broken download must not become one of several GB.
    if [ -n "${NVLIB_TORCH:-}" ] || [[ $said != *"No matching distribution"* ]]; then
        fail "$said"$'\n'"run_all.sh: could not install $1; check the network and the free disk space, and start again, or with NVLIB_TORCH=default"
    fi
    echo "Found no $torch build of torch $version: taking the one that pip finds, from the Python package index that with CUDA (several GB)."
    torch=default
}

choose_torch
stamp=.venv/ready-$(cksum <requirements.lock | cut -d' ' -f1)
active=$(command -v python3 || command -v python || true)
if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -n "$active" ] && satisfies_lock "$active"; then
    python=$active # an activated environment that has what is needed is used as it is
elif [ -x .venv/bin/python ] && [ -e "$stamp" ] &&
    { [ -z "${NVLIB_TORCH:-}" ] || [ "$(cat "$stamp")" = "$torch" ]; }; then
    python=.venv/bin/python
else
    base=""
    for candidate in python3.11 python3 python3.12 python3.13 python; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            base=$candidate
            break
        fi
    done
    [ -n "$base" ] || fail "expected Python 3.11 to 3.13 on the PATH, found $(
        (python3 --version || python --version) 2>/dev/null || echo none); install Python 3.11 and start again"
    echo "Making .venv from requirements.lock (once, a few minutes) ..."
    rm -rf .venv # a half-made environment is made anew
    "$base" -m venv .venv || fail "could not make .venv; install Python's venv module (python3-venv) and start again"
    install_torch
    pip_install -r requirements.lock ||
        fail "could not install requirements.lock; check the network and the free disk space, and start again"
    pip_install --no-deps --no-build-isolation -e . || fail "could not install nvlib; start again"
    echo "$torch" >"$stamp"
    python=.venv/bin/python
fi
[ -z "${NVLIB_SETUP_ONLY:-}" ] || exit 0
PATH="$(cd "$(dirname "$python")" && pwd):$PATH" exec "$python" -u -m artifact.reproduce "$@"
