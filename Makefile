# `make demo` and `make test` need nothing but Python 3.11, pip and make: each sets up .venv by itself, once.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TESTS ?=

.PHONY: demo stack test test-slow test-stack check soak mutants format docs bench lock clean

demo: $(VENV)/run
	$(BIN)/pixmill run configs/pets.yaml --yes

# Everything that compose.yaml starts, as processes of this machine: PostgreSQL, Prefect's server, a worker.
stack: $(VENV)/stack
	$(BIN)/python -m deployments.stack

# Twice as many at a time as there are cores: half of what these do is to wait. The others start processes of their own.
test: $(VENV)/dev
	$(BIN)/python -m pytest -q -n $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN)))) --maxprocesses 12 -m "not slow and not stack" $(TESTS)

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "slow and not stack" $(TESTS)

test-stack: $(VENV)/stack
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m stack $(TESTS)

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

# Kills, power losses, histories in virtual time and fuzzing, many times longer: about half an hour.
SOAK ?= 5
soak: $(VENV)/dev
	PIXMILL_SOAK=$(SOAK) $(BIN)/python -m pytest -q -n auto tests/crash tests/virtual tests/fuzz $(TESTS)

# Bugs on purpose: a test has to notice each.
mutants: $(VENV)/dev
	$(BIN)/python tests/mutants/catch.py

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of docs/ that are made from the code.
docs: $(VENV)/dev
	$(BIN)/python docs/generate.py

# Ratios against the alternatives that a user has; docs/benchmarks.md explains them.
bench: $(VENV)/dev
	$(BIN)/python benchmarks/whole_run.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/limits.py

# The stamps: what a run needs, what development needs on top, and what the tests of the stack need on top of that. The locks are complete, with a hash for
# every file, so nothing is resolved here.
$(VENV)/run: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/run.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/run
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/dev.txt
	touch $@

$(VENV)/stack: requirements/stack.txt $(VENV)/dev
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/stack.txt
	touch $@

# Needs pip-tools. No index and no file locations in a lock: it is read by every index that has these files.
lock:
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

clean:
	rm -rf $(VENV) out dist
