# Everything runs in its own virtual environment; nothing outside this folder is changed, except for
# pip's cache. Override on the command line: make test PYTHON=python3.12 TORCH='torch==2.9.1'
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
JOBS ?= auto
SBOM ?= dist/mmsegmentation-encnet.cdx.json

# Where the tests write: in memory if 6 GB are free there, because they make thousands of small files.
SCRATCH ?= $(shell [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'END { print $$4 }')" -gt 6000000 ] \
	2>/dev/null && echo /dev/shm || echo "$${TMPDIR:-/tmp}")

BIN := $(VENV)/bin
# Inputs of the environment, which is rebuilt if any of them changes. The kernels are rebuilt only if
# their sources have changed.
RECIPE = $(PYTHON) $(TORCH) $(shell cksum < setup.cfg)
# Install an extra into the environment, once.
ADD = @[ -f $(VENV)/extra-$(1) ] || { $(BIN)/pip install --editable '.[toolbox,$(1)]' && \
	touch $(VENV)/extra-$(1); }

.PHONY: help setup demo test toolbox-tests docs lint reliability compat audit sbom clean

help:
	@echo 'make demo         train FCN and EncNet on the embedded data set and compare them'
	@echo 'make test         run the test suite'
	@echo 'make toolbox-tests SRC=CLONE'
	@echo '                  run the tests of a clone of MMSegmentation with and without mmseg_encnet'
	@echo 'make lint         check format, style, import directions and types'
	@echo 'make docs         build the documentation into site/ and check its links'
	@echo 'make reliability  run the long checks and write docs/reliability.md (2 hours)'
	@echo 'make compat       test other versions of Python, PyTorch and the toolbox (hours, gigabytes)'
	@echo 'make audit        look up known vulnerabilities of the installed packages'
	@echo 'make sbom         list the packages that an installation brings (CycloneDX)'
	@echo 'make clean        remove the environment and everything the targets wrote'

setup:
	@if [ "$$(cat $(VENV)/recipe 2>/dev/null)" != '$(RECIPE)' ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	    $(MAKE) --no-print-directory $(VENV)/recipe; \
	fi
	@$(BIN)/python setup.py --quiet build_ext --inplace

# torch first, so that the toolbox does not install another version.
.PHONY: $(VENV)/recipe
$(VENV)/recipe:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install '$(TORCH)'
	$(BIN)/pip install --editable '.[toolbox]'
	@echo '$(RECIPE)' > $@

demo: setup
	$(BIN)/python tools/demo.py

test: setup
	$(call ADD,test)
	TMPDIR='$(SCRATCH)' OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS)

toolbox-tests: setup
	$(call ADD,test)
	OMP_NUM_THREADS=1 $(BIN)/python tools/toolbox_tests.py $(SRC)

lint: setup
	$(call ADD,lint)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports setup.cfg
	$(BIN)/mypy

docs: setup
	$(call ADD,docs)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs site
	@echo 'open site/index.html'

reliability: setup
	$(call ADD,test)
	$(BIN)/python tools/analysis_tools/reliability.py

compat:
	$(PYTHON) tools/compat.py $(CELLS)

audit: setup
	$(call ADD,release)
	$(BIN)/python tools/audit.py

# Of an environment with the package and what it needs, not of the one for development.
sbom: setup
	$(call ADD,release)
	rm -rf build/sbom
	mkdir -p $(dir $(SBOM))
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/pip install '$(TORCH)'
	build/sbom/bin/pip install '.[toolbox]'
	$(BIN)/cyclonedx-py environment --output-reproducible --output-format JSON \
	    --output-file $(SBOM) build/sbom/bin/python

clean:
	rm -rf $(VENV) build dist site work_dirs *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	rm -f mmseg_encnet/ops/*/native/*.so
