# Two commands do everything on a fresh machine with Python 3.11, make and git:
#   make demo   the environment, then the default sweep, its front and one exported, executed design
#   make test   the environment, then the tests
# One more needs an environment of its own: make finn-check
PYTHON ?= python3
VENV ?= .venv
FINN ?= .venv-finn
RESULTS ?= results
SWEEP_OPTIONS ?=
BIN := $(VENV)/bin
# one thread a process: sweeps and tests run as many processes as there are cores
export OMP_NUM_THREADS ?= 1

.PHONY: env demo test lint clean finn-check
env: $(VENV)/.ready

# torch goes first and alone: any looser requirement would pull its CUDA builds
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: env
	$(BIN)/dse run sweeps/digits.yaml --results $(RESULTS) $(SWEEP_OPTIONS)
	$(BIN)/dse front $(RESULTS)/digits
	$(BIN)/dse export $(RESULTS)/digits --point knee --to qonnx

test: env
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy hwmodels workloads dse
	$(BIN)/lint-imports

# FINN itself on our exports, in an environment of its own: about ten minutes, most of them installing
finn-check: env $(FINN)/.ready
	$(BIN)/python benchmarks/finn_check.py --finn $(FINN)/bin/python

$(FINN)/.ready: constraints-finn.txt
	$(PYTHON) -m venv $(FINN)
	$(FINN)/bin/python -m pip install --quiet --constraint constraints-finn.txt torch==2.13.0
	$(FINN)/bin/python -m pip install --quiet --no-deps --requirement constraints-finn.txt
	touch $@

clean:
	rm -rf $(VENV) $(FINN) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
