# Every target sets itself up: a virtual environment in .venv, rebuilt when pyproject.toml changes or it stops working.
#   make demo | test | lint | types | bench | walls | check | check-all | clean | distclean
# PYTHON=python3.12 chooses the interpreter, ARGS="-k detector" is handed to pytest.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_BENCH := $(VENV)/.ready-bench
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
PYTEST := $(BIN)/python -m pytest -n 2
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3 python
ARGS ?=

# An environment that was moved or whose interpreter is gone counts as missing.
ifneq ($(shell $(BIN)/python -m pip --version >/dev/null 2>&1 && echo works),works)
$(shell rm -f $(READY) $(READY_BENCH))
endif

.PHONY: help demo test slow lint types bench walls check check-all format clean distclean

help:
	@echo "make demo       run a sample transcript and show what became of it"
	@echo "make test       the tests (a few minutes at most)"
	@echo "make slow       the tests that take longer"
	@echo "make lint       ruff: rules and formatting"
	@echo "make types      mypy --strict"
	@echo "make check      lint, types and test"
	@echo "make check-all  check, the slow tests and the demo"
	@echo "make bench      timings beside those of pydantic-monty"
	@echo "make walls      what each layer of the lockdown costs, and how far a script gets past its limits"
	@echo "make format     let ruff format and fix what it can"
	@echo "make clean      remove caches and build products; distclean removes .venv too"

$(READY): pyproject.toml
	@found=; for python in $(CANDIDATES); do \
	  if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    found=$$python; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.11 or newer with the venv module was found (tried: $(CANDIDATES))." >&2; \
	  echo "Install one (on Debian or Ubuntu: apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "Setting up $(VENV) with $$($$found --version) ..." >&2; \
	  $$found -m venv --clear $(VENV); \
	}
	@$(PIP) install --editable '.[dev]'
	@touch $@

$(READY_BENCH): $(READY)
	@$(PIP) install --editable '.[dev,bench]'
	@touch $@

# The sample ends in a failure on purpose, so 1 ("something failed") is the right exit status here.
demo: $(READY)
	@$(BIN)/harness run examples/transcript.md --tools examples/tools.py --approve always; \
	  status=$$?; [ $$status -eq 1 ] || { echo "harness run ended with $$status, not 1" >&2; exit 1; }

test: $(READY)
	@$(PYTEST) -m "not slow" $(ARGS)

slow: $(READY)
	@$(PYTEST) -m slow $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@echo "lint: ok"

types: $(READY)
	@$(BIN)/mypy

bench: $(READY_BENCH)
	@$(BIN)/python benchmarks/run.py $(ARGS)

walls: $(READY)
	@$(BIN)/python benchmarks/walls.py $(ARGS)

check: lint types test

check-all: check slow demo

format: $(READY)
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

clean:
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	@find harness tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV)
