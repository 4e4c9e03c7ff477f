# `make demo` and `make test` need nothing but Python 3.11, pip and make: each sets up .venv by itself, once.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TESTS ?=
SOAK ?= 5

# The tests start many processes. Where Python is told to keep no bytecode, each of them compiles
# every module anew, which takes longer than most tests.
unexport PYTHONDONTWRITEBYTECODE

# Twice as many test processes as cores: half of what the tests do is to wait.
WORKERS := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

# The quick tests sync thousands of small stores to disk, which takes no time in memory. Not where
# there is little of it, as in a container; and the slow tests keep to the disk.
IN_MEMORY := $(shell df -k --output=avail /dev/shm 2>/dev/null | awk '$$1 + 0 > 4000000 {print "/dev/shm"}')

# Each test process collects what it is given, and few files have such tests; a mark in a conftest.py
# is for its folder. In this order the longest of the slow ones come first.
marked = $(patsubst %/conftest.py,%,$(sort $(shell grep -rl 'mark\.$(1)' tests --include='*.py')))
SLOW_TESTS := $(call marked,slow)
STACK_TESTS := $(call marked,stack)

# No quick tests are in there, nor in files that are slow as a whole, and each test process would
# import Prefect to find that out. Those of the architecture are run by `make check`.
NONE_QUICK := $(addprefix --ignore=,tests/deployments tests/flows tests/stack tests/tasks \
	tests/test_architecture.py \
	$(shell grep -rlE '^pytestmark = pytest\.mark\.(slow|stack)' tests --include='*.py'))

.DEFAULT_GOAL := help
.PHONY: help demo stack test test-slow test-stack check soak mutants format docs bench lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/run ## run configs/pets.yaml with the built-in simulator: no account, nothing to pay
	$(BIN)/pixmill run configs/pets.yaml --yes
	@echo "next, with a table of yours: $(BIN)/pixmill init my.csv writes a config for it; or $(BIN)/pixmill init my, an example to edit"

stack: $(VENV)/stack ## start what compose.yaml starts as processes: PostgreSQL, Prefect's server, a worker
	$(BIN)/python -m deployments.stack

test: export PYTEST_DEBUG_TEMPROOT ?= $(IN_MEMORY)
ifneq ($(IN_MEMORY),)
test: export TMPDIR ?= $(IN_MEMORY)
endif
test: $(VENV)/dev ## the quick tests (TESTS=tests/test_docs.py: only those)
	$(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 12 --dist worksteal $(NONE_QUICK) -m "not slow and not stack" $(TESTS)

test-slow: $(VENV)/dev ## the slow tests: kills, real scale, processes of all kinds
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "slow and not stack" $(or $(TESTS),$(SLOW_TESTS))

test-stack: $(VENV)/stack ## the tests with PostgreSQL, a bucket, Dask and Prefect's workers
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m stack $(or $(TESTS),$(STACK_TESTS))

check: $(VENV)/dev ## style, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

soak: $(VENV)/dev ## kills, power losses, virtual time and fuzzing, SOAK times as long: half an hour
	PIXMILL_SOAK=$(SOAK) $(BIN)/python -m pytest -q -n auto tests/crash tests/virtual tests/fuzz $(TESTS)

mutants: $(VENV)/dev ## plant bugs on purpose: a test has to notice each
	$(BIN)/python tests/mutants/catch.py

format: $(VENV)/dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev ## write the pages of docs/ that are made from the code
	$(BIN)/python -m docs.generate

bench: $(VENV)/dev ## ratios against the alternatives that a user has; docs/benchmarks.md explains them
	$(BIN)/python benchmarks/whole_run.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/limits.py

# The stamps: what a run needs, what development needs on top, and what the tests of the stack need on top of that. The locks are complete, with a hash for
# every file, so nothing is resolved here. `-qq` is pip's level ERROR: a machine whose pip is configured with places that are not there
# has a warning for each and every file, which would bury what follows.
$(VENV)/run: requirements/run.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is not a Python of 3.11 or newer on this machine; name one that is: make demo PYTHON=python3" >&2; exit 1; }
	@echo "installing into $(VENV), once: about a minute ..."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --require-hashes --no-deps -r requirements/run.txt
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/run
	$(BIN)/python -m pip install -qq --require-hashes --no-deps -r requirements/dev.txt
	touch $@

$(VENV)/stack: requirements/stack.txt $(VENV)/dev
	$(BIN)/python -m pip install -qq --require-hashes --no-deps -r requirements/stack.txt
	touch $@

# No index and no file locations in a lock: it is read by every index that has these files.
lock: ## resolve requirements/*.txt anew; needs pip-tools
	pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra build -o requirements/run.txt pyproject.toml
	pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra build --extra postgres --extra s3 -c requirements/run.txt \
		-o requirements/image.txt pyproject.toml
	pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra build --extra compare --extra dev -c requirements/run.txt \
		-o requirements/dev.txt pyproject.toml
	pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra build --extra compare --extra dev --extra postgres \
		--extra s3 --extra dask --extra stack -c requirements/dev.txt -c requirements/image.txt \
		-o requirements/stack.txt pyproject.toml

clean: ## remove .venv, out and dist
	rm -rf $(VENV) out dist
