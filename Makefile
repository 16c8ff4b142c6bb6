# The front door. `make help` lists what it opens; every target sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check up bench mutants protos contracts clean
SHELL := /bin/sh

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
NODE := $(BIN)/python -m xstock_devnet.engines.node node
SOURCES := libs services/watcher services/relayer services/supply-guard services/gateway cli devnet
PROTOS = $(wildcard protos/xstock_wire/v1/*.proto)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install everything under this folder (silent when it is up to date)
	@test -n "$(PYTHON)" || { \
		echo "Python 3.11 or newer is needed and none was found."; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) scripts/setup.py

demo: setup ## six chains, three guards, every route, live; ends with one line of facts
	@$(BIN)/xstock demo

up: setup ## the same world, staying up until Ctrl-C, addresses printed
	@$(BIN)/xstock up

test: setup ## every test, on real PostgreSQL, Kafka and local chains
	@$(BIN)/pytest tests/e2e
	@$(BIN)/pytest -n 2 --dist loadfile --ignore tests/e2e

check: setup ## style, types, floors, protos, generated code, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES) scripts tests
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against protos/baseline.binpb
	$(BIN)/pytest tests/house -q

bench: setup ## measure; prints a table and writes build/bench/results.json
	@$(BIN)/python -m tests.bench

mutants: setup ## change the rules one line at a time, in a copy: a test must notice (ROOMS=core)
	@$(BIN)/python scripts/mutants.py $(ROOMS)

protos: setup ## generate libs/xstock_wire/v1 from protos/
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
		--python_out=libs --grpc_python_out=libs --mypy_out=libs --mypy_grpc_out=libs $(PROTOS)
	@$(BIN)/python scripts/write_errors.py

contracts: setup ## compile contracts/evm and contracts/ton into committed artifacts
	@$(NODE) contracts/evm/build.mjs
	@$(NODE) contracts/ton/build.mjs

clean: ## remove everything the other targets made
	rm -rf build .venv node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache .grimp_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
