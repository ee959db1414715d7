# With nothing but Python 3.11 or newer and make:
#   make demo     set up and run the main job on generated patches
#   make test     set up and run the tests, as many side by side as there are cores (WORKERS=1: one)
#   make test-all the same with the slow ones, and long ones at their full length
#   make check    linters, types and tests, as CI runs them
#   make wheels   build wheel and sdist, install the wheel with each extra in a fresh environment (about 15 GB)
#   make docs     the documentation as a site, in site/
#   make install  set up only

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
INSTALLED := $(VENV)/.installed
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

export DO_NOT_TRACK = 1
export GOMP_SPINCOUNT = 1000

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check wheels docs coverage lint format types lock clean

help:
	@sed -n 's/^#   //p' Makefile

install: $(INSTALLED)

# uv comes first and alone, by the hash that the lock file names; everything else through it.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("landsift needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + \
	  ": set PYTHON=, as in make PYTHON=python3.12 install" if not (3, 11) <= sys.version_info[:2] < (3, 14) else 0)'
	@echo "Setting up $(VENV) (about 6 GB)"
	@$(PYTHON) -m venv $(VENV)
	@awk '/^uv==/ {found = 1} found {print} found && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(UV) --compile-bytecode --require-hashes -r requirements.lock
	@$(UV) --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

demo: install
	@$(BIN)/landsift run --config configs/demo.yaml --out $(DEMO)

test: install
	@$(PYTEST)

test-all: install
	@$(PYTEST) --complete

check: lint types test

wheels: install
	@$(BIN)/python .ci/wheels.py --all

docs: install
	@$(BIN)/mkdocs build --quiet --strict

coverage: install
	@$(BIN)/python -m pytest --cov --cov-report=term

lint: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: install
	@$(BIN)/mypy

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# All extras and dev tools, for every platform and Python, with hashes and without the address of an index.
lock:
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras --python-version 3.11 \
	  --no-header --no-emit-index-url --upgrade pyproject.toml -o requirements.lock

clean:
	@rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
