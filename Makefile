# From a fresh clone with Python 3.10+, git and make: `make lab`. Everything else: `make help`.
VENV ?= .venv
export VENV
BIN = $(VENV)/bin

# Jupyter asks for this when it is root, as it is in a container.
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)
LAB_ARGS ?=
TEST_ARGS ?=
# Tests wait more than they compute. The tests of one file stay together: they share their servers.
# In the order of their folders: quick ones come last, so that no worker is left with a long file.
WORKERS ?= 3
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: lab demo test test-slow soak test-remote check generate bench bench-bulk bench-engine vendor setup-lab setup-dev clean help

lab: setup-lab ## open the quick start in JupyterLab; sets everything up the first time
	$(BIN)/jupyter lab $(AS_ROOT) $(LAB_ARGS) notebooks/01_quickstart.ipynb

demo: setup-lab ## run the quick start here in the terminal, without a browser
	@$(BIN)/python scripts/demo.py notebooks/01_quickstart.ipynb

test: setup-dev vendor ## run all tests, the notebooks and a real browser included
	$(PYTEST) --nbval --nbval-sanitize-with notebooks/sanitize.cfg -m "not slow" --ignore tests/browser tests notebooks $(TEST_ARGS) </dev/null
	$(BIN)/python -m pytest tests/browser $(TEST_ARGS) </dev/null

SPECS ?= $(wildcard ../shared/wire/specs)

test-slow: setup-dev vendor ## run the suites that take minutes: made-up requests, faults, hostile sandboxes
	SPECS=$(abspath $(SPECS)) $(BIN)/python -m pytest -m slow tests $(TEST_ARGS) </dev/null

soak: setup-dev ## 10,000 commands, 1,000 sandboxes, 200 streams at once: nothing may be left of them
	SOAK=1 $(BIN)/python -m pytest -s -m slow tests/server/test_server_soak.py $(TEST_ARGS) </dev/null

test-remote: setup-dev ## every step of a person on the server that OPEN_SANDBOX_DOMAIN names
	@cd tests && for colour in async blocking; do \
		$(abspath $(BIN))/python -m scenarios opensandbox_jupyter $$colour $(STEPS) || exit; done

check: setup-dev ## lint, formatting, types, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/make_sync.py --check

generate: setup-dev ## write the blocking SDK anew from the async one
	$(BIN)/python scripts/make_sync.py

bench: setup-dev vendor ## measure against the vendor's SDK and the machine's own limits
	$(BIN)/python benchmarks/run.py

bench-bulk: setup-dev vendor ## the same with a million events and with 1 GiB (takes minutes)
	$(BIN)/python benchmarks/bulk.py

bench-engine: setup-dev ## measure the embedded server: creates, commands, transfers, memory
	$(BIN)/python benchmarks/engine.py

vendor: ## set up the vendor's SDK in an environment of its own
	@scripts/setup vendor

setup-lab setup-dev: setup-%:
	@scripts/setup $*

clean: ## remove environments, caches and builds
	rm -rf .venv .venvs build dist screenshots .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
