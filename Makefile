# Two commands on a fresh clone, nothing before them but Python 3.11+ and make:  make demo   make test
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
JOBS   ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check load bench bench-peers screenshots clean help
help:
	@echo "make demo    set up .venv and run a closed-loop campaign on a simulated laboratory"
	@echo "make test    set up .venv and run every test"
	@echo "make check   lint, types, the room table, the wheel, the licences"
	@echo "make load    ten minutes of fifty people who watch ten campaigns; needs Chromium"
	@echo "make bench   measure what README and docs claim (long)"
	@echo "make bench-peers   the planner beside Ax, BayBE and Optuna (long; goes on where it was cut off; PART=single for one part)"
	@echo "make screenshots   pictures of every page of the console, into build/screenshots"

demo: $(VENV)/.core
	@$(BIN)/athanor demo

# Those with a stated deadline for a stop have the machine to themselves.
test: $(VENV)/.test
	@$(BIN)/python -m pytest -m "not deadline" --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder
	@$(BIN)/python -m pytest -m deadline

check: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/python .ci/check_wheel.py
	@$(BIN)/python .ci/check_licences.py

# Ten minutes; fails where a bound does not hold.
load: $(VENV)/.test
	@$(BIN)/python -m benchmarks console_load --minutes 10

bench: $(VENV)/.test
	@$(BIN)/python -m benchmarks

# Ax, BayBE and Optuna, in an environment of their own: what is measured there changes nothing here. PART=single, ... runs
# one comparison; benchmarks/README.md lists them.
PART ?= all
bench-peers: .venv-peers/.peers
	-@.venv-peers/bin/python -m benchmarks.planning run $(PART)
	@.venv-peers/bin/python -m benchmarks.planning report

.venv-peers/.peers: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	@touch $@

# Needs Chromium.
screenshots: $(VENV)/.test
	@$(BIN)/python -m tests.console.pages.screenshots

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Athanor needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "This Python has no venv/ensurepip. On Debian or Ubuntu: apt install python3-venv; or set PYTHON= to another one."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# The stamps follow the pins: change pyproject.toml or constraints.txt and the next command installs again.
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Athanor into $(VENV) (PyTorch is about 200 MB as a CPU build; see README to choose it) ..."
	@$(PIP) -e '.[console]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Athanor and its test tools into $(VENV) ..."
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
