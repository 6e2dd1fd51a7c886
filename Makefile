PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
OLDEST := .venv-oldest/bin
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# Compiled once, and not by every process that a test starts.
PYTEST += PYTHONDONTWRITEBYTECODE=
WORKERS ?= 2
# Without types checked at run time: the classes of older pandas cannot be named with their contents.
UNCHECKED := --shapes-unchecked

# Types are checked while models are fetched.
MAKEFLAGS += --jobs=2

.PHONY: help setup run check test fetched test-oldest notebooks docs lint types figures clean
.DEFAULT_GOAL := help

help:  ## list the verbs
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 14

setup: $(READY)  ## make .venv with pinned dependencies

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,notebooks]'
	touch $@

run: $(READY)  ## set up, fetch the default model, run the main job into runs/
	$(BIN)/painters run

check: $(READY) lint types  ## what to run while working: lint, import contracts, types, fast tests
	$(PYTEST) $(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not slow'

test: $(READY) lint types fetched  ## set up, then every check: lint, import contracts, types, all tests
	$(PYTEST) $(BIN)/pytest -n $(WORKERS) --dist worksteal

test-oldest: .venv-oldest/.ready  ## all tests with the oldest supported dependencies
	$(OLDEST)/painters fetch
	$(OLDEST)/painters fetch minilm-l6
	$(PYTEST) $(OLDEST)/python -m pytest -n $(WORKERS) --dist worksteal $(UNCHECKED)

.venv-oldest/.ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	$(OLDEST)/pip install --quiet --disable-pip-version-check -c constraints-oldest.txt \
		-e '.[dev,docs,notebooks]'
	touch $@

fetched: $(READY)
	$(BIN)/painters fetch
	$(BIN)/painters fetch minilm-l6

notebooks: $(READY)  ## execute the notebooks anew and store their outputs
	$(BIN)/python tests/test_notebooks.py

docs: $(READY)  ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: $(READY)  ## style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)  ## static types
	$(BIN)/mypy

figures: $(READY)  ## refresh the committed gallery under figures/
	$(BIN)/painters run --out figures
	$(BIN)/painters study 2407.09298 --limit 24 --out figures --store runs/gallery  # goes on where it was cut off

clean:  ## remove the virtual environments and caches; runs/ stays
	rm -rf .venv .venv-oldest .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
