# make demo   sets up a virtual environment and evaluates the demo model
# make test   installs the test tools and runs the tests
# make check  what must hold before a change goes in: formatting, lint and types
# make lock   renews constraints/lock.txt, the releases that are installed; then run the tests
# make test-vllm  makes an environment with vLLM for CPUs, 3.5 GB, and runs the tests that need it
# make benchmarks  measures speed and memory against the alternatives
#
# PYTHON   the interpreter that makes the environment, 3.11 or newer
# VENV     where the environment is
# TORCH    a requirement or wheel for pip, instead of the build that fits this machine
# WORKERS  test processes
# TESTS    what pytest runs
# RELEASES locked (constraints/lock.txt), newest or oldest: which of the allowed ones are installed

PYTHON ?= python3
VENV ?= .venv
TORCH ?=
WORKERS ?= $(shell echo $$((2 * $$(env -u OMP_NUM_THREADS nproc) + 1)))
TESTS ?= tests
RELEASES ?= locked

BIN = $(VENV)/bin
INSTALL = $(PYTHON) scripts/install.py --venv "$(VENV)" --torch "$(TORCH)" --releases "$(RELEASES)"
NEEDS = pyproject.toml scripts/install.py constraints/lock.txt constraints/torch.txt

.PHONY: help demo test test-vllm check lock benchmarks clean python

help:
	@sed -n -e '/^$$/q' -e 's/^# \{0,1\}//p' Makefile

demo: $(VENV)/.installed-transformers
	$(BIN)/muster run --model demo --tasks digits

# One thread per process: the tests start many processes, and threads would only fight over the cores. More tests than
# cores at a time: many spend their time waiting for a time-out. What one process compiles no other has to.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 12 --durations=40 $(TESTS)

test-vllm: | python
	PYTHON="$(PYTHON)" .ci/vllm

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lock: | python
	$(PYTHON) scripts/lock.py

# Half an hour on a quiet machine with two cores; writes benchmarks/RESULTS-*.md.
benchmarks: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache

# What is installed for the tests is enough for the demo, but not the other way round.
$(VENV)/.installed-transformers: $(NEEDS) | python
	$(INSTALL) --extra transformers
	@touch $@

$(VENV)/.installed-dev: $(NEEDS) | python
	$(INSTALL) --extra dev
	@touch $@ $(VENV)/.installed-transformers

python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "Muster needs Python 3.11 or newer, and there is no $(PYTHON) here. Name one: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Muster needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 …" >&2; exit 1; }
