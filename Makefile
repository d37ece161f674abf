# `make run` and `make test` work on a fresh machine: Python 3.11 or later, make, and the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TASK ?= cifar100

.PHONY: help run test test-slow format wheel-test clean

help:  ## Show what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.installed  ## Set up .venv and search for an architecture: nas-agent run --task cifar100
	$(BIN)/nas-agent run --task $(TASK)

test: $(VENV)/.installed-dev  ## Set up .venv and run every check: ruff, mypy, import contracts, pytest
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2

test-slow: $(VENV)/.installed-dev  ## Run the tests that take longer: real training, the real embedding model
	$(BIN)/pytest -n 2 -m slow

format: $(VENV)/.installed-dev  ## Rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel-test: $(VENV)/.installed-dev  ## Build the wheel, install it into an empty environment, run it from another folder
	sh scripts/wheel_test.sh $(BIN)/python

clean:  ## Remove what the other targets made
	rm -rf $(VENV) .wheel-venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"nas-agent needs Python 3.11 or later, {sys.executable} is {v.major}.{v.minor}; run: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.created
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed
