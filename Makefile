# Each target does its own set-up, also on a fresh machine. Python ≥ 3.11 with venv is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run test check bench attacks lock format

run: $(VENV)/.run
	@scripts/system-packages run
	@exec $(BIN)/python -m config.run

test: $(VENV)/.dev
	@scripts/system-packages run test
	@scripts/test

check: $(VENV)/.dev
	@scripts/check

bench: $(VENV)/.dev
	@scripts/system-packages run test
	@scripts/bench

attacks: $(VENV)/.dev
	@scripts/system-packages run test
	@scripts/attacks

format: $(VENV)/.dev
	ruff format . && ruff check --fix .

lock: $(VENV)/.uv
	uv pip compile -q --generate-hashes --python-version 3.11 requirements.in -o requirements.txt
	uv pip compile -q --generate-hashes --python-version 3.11 requirements-dev.in -o requirements-dev.txt

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit("Vestige needs Python 3.11 or newer." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements.txt
	@uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.txt -r requirements-dev.txt
	@touch $@
