# outbox-relay: everything a developer does. Bare `make` lists it. No variable needs to be set.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
# The environment is made again when the lock or the project's own metadata changes, not when a checkout touches dates.
STAMP := .venv/.made-$(shell cat requirements-dev.txt pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
# What checks the chart and its neighbours: a package.json, and the locks of what does not go with the rest.
CHECKERS := tests/deploy/checkers
# The pure floors: every branch of every rule is tried.
PURE := relay/model/__init__.py,relay/model/health.py,relay/model/mark.py,relay/model/outcome.py,relay/model/report.py,relay/model/row.py,relay/envelope.py,relay/decide.py,relay/outage.py,relay/scan.py,relay/ports.py

# Most tests wait for a server of their own: three at a time keep two cores busy. conftest.py says which files come first.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder

# What the shell says about servers (PGHOST, RELAY_LANES, ...) is not for what runs here.
$(foreach name,$(filter-out RELAY_TEST_%,$(filter PG% RELAY_%,$(.VARIABLES))),$(eval unexport $(name)))

.PHONY: help
help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: servers  ## Show the relay at work: real servers, real faults, a verdict (about 45 s).
	@$(BIN)/python -m demo

.PHONY: test
test: EXTRAS := pgbouncer
test: servers  ## Run the whole suite against real servers and hold the coverage.
	@$(BIN)/python -m pytest $(WORKERS) --cov --cov-report= --cov-report=term:skip-covered --cov-fail-under=90
	@echo 'Every branch of the pure floors:'
	@$(BIN)/python -m coverage report --include '$(PURE)' --show-missing --fail-under 100

.PHONY: test-deploy
test-deploy: EXTRAS := prometheus chromium npm postgresql rabbitmq-server
test-deploy: servers  ## Check the chart, alerts, dashboard, page and runbook with the tools of their trade (some minutes).
	@tools/make-checkers
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/deploy

.PHONY: pictures
pictures: EXTRAS := prometheus chromium npm postgresql rabbitmq-server
pictures: servers  ## Take the README's pictures of the status page, of a real relay in an outage and after it.
	@tools/make-checkers
	@RELAY_TEST_PICTURES='$(CURDIR)/docs/images' $(BIN)/python -m pytest -q tests/deploy/test_page_pictures.py -k real_relay

.PHONY: prove-image
prove-image: EXTRAS := buildah debootstrap podman conmon runc netavark uidmap
prove-image: servers  ## Build the image and run it hardened between real servers, with a verdict (as root on Debian, some minutes).
	@$(BIN)/python -m services.prove_image

.PHONY: test-rabbitmq4
test-rabbitmq4: rabbitmq4 servers  ## Run the tests that use a broker against RabbitMQ 4, whatever the machine has.
	@RELAY_TEST_RABBITMQ='$(CURDIR)/.services/rabbitmq-4' $(BIN)/python -m pytest $(WORKERS) \
	  tests/contract tests/faults tests/integration

.PHONY: test-cluster
test-cluster: servers  ## Break a RabbitMQ cluster of three under a quorum queue (some minutes).
	@RELAY_TEST_CLUSTER=1 $(BIN)/python -m pytest tests/faults/test_quorum.py

.PHONY: rabbitmq4
rabbitmq4: $(STAMP)  ## Fetch RabbitMQ 4 into .services, on Debian (10 s, 150 MB).
	@$(BIN)/python -m services.rabbitmq4

.PHONY: chaos
chaos: MINUTES ?= 3
chaos: REPLICAS ?= 3
chaos: ORDERING ?= none
chaos: servers  ## Break everything there is for some minutes, and judge (MINUTES=3 REPLICAS=3 ORDERING=none SEED=... RESULT=file.json).
	@$(BIN)/python -m chaos --minutes $(MINUTES) --replicas $(REPLICAS) --ordering $(ORDERING) $(if $(SEED),--seed $(SEED)) $(if $(RESULT),--json '$(RESULT)')

.PHONY: kills
kills: KILLS ?= 500
kills: SIGNAL ?= KILL
kills: ORDERING ?= none
kills: servers  ## Kill relays at random moments, hundreds of times, and judge (KILLS=500 SIGNAL=KILL ORDERING=none SEED=...).
	@$(BIN)/python -m chaos.kills --kills $(KILLS) --signal $(SIGNAL) --ordering $(ORDERING) $(if $(SEED),--seed $(SEED))

.PHONY: check
check: $(STAMP)  ## Check format, rules, types, floors, security, migrations and the Dockerfile.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --configfile pyproject.toml --quiet --recursive relay
	$(BIN)/squawk sql/migrations/*.up.sql
	$(BIN)/hadolint Dockerfile

.PHONY: simulate
simulate: $(STAMP)  ## Live through worlds of faults on virtual time, by seed (SEEDS=2000 FROM=0).
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000) --from $(or $(FROM),0)

.PHONY: bench
bench: servers  ## Measure speed, latency and cost beside a naive relay, with a verdict (ONLY="speed flat" RESULT=file.json MARKDOWN=file.md).
	@$(BIN)/python -m bench $(ONLY) $(if $(RESULT),--json '$(RESULT)') $(if $(MARKDOWN),--markdown '$(MARKDOWN)')

.PHONY: plots
plots: $(STAMP)  ## Draw the plots and write the tables of docs/performance.md, from the result kept there.
	@$(BIN)/python -m bench.pages

.PHONY: sabotage
sabotage: servers  ## Try the relay with one bug at a time: a test must catch each (some minutes).
	@$(BIN)/python -m sabotage

.PHONY: format
format: $(STAMP)  ## Rewrite the sources as `make check` wants them.
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: lock
lock: $(STAMP)  ## Resolve the dependencies anew and write requirements*.txt, with hashes.
	@$(COMPILE) --upgrade pyproject.toml --output-file requirements.txt
	@$(COMPILE) --upgrade pyproject.toml --group dev --constraint requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) --upgrade --group deploy --constraint requirements-dev.txt --output-file requirements-deploy.txt
	@$(COMPILE) --upgrade --group checkov --output-file $(CHECKERS)/requirements-checkov.txt
	@! grep -nE 'https?:|file:|pypi|index-url' requirements*.txt $(CHECKERS)/requirements-checkov.txt || \
	  { echo 'make lock: an address of a package index got into the lock' >&2; exit 1; }
	@! command -v npm >/dev/null || npm install --prefix $(CHECKERS) --package-lock-only --omit-lockfile-registry-resolved \
	  --ignore-scripts --no-audit --no-fund --loglevel error

.PHONY: clean
clean:  ## Remove everything that can be made again.
	@rm -rf .venv .services .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@rm -rf build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: servers
servers: $(STAMP)
	@$(BIN)/python -m services.install $(EXTRAS)

.PHONY: .venv
.venv: $(STAMP)

$(STAMP): | requirements-dev.txt pyproject.toml
	@tools/make-venv '$(PYTHON)' '$@'
