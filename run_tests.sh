#!/usr/bin/env bash
# Passes every test: unit tests, doctests, and the notebooks. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
NVLIB_SETUP_ONLY=1 ./run_all.sh
# Where .venv was not finished, an activated environment has what is needed.
compgen -G '.venv/ready-*' >/dev/null && PATH="$PWD/.venv/bin:$PATH"
# Two files at a time; each is one worker's, and a worker computes on one core.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python3 -m pytest --doctest-modules --nbval-lax -n 2 --dist loadfile "$@"
