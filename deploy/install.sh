#!/bin/sh
# Make .venv from the lock files: `sh deploy/install.sh run`, `... yahoo`, `... workers` or `... dev`, from the project's folder.
# With everything in place it does nothing; what an interruption left half done is made anew.
set -eu

kind=$1
# Ctrl-C ends the programs started here too, and Python's say so in a traceback: one line is enough.
trap 'echo "Interrupted: run make again, it goes on from here." >&2; exit 130' INT
quietly() { said=$("$@" 2>&1) || { status=$?; echo "$said" >&2; exit $status; }; }

case $kind in
run) requirements=requirements.txt; enough="run yahoo workers dev" ;;
yahoo) requirements=requirements-yahoo.txt; enough="yahoo workers dev" ;;
workers) requirements=requirements-workers.txt; enough="workers dev" ;;
dev) requirements=requirements-dev.txt; enough=dev ;;
*) echo "install.sh: '$kind' is none of run, yahoo, workers, dev" >&2; exit 2 ;;
esac
unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_ROOT || true

# The folder is part of the key: the scripts of a venv name it, so a project that was moved is installed anew.
lock_key=$( (pwd; cat requirements-uv.txt requirements.txt requirements-yahoo.txt requirements-workers.txt requirements-dev.txt) | cksum)
project_key=$( (echo "$lock_key"; cat pyproject.toml deploy/install.sh) | cksum)
runs() { .venv/bin/python -c pass >/dev/null 2>&1; }  # not after its Python was removed
is_done() { [ "$(cat ".venv/.installed-$1" 2>/dev/null)" = "$project_key" ]; }
# Each kind holds the one before it.
for each in $enough; do
    if is_done "$each" && runs; then exit 0; fi
done

usable='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
find_python() {
    # A version manager's shim can exist and still fail, so a candidate is run, not looked up.
    for candidate in "$@"; do
        if "$candidate" -c "$usable" >/dev/null 2>&1; then echo "$candidate"; return; fi
    done
    return 1
}
if [ -n "${PYTHON:-}" ]; then
    if ! python=$(find_python "$PYTHON"); then
        echo "PYTHON=$PYTHON is not Python 3.11, 3.12 or 3.13 with venv" >&2
        exit 1
    fi
elif ! python=$(find_python python3.13 python3.12 python3.11 python3 python); then
    echo "Python 3.11, 3.12 or 3.13 with venv is needed: install it (Debian, Ubuntu: apt install python3-venv; macOS: brew install python@3.13) and run make again, or name one: make demo PYTHON=/path/to/python3" >&2
    exit 1
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_PYTHON_VERSION_WARNING=1 PIP_ROOT_USER_ACTION=ignore
export PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0
export UV_LINK_MODE=copy UV_NO_PROGRESS=1

# An installer that was killed may leave a package that looks installed and lacks files.
if [ "$(cat .venv/.lock 2>/dev/null)" != "$lock_key" ] || [ -e .venv/.unfinished ] || ! runs; then
    rm -rf .venv
else
    python=.venv/bin/python
fi
echo "Installing $(grep -c == $requirements) packages into .venv ($("$python" --version)) ..." >&2
if [ ! -e .venv ]; then
    quietly "$python" -m venv .venv
    echo "$lock_key" >.venv/.lock
    # Bytecode goes into .venv, that of the project's own modules too: no __pycache__ between the sources.
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo 'import sys; sys.pycache_prefix = sys.pycache_prefix or sys.prefix + "/pycache"' >"$site/pycache_prefix.pth"
fi
touch .venv/.unfinished

hashed="--require-hashes --no-deps --only-binary :all: -r"
pip=".venv/bin/python -m pip install -qq"
log=.venv/install.log
quietly $pip $hashed requirements-uv.txt
# uv does not read pip's configuration, where a company's mirror may stand: what it cannot reach, pip fetches.
if ! .venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode $hashed $requirements 2>"$log"; then
    echo "uv could not install them (see $log); trying pip, which takes a minute ..." >&2
    quietly $pip $hashed $requirements
fi
quietly $pip --no-deps --no-build-isolation -e .
rm .venv/.unfinished
echo "$project_key" >".venv/.installed-$kind"
