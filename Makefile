# Everything this repository can do. Each target sets up what it needs; a second call does not set up again.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
EXPERIMENT ?= denoise_bn
SWEEP ?= paper
ARGS ?=

# The first Python that vaegan runs on; make PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$$p" && break; done)

.PHONY: help train sweep evaluate report test test-reliability bench lint format tensorboard wheel clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

train: $(VENV)/ready  ## train EXPERIMENT (default denoise_bn) on MNIST; ARGS="seed=1 ..." changes options
	$(BIN)/python -m vaegan.train +experiment=$(EXPERIMENT) $(ARGS)

sweep: $(VENV)/ready  ## run what is not finished of SWEEP (default paper); ARGS="seed=0 ..." changes options
	$(BIN)/python -m vaegan.train -m +sweep=$(SWEEP) $(ARGS)

evaluate: $(VENV)/ready  ## measure RUN (default outputs/SWEEP), a run folder or a sweep's; ARGS="metrics=[loss] ..." changes options
	$(BIN)/python -m vaegan.evaluate run=$(or $(RUN),outputs/$(SWEEP)) $(ARGS)

report: $(VENV)/ready  ## tables, figures and a page of outputs/SWEEP
	$(BIN)/python -m vaegan.report outputs/$(SWEEP)

test: $(VENV)/ready  ## run the tests; ARGS="-k losses" selects
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-reliability: $(VENV)/ready  ## all trials of tests/reliability (40 minutes), their table in docs/reliability.md
	$(BIN)/python -m pytest tests/reliability -n 2 --dist loadfile --long --timeout 7200 --table docs/reliability.md $(ARGS)

bench: $(VENV)/ready  ## time training beside other ways to do it (the steps alone 25 minutes): docs/performance.md; ARGS="start_up" for a part
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/bench pythae==0.1.2 cloudpickle imageio \
		pydantic==2.14.3 pydantic-core==2.50.4 annotated-types typing-inspection
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/ready  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/ready  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: $(VENV)/ready  ## show the curves of all runs at http://127.0.0.1:6006
	$(BIN)/tensorboard --logdir outputs --host 127.0.0.1

wheel: $(VENV)/ready  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## delete the virtual environment and build files; runs and data stay
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set up anew only when what is to be installed has changed.
$(VENV)/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "vaegan needs Python 3.11, 3.12 or 3.13; none was found. Try: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@
