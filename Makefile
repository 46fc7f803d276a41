# `make demo` shows what mlc does, `make test` checks all of it; both need only Python >= 3.11 with
# pip. The virtual environment is made once, and again when pyproject.toml or constraints.txt change.

VENV := .venv
BIN := $(VENV)/bin
# Packages come from wherever pip looks; the releases are those of the constraints.
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
# Frameworks start many threads each, which on few cores only get in each other's way.
export OMP_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test proof bench format clean

demo: $(VENV)/demo
	@echo "== examples/mnist.mdl" && cat examples/mnist.mdl
	@echo "== compiled to all targets, in build/demo"
	@$(BIN)/mlc compile examples/mnist.mdl --target all --output build/demo
	@echo "== build/demo/mnist_pytorch/mnist.py" && cat build/demo/mnist_pytorch/mnist.py
	@echo "== verified: each file is run in its framework and held to a float64 reference"
	@$(BIN)/mlc verify examples/mnist.mdl --target all

test: $(VENV)/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal

proof: $(VENV)/test
	@mkdir -p build/proof
	$(BIN)/python -m tests.proof.honest build/proof/honest.jsonl
	$(BIN)/python -m tests.proof.planted build/proof/planted.jsonl
	$(BIN)/python -m tests.proof.table build/proof/honest.jsonl build/proof/planted.jsonl
	$(BIN)/python -m pytest -m proof

# Half an hour, on a machine that does nothing else; the results go to docs/benchmarks.md.
bench: $(VENV)/test
	$(BIN)/python benchmarks

format: $(VENV)/test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Any Python that is new enough; where `python3` is not, one with a number may be there.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$($$python --version)"; \
	        $$python -m venv $(VENV) 2>/dev/null && exit 0; \
	        $$python -m venv --without-pip $(VENV) && \
	            $$python -m pip --python $(BIN)/python install --quiet pip && exit 0; \
	        exit 1; \
	    fi; \
	done; echo "mlc needs Python 3.11 or newer: set PYTHON to one" >&2; exit 1

$(VENV)/demo: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) ".[all]"
	@touch $@

$(VENV)/test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) ".[all,dev]"
	@touch $@ $(VENV)/demo
