#!/bin/sh
# Make .venv from the lock files: `sh deploy/install.sh run` or `... dev`, from the project's folder.
# Run again after an interruption it finishes the job; with everything in place it does nothing.
set -eu

kind=$1
case $kind in
run) requirements=requirements.txt ;;
dev) requirements=requirements-dev.txt ;;
*) echo "install.sh: '$kind' is neither run nor dev" >&2; exit 2 ;;
esac

# The folder is part of the key: the scripts of a venv name it, so a project that was moved is installed anew.
lock_key=$( (pwd; cat requirements-uv.txt requirements.txt requirements-dev.txt) | cksum)
project_key=$( (echo "$lock_key"; cat pyproject.toml) | cksum)
is_done() { [ "$(cat ".venv/.installed-$1" 2>/dev/null)" = "$project_key" ]; }
if is_done dev || is_done "$kind"; then exit 0; fi

usable='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
python=
for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
    # A version manager's shim can exist and still fail, so the candidate is run, not looked up.
    if "$candidate" -c "$usable" >/dev/null 2>&1; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "Python 3.11, 3.12 or 3.13 with venv is needed: install it (Debian, Ubuntu: apt install python3-venv; macOS: brew install python@3.13) and run make again, or name one: make PYTHON=/path/to/python3" >&2
    exit 1
fi

unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH || true
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_PYTHON_VERSION_WARNING=1 PIP_ROOT_USER_ACTION=ignore PIP_REQUIRE_VIRTUALENV=0
export UV_LINK_MODE=copy UV_NO_PROGRESS=1

if [ "$(cat .venv/.lock 2>/dev/null)" != "$lock_key" ] || ! .venv/bin/python -c pass >/dev/null 2>&1; then
    rm -rf .venv
    "$python" -m venv .venv
    echo "$lock_key" >.venv/.lock
fi
echo "Installing $(grep -c == $requirements) packages into .venv ($(.venv/bin/python --version)) ..." >&2

hashed="--require-hashes --no-deps --only-binary :all: -r"
pip=".venv/bin/python -m pip install -qq"
log=.venv/install.log
$pip $hashed requirements-uv.txt
# uv does not read pip's configuration, where a company's mirror may stand: what it cannot reach, pip fetches.
if ! .venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode $hashed $requirements 2>"$log"; then
    echo "uv could not install them (see $log); trying pip, which takes a minute ..." >&2
    $pip $hashed $requirements
fi
$pip --no-deps --no-build-isolation -e .
echo "$project_key" >".venv/.installed-$kind"
