# Everything runs in an environment of its own; nothing outside this folder is touched, apart from
# pip's cache. Override on the command line: make test PYTHON=python3.12 TORCH='torch==2.9.1'
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
JOBS ?= auto

BIN := $(VENV)/bin
# What a good environment was made from; a change to any of it makes a new one. The kernels are built
# anew where they have changed.
RECIPE = $(PYTHON) $(TORCH) $(shell cksum < setup.cfg)

.PHONY: help setup demo test reliability compat lint clean

help:
	@echo 'make demo         train FCN and EncNet on the embedded data set and compare them (5 minutes)'
	@echo 'make test         run the test suite (10 minutes)'
	@echo 'make lint         check the code with ruff'
	@echo 'make reliability  run the long checks and write docs/reliability.md (2 hours)'
	@echo 'make compat       try other Pythons, PyTorches and toolboxes (hours, gigabytes)'
	@echo 'make clean        remove the environment and everything the targets wrote'

setup:
	@if [ "$$(cat $(VENV)/recipe 2>/dev/null)" != '$(RECIPE)' ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	    $(MAKE) --no-print-directory $(VENV)/recipe; \
	fi
	@$(BIN)/python setup.py --quiet build_ext --inplace

# torch first: the toolbox must not pull another one in.
.PHONY: $(VENV)/recipe
$(VENV)/recipe:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install '$(TORCH)'
	$(BIN)/pip install --editable '.[toolbox,test]'
	@echo '$(RECIPE)' > $@

demo: setup
	$(BIN)/python tools/demo.py

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS)

reliability: setup
	$(BIN)/python tools/analysis_tools/reliability.py

compat:
	$(PYTHON) tools/compat.py $(CELLS)

lint: setup
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) build dist work_dirs *.egg-info .pytest_cache .ruff_cache .hypothesis
	rm -f mmseg_encnet/ops/encode/native/*.so
