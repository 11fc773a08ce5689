#!/usr/bin/env bash
# Fills .venv with exactly what the lock files name, and with this checkout. `make setup` calls it.
#
# Where packages come from is the machine's business: pip and uv read it from their own configuration and from the
# environment. uv installs the lock several times faster than pip; where it cannot be had, pip does the same slowly.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-$(command -v python3.11 || command -v python3)}

if [ ! -x .venv/bin/python ]; then
  echo "setup: creating .venv with $("$python" --version)"
  # Without pip: bootstrapping it takes seven seconds, and the machine's own pip can install into .venv from outside.
  "$python" -m venv --without-pip .venv
fi

pip() {
  if .venv/bin/python -m pip --version >/dev/null 2>&1; then
    .venv/bin/python -m pip --disable-pip-version-check "$@"
  elif "$python" -m pip --python .venv/bin/python --version >/dev/null 2>&1; then
    "$python" -m pip --disable-pip-version-check --python .venv/bin/python "$@"
  else
    .venv/bin/python -m ensurepip >/dev/null && .venv/bin/python -m pip --disable-pip-version-check "$@"
  fi
}

have_uv() {
  .venv/bin/uv --version 2>/dev/null | grep -qF "$(sed -nE 's/^uv==([0-9.]+).*/uv \1/p' requirements-bootstrap.lock)" ||
    pip install --quiet --no-deps --require-hashes -r requirements-bootstrap.lock
}

with_uv() {
  # A machine whose mirror is configured for pip alone still works: uv is told the same place.
  export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$(pip config get global.index-url 2>/dev/null || true)}}}
  [ -n "$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX
  local install=(.venv/bin/uv pip install --quiet --python .venv/bin/python)
  "${install[@]}" --require-hashes -r requirements.lock && "${install[@]}" --no-deps --no-build-isolation -e .
}

with_pip() {
  pip install --quiet --require-hashes -r requirements.lock
  pip install --quiet --no-deps --no-build-isolation -e .
}

echo "setup: installing requirements.lock"
if ! { have_uv && with_uv; }; then
  echo "setup: uv could not install the lock, pip does it (about a minute)" >&2
  with_pip
fi
echo "setup: done, .venv/bin/headrace is ready"
