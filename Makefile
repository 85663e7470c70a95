# Every target works in .venv, which it creates. `make` alone lists the targets.
PYTHON ?= python3
PROFILE ?= laptop
STORE ?= runs
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help book test cover long run bench gpu colab lint clean

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

book: .venv/book  ## compute what is missing, run every notebook, build the site (PROFILE=laptop)
	@$(BIN)/lottery book --profile $(PROFILE) --store $(STORE)

# Two workers, a thread each: more threads than cores spend their time waiting for one another.
test: .venv/dev  ## all tests, with a smoke run from scratch and a strict book build
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

cover: .venv/dev  ## all tests, and how much of the library they run: written to the README
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		--cov=lotterylib --cov-report=json:_build/coverage.json
	@$(BIN)/python -m tools.cover _build/coverage.json

long: .venv/dev  ## what takes long and rarely fails: notebooks under tiny CIFAR and ImageNet, drills of whole studies
	@OMP_NUM_THREADS=1 LONG=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m long

run: .venv/book  ## compute all of a profile from scratch: make run PROFILE=laptop
	@$(BIN)/lottery run --profile $(PROFILE) --store $(STORE)

bench: .venv/bench  ## measure speed side by side with others, a study's overhead, and growth: benchmarks/table.md
	@$(BIN)/python -m benchmarks

gpu: .venv/dev  ## on a machine with a GPU: ten minutes of checks and one table, _build/gpu/gpu.md
	@$(BIN)/python -m benchmarks.gpu

colab:  ## every notebook with Google Colab's versions (heavy; needs Python 3.13: make colab PYTHON=python3.13)
	@$(PYTHON) -m tests.colab.contract

lint: .venv/dev  ## style and common mistakes (ruff), the floors of the library, types (pyright), the notebooks' set-up cell
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tools.colab --check
	@$(BIN)/pyright

clean:  ## remove what was built; runs/ and .venv stay
	rm -rf _build build dist

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f"Python 3.10 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	@echo "creating .venv"
	@$(PYTHON) -m venv .venv

# Stamps: installed once, and again when pyproject.toml changes. Test tools and the book's in one go.
.venv/book: pyproject.toml | .venv/bin/pip
	@echo "installing what the book needs into .venv (the first time takes a few minutes)"
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -e '.[book,cluster]'
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/pip
	@echo "installing what the book and its tests need into .venv (the first time takes a few minutes)"
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -e '.[book,cluster,dev]'
	@touch .venv/book $@

.venv/bench: .venv/dev
	@echo "installing what the benchmarks compare with into .venv"
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -e '.[book,cluster,dev,bench]'
	@touch $@
