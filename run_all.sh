#!/usr/bin/env bash
# Regenerates every figure: makes the environment where there is none, then runs the notebooks.
# ./run_all.sh --help lists the options. NVLIB_SETUP_ONLY=1 stops after the environment.
set -euo pipefail
cd "$(dirname "$0")"

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
origin = find_spec("nvlib").origin
assert Path(origin).resolve().parents[1] == Path.cwd().resolve()
PY
}

stamp=.venv/ready-$(cksum <requirements.lock | cut -d' ' -f1)
active=$(command -v python3 || command -v python || true)
if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -n "$active" ] && satisfies_lock "$active"; then
    python=$active # an activated environment that has what is needed is used as it is
elif [ -e "$stamp" ] && [ -x .venv/bin/python ]; then
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
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock ||
        fail "could not install requirements.lock; check the network and the free disk space, and start again"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ||
        fail "could not install nvlib; start again"
    touch "$stamp"
    python=.venv/bin/python
fi
[ -z "${NVLIB_SETUP_ONLY:-}" ] || exit 0
PATH="$(cd "$(dirname "$python")" && pwd):$PATH" exec "$python" -u -m artifact.reproduce "$@"
