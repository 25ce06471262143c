# Every target works on a fresh checkout: it needs python3 (3.11 or newer) and make, and makes .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
KIND ?=
COMPOSE = cd docker && $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.DEFAULT_GOAL := help
.PHONY: help run test coverage lint fmt types bench bench-quick interop interop-quick spec-check soak stubs clean \
	cluster-up cluster-down cluster-test

help: ## Show these targets
	@echo "make run    starts a broker on 127.0.0.1:9092 (make run ARGS='--override num.partitions=3')"
	@echo "make test   runs the test suite"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

run: $(VENV)/.run ## Start a single-node broker; Ctrl-C stops it
	@exec $(BIN)/pybroker serve $(ARGS)

test: $(VENV)/.dev ## Run the test suite, then parts of it once more without Linux-only calls
	$(BIN)/pytest $(ARGS)
	PYBROKER_FORCE_FALLBACKS=1 $(BIN)/pytest -q -m fallbacks

coverage: $(VENV)/.dev ## Run the test suite and show which lines it leaves out
	$(BIN)/pytest -q --cov --cov-report=term $(ARGS)

lint: $(VENV)/.dev ## Check style, formatting and the rooms' dependencies
	$(BIN)/ruff check
	@! git grep -nE '^(<<<<<<<|>>>>>>>) ' || { echo "a conflict of a merge was left standing" >&2; exit 1; }
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

fmt: $(VENV)/.dev ## Format the code and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

types: $(VENV)/.dev ## Check types (mypy --strict)
	$(BIN)/mypy

bench: $(VENV)/.dev ## Measure: codecs, throughput, latency, start-up
	$(BIN)/python -m interop.benchmarks $(ARGS)

bench-quick: $(VENV)/.dev ## The same with fewer rounds
	$(BIN)/python -m interop.benchmarks --quick $(ARGS)

interop: $(VENV)/.dev ## Real clients and tools against a real broker
	$(BIN)/python -m interop $(ARGS)

interop-quick: $(VENV)/.dev ## The part of it that runs in CI
	$(BIN)/python -m interop --quick $(ARGS)

spec-check: $(VENV)/.dev ## Compare protocol_specs/ with the definitions in Kafka's jars
	$(BIN)/python -m interop.spec_check $(ARGS)

soak: $(VENV)/.dev ## Long runs: make soak KIND=mutated-frames ARGS='--frames 100000'
	$(BIN)/python -m interop.soak $(KIND) $(ARGS)

cluster-up: ## Start ZooKeeper and three brokers with docker compose (docker/README.md)
	$(COMPOSE) up -d --build
	@echo "brokers: localhost:19092,localhost:29092,localhost:39092"

cluster-down: ## Stop them; their data stays on its volumes
	$(COMPOSE) down

cluster-test: $(VENV)/.dev ## Build that cluster, kill and roll its brokers under load, check every record
	$(BIN)/python -m interop.containers.cluster_run $(ARGS)

stubs: $(VENV)/.dev ## Write pybroker/protocol/messages.pyi from the specs
	$(BIN)/python -m pybroker.protocol.stubs

clean: ## Remove what the targets made, the virtual environment included
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov \
		build dist interop/.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a repeated run quick: packages are installed again only when pyproject.toml has changed.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python's venv is needed (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml
	@echo "installing pybroker into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "installing pybroker and its development tools into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.run
