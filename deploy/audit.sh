#!/bin/sh
# Ask a database of known faults about every pinned package. Exit status 1: one of them has such a fault.
# Without the tool or the network nothing is known, and that is what it says.
set -eu

if ! command -v pip-audit >/dev/null; then
    echo "audit: not done, pip-audit is not installed (pipx install pip-audit)"
    exit 0
fi
found=$(mktemp)
trap 'rm -f "$found"' EXIT
# requirements-dev.txt holds the packages of every kind of installation.
if pip-audit --disable-pip --require-hashes -r requirements-dev.txt -r requirements-uv.txt -f json -o "$found"; then
    exit 0
elif [ -s "$found" ]; then
    exit 1
fi
echo "audit: not done, the database of faults did not answer"
