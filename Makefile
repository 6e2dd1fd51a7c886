PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup run test lint types figures clean
.DEFAULT_GOAL := help

help:  ## list the verbs
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

setup: $(READY)  ## make .venv with pinned dependencies

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,notebooks]'
	touch $@

run: $(READY)  ## set up, fetch the default model, run the main job into runs/
	$(BIN)/painters run

test: $(READY) lint types  ## set up, then every check: lint, import contracts, types, tests
	$(BIN)/painters fetch
	HF_HUB_OFFLINE=1 $(BIN)/pytest -n 2 --dist loadfile

lint: $(READY)  ## style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)  ## static types
	$(BIN)/mypy

figures: $(READY)  ## refresh the committed gallery under figures/
	$(BIN)/painters run --out figures

clean:  ## remove .venv and caches; runs/ stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
