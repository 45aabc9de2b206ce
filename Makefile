# Two commands do everything on a fresh machine: `make run` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export PIPELINE_HOME ?= $(CURDIR)
export DAGSTER_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PYTHONWARNINGS ?= ignore
export RUST_LOG ?= error

.PHONY: help setup run run-fraud test lint ui bench bench-setup browser lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Create .venv from the lock file

# pip takes torch from wherever pip is told to look (a CPU or a CUDA wheel); uv installs the rest fast.
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: $(PYTHON) was not found"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed, $(PYTHON) is $$($(PYTHON) -V); try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (some minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep -E '^uv==' requirements.lock)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep -E '^torch==' requirements.lock)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python -e .
	@touch $@

run: $(READY) ## Generate demo data and run the churn use case end to end
	@mkdir -p $(DAGSTER_HOME) && cp -n dagster.yaml $(DAGSTER_HOME)/dagster.yaml 2>/dev/null; true
	@$(BIN)/pipeline_assets run churn

run-fraud: $(READY) ## Generate 60 days of card transactions and run the use case card_fraud over them
	@mkdir -p $(DAGSTER_HOME) && cp -n dagster.yaml $(DAGSTER_HOME)/dagster.yaml 2>/dev/null; true
	@$(BIN)/pipeline_assets run card_fraud

ui: $(READY) ## Open the Dagster UI on http://127.0.0.1:3000
	@mkdir -p $(DAGSTER_HOME) && cp -n dagster.yaml $(DAGSTER_HOME)/dagster.yaml 2>/dev/null; true
	@$(BIN)/python -m pipeline_assets.orchestration.abandoned
	@$(BIN)/dg dev --host 127.0.0.1 --port $${PORT:-3000}

test: $(READY) browser ## Lint, types, import contracts and tests: all that CI runs
	@.ci/check

lint: $(READY) ## Lint, types and import contracts only
	@.ci/check lint

browser: ## Chromium for the UI tests, where a package manager can install it
	@.ci/browser

bench-setup: $(READY) ## Peers of the benchmarks (large)
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python -r requirements-bench.lock

bench: $(READY) bench-setup ## Benchmarks against peers, printed as tables
	@$(BIN)/python -m tests.benchmarks

# uv looks where pip's find-links point, so that a CPU wheel of torch keeps CUDA packages out of the lock.
lock: ## Resolve requirements.lock anew
	@{ echo "# Made by make lock. torch carries no local version: which wheel it is, CPU or CUDA, is"; \
	   echo "# the choice of the machine's pip."; \
	   $(BIN)/uv pip compile pyproject.toml --all-extras --quiet --no-header \
	     --no-emit-index-url --no-emit-find-links $(addprefix --find-links ,$(PIP_FIND_LINKS)) \
	   | sed 's/^torch==\([0-9.]*\)+.*/torch==\1/'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean: ## Remove everything that was generated, .venv apart
	rm -rf data .dagster mlruns .pytest_cache .ruff_cache
