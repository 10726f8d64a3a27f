# The commands of the house. `make demo` and `make test` work on a bare machine with Python 3.11 or newer:
# they make the environment first. A second call finds it ready.

SHELL := /bin/bash
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
DEMO := outputs/demo
# Each set of extras has its own stamp, so that the demo installs no more than it runs.
RUN := $(VENV)/.kinema-run
DEV := $(VENV)/.kinema-dev
DOCS := $(VENV)/.kinema-docs
GROUND := pyproject.toml constraints.txt .ci/env

.PHONY: help demo test test-slow lint docs env clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */make \1\t/' | expand -t 18

demo: $(RUN)  ## six clips with sound and a contact sheet from the nano models, into outputs/demo
	$(BIN)/kinema generate \
		"a red fox bounces to the right, night sky" \
		"a balloon rises, snow" \
		"a butterfly spins clockwise, meadow" \
		"a sailboat slides left, beach, the camera zooms in" \
		'a tomato rests, desert, a sign that says "OPEN"' \
		'a panda jumps, snow, a sign that says "CAFE"' \
		--seed 7 --output-dir $(DEMO) --contact-sheet $(DEMO)/contact_sheet.png --overwrite

test: $(DEV)  ## the tests, without the slow ones
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(DEV)  ## the slow tests alone: training runs, whole-clip generation
	$(BIN)/python -m pytest -m slow --timeout=3600

lint: $(DEV)  ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS)  ## the documentation into site/, broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

env: $(DEV)  ## the environment that tests and lint need

clean:  ## caches and built documentation (keeps the environment and your outputs)
	rm -rf site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(RUN): $(GROUND)
	.ci/env $(VENV)
	@touch $@

$(DEV): $(GROUND)
	.ci/env $(VENV) dev,parity,data,eval,tensorboard
	@touch $(RUN) $@

$(DOCS): $(GROUND)
	.ci/env $(VENV) docs
	@touch $(RUN) $@
