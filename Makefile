SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test check format bench contracts lock clean

STAMP := .venv/.installed
# Tests of the whole system wait a quarter of their time: one more worker than cores keeps these busy.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
COMPILE = .venv/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header

help:  ## List the targets
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(STAMP)  ## Create .venv from requirements.lock (needs Python 3.11 and nothing else)

$(STAMP): requirements.lock requirements-bootstrap.lock pyproject.toml deploy/local/setup.sh
	@deploy/local/setup.sh && touch $@

run: setup  ## Start the whole system on this machine, with sample flows, until Ctrl-C
	@exec .venv/bin/headrace up --sample

test: setup  ## Run the tests on real NATS and Postgres servers (ARGS="-k words" picks some)
	@exec .venv/bin/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup  ## Check format, lint, types and who may import whom
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup  ## Format the code and fix what ruff can fix by itself
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: setup  ## Measure plays per second, latency and CPU per play on this machine
	@exec .venv/bin/python -m tests.bench $(ARGS)

contracts: setup  ## Write docs/contracts/openapi.json and asyncapi.json anew from the code
	.venv/bin/python -m services.gateway.contracts docs/contracts

lock: setup  ## Write the lock files anew from pyproject.toml
	$(COMPILE) --upgrade --extra local --group dev pyproject.toml --output-file requirements.lock
	$(COMPILE) --upgrade --constraint requirements.lock pyproject.toml --output-file deploy/requirements.lock

clean:  ## Remove .venv and the caches; the data in .headrace stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
