# `make demo` and `make test` need nothing but Python 3.11, pip and make: each sets up .venv by itself, once.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TESTS ?=

.PHONY: demo test test-slow check soak mutants format bench lock clean

demo: $(VENV)/run
	$(BIN)/pixmill run configs/pets.yaml --yes

test: $(VENV)/dev
	$(BIN)/python -m pytest -q -n auto -m "not slow" $(TESTS)

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -q -n auto -m slow $(TESTS)

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

# Ratios against the alternatives that a user has; docs/benchmarks.md explains them.
bench: $(VENV)/dev
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/limits.py

# The two stamps: what a run needs, and what development needs on top. The locks are complete, with a hash for
# every file, so nothing is resolved here.
$(VENV)/run: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/run.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/run
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/dev.txt
	touch $@

# Needs pip-tools. No index and no file locations in a lock: it is read by every index that has these files.
lock:
	pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra build -o requirements/run.txt pyproject.toml
	pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra build --extra compare --extra dev -c requirements/run.txt \
		-o requirements/dev.txt pyproject.toml

clean:
	rm -rf $(VENV) out dist
