# Needs make and Python 3.11-3.13 with venv; everything else is installed into .venv from the lock files.
.PHONY: audit bench bench-scale bench-ui screenshots test-daemon test-faults test-slow test-workers demo demo-live test dev lint lock install install-yahoo install-workers install-dev
# Two installs at once would work on one .venv.
.NOTPARALLEL:

BIN := .venv/bin
PORT ?= 3000
KILLS ?= 200
SEED ?= 1

demo: install
	@$(BIN)/sigma demo

# The same through a pretended Alpha Vantage on this machine, with simulated prices and a home of its own.
demo-live: install-dev
	@$(BIN)/python -m tests.support.vendors.demo_live

test: install-dev
	@$(BIN)/python -m pytest -n 2 --dist worksteal

# Minutes: killed processes on both databases, days of pretended vendors.
test-slow: install-dev
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# Minutes each: the real daemon and webserver, on SQLite and on Postgres.
test-daemon: install-dev
	@$(BIN)/python -m pytest -m daemon

# Minutes: several hosts with Redis, Postgres, daemon, web server and two workers.
test-workers: install-dev
	@$(BIN)/python -m pytest -m workers

# An hour: processes killed at seeded points, a database that is gone, full disks, signals, other clocks. KILLS and SEED
# choose the kills; the rounds of a seed are the same again.
test-faults: install-dev
	@$(BIN)/python -m pytest -m faults
	@$(BIN)/python -m tests.faults --kills $(KILLS) --seed $(SEED)

# CASES="ols har" runs some of them; see benchmarks/README.md.
bench: install-dev
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes --no-deps --only-binary :all: -r requirements-bench.txt
	@$(BIN)/python -m benchmarks $(CASES)

# An hour for all sizes; benchmarks/scale.py has options for some of them.
bench-scale: install-dev
	@$(BIN)/python -m benchmarks.scale

bench-ui: install-dev
	@$(BIN)/python -m benchmarks ui_statistics

# Needs Chromium; writes docs/images.
screenshots: install-dev
	@$(BIN)/python -m docs.screenshots

dev: install
	@$(BIN)/sigma dev --port $(PORT)

lint: install-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

# Known faults of pinned packages. Asks a database on the network: where the tool or the network is missing, it says so.
audit: install-dev
	@sh deploy/audit.sh

# `fewest` keeps one version of each package for all Pythons: golden files depend on one numpy.
COMPILE := $(BIN)/uv pip compile -q --no-config --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --only-binary :all: --no-header --no-annotate
lock: install-dev
	@$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements-dev.txt
	@$(COMPILE) --upgrade -c requirements-dev.txt pyproject.toml -o requirements.txt
	@$(COMPILE) --upgrade -c requirements.txt -c requirements-dev.txt --extra yahoo pyproject.toml -o requirements-yahoo.txt
	@$(COMPILE) --upgrade -c requirements-yahoo.txt -c requirements-dev.txt --extra yahoo --extra workers pyproject.toml -o requirements-workers.txt
	@printf 'polars\npolars-ols\n' | $(COMPILE) --upgrade -c requirements-dev.txt - -o requirements-bench.txt
	@echo uv | $(COMPILE) --upgrade - -o requirements-uv.txt

install:
	@PYTHON="$(PYTHON)" sh deploy/install.sh run

# The packages of the price source `yahoo`, beside the others.
install-yahoo:
	@PYTHON="$(PYTHON)" sh deploy/install.sh yahoo

# And those of workers on several machines (docs/workers.md).
install-workers:
	@PYTHON="$(PYTHON)" sh deploy/install.sh workers

install-dev:
	@PYTHON="$(PYTHON)" sh deploy/install.sh dev
