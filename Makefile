.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

.venv/runtime: requirements.lock pyproject.toml
	@echo "installing into .venv: 1.5 GB, one to three minutes without a further word"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	$(BIN)/python -m services.features.kernel
	@touch $@

.venv/dev: .venv/runtime requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

lock:  ## Resolve the dependencies again into the two lock files (needs uv)
	uv pip compile pyproject.toml --extra install --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock
	uv pip compile pyproject.toml --extra install --extra dev --extra nn --extra search --extra mlflow --extra notify --extra kafka --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -c requirements.lock -o requirements-dev.lock

demo: .venv/runtime  ## The whole system on a simulated market, at http://127.0.0.1:8000/ (ARGS="…" passes flags)
	$(BIN)/alphapulse demo $(ARGS)

run: .venv/runtime  ## The live system (ARGS="--exchange kraken --symbols BTC/USD,ETH/USD")
	$(BIN)/alphapulse run $(ARGS)

# Threads of BLAS that spin for a core which others have cost more than they save.
test long kafka timescale canaries pitfalls: export OPENBLAS_NUM_THREADS = 1
# Executors of ours take the lowest priority: tests that had another would starve them.
PYTEST := nice -n 19 $(BIN)/pytest
test: WORKERS ?= 3
long: WORKERS ?= 2

test: .venv/dev  ## The tests that need no server of yours, by WORKERS processes (3)
	$(PYTEST) --numprocesses $(WORKERS) $(ARGS)

long: .venv/dev  ## Systems under faults, canaries turned red: what CI runs besides the check
	$(PYTEST) -m long --numprocesses $(WORKERS) $(ARGS)

kafka: .venv/dev  ## Against a real broker: Java 17 with Maven, or ALPHAPULSE_TEST_KAFKA
	$(PYTEST) -m kafka $(ARGS)

timescale: .venv/dev  ## On TimescaleDB: ALPHAPULSE_TEST_TIMESCALE names a server
	$(PYTEST) -m timescale $(ARGS)

canaries: .venv/dev  ## Ten seeds of each canary, promotion rates, three full replays
	$(BIN)/pytest -m canaries --timeout 0 $(ARGS)

soak: .venv/dev  ## Kills by the hundred, at any moment, ends by signals, two days of faults
	$(BIN)/pytest -m soak --timeout 0 $(ARGS)

pitfalls: .venv/dev  ## Plant what such systems get wrong, see the tests turn red
	$(BIN)/python -m tests.pitfalls $(ARGS)

bench: .venv/dev  ## Benchmarks: a table for people, bench.json for machines
	$(BIN)/python -m tests.benchmarks $(ARGS)

check: .venv/dev  ## Format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

fmt: .venv/dev  ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tree: .venv/dev  ## The files with their purposes, as ARCHITECTURE.md lists the rooms
	@$(BIN)/python -m tests.house tree

.PHONY: help lock demo run test long kafka timescale canaries soak pitfalls bench check fmt tree
