# outbox-relay: everything a developer does. Bare `make` lists it. No variable needs to be set.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
# The environment is made again when the lock or the project's own metadata changes, not when a checkout touches their dates.
STAMP := .venv/.made-$(shell cat requirements-dev.txt pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

.PHONY: help
help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv: $(STAMP)
.PHONY: .venv

$(STAMP): | requirements-dev.txt pyproject.toml
	@tools/make-venv '$(PYTHON)' '$@'

.PHONY: lock
lock: .venv  ## Resolve the dependencies anew and write requirements*.txt, with hashes.
	@$(COMPILE) pyproject.toml --output-file requirements.txt
	@$(COMPILE) pyproject.toml --group dev --constraint requirements.txt --output-file requirements-dev.txt
	@! grep -nE 'https?:|file:|pypi|index-url' requirements.txt requirements-dev.txt || \
	  { echo 'make lock: an address of a package index got into the lock' >&2; exit 1; }
