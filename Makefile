# Two commands are all that a new user needs: `make demo` and `make test`. Both set up what they need, once.
.DEFAULT_GOAL := help
.PHONY: help setup check test simulate bench soak demo format lock clean node browser shots pgbouncer
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN  := $(VENV)/bin
NODE := examples/typescript
SDKS := tests/conformance/sdks/npm
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help:
	@echo 'make demo    install, run the examples on a local platform, show what happens (KEEP=1 stays up)'
	@echo 'make test    all checks and all tests'
	@echo 'make check   the static gates alone: ruff, basedpyright, import-linter, size budgets'
	@echo 'make simulate SEEDS=10000   whole platforms under faults, one for each seed'
	@echo 'make bench   the benchmark table; STORE=postgresql: that of PostgreSQL'
	@echo 'make soak EVENTS=1000000 WAITING=1000000 SERVERS=3   events through servers on one PostgreSQL that is full of waiting runs'
	@echo 'make setup   only the installation, into .venv;  make format: ruff, with fixes;  make lock: new lock files'
	@echo 'make shots   the pictures of the dashboard, taken anew'

# ---- installation: a stamp for each, so that the second time costs nothing ------------------------------------------

$(BIN)/python:
	@python=$$(sh scripts/find_python.sh) && echo "making .venv with $$python" && "$$python" -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing stepwell and what its examples need'
	@$(PIP) -e '.[examples]' && touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing stepwell and its development tools'
	@$(PIP) -e '.[dev]' && touch $@ $(VENV)/.demo

$(NODE)/node_modules/.stamp: $(NODE)/package.json $(NODE)/package-lock.json
	@echo 'installing the npm packages of the TypeScript examples'
	@cd $(NODE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.stamp

$(SDKS)/node_modules/.stamp: $(SDKS)/package.json $(SDKS)/package-lock.json
	@echo 'installing the official npm SDKs for the conformance tests'
	@cd $(SDKS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.stamp

setup: $(VENV)/.dev

# Without Node 20 the TypeScript parts are left out, with a line that says so; on CI that is a failure.
node:
	@if sh scripts/has_node.sh; then $(MAKE) -s $(NODE)/node_modules/.stamp $(SDKS)/node_modules/.stamp; \
	elif [ "$$CI" = true ]; then echo 'Node 20 or newer is needed where CI=true: install it' >&2; exit 1; \
	else echo 'no Node 20 or newer found: the TypeScript examples and their tests are skipped'; fi

# Without Chromium the tests of the dashboard in a browser are left out; on CI that is a failure.
browser:
	@if sh scripts/chromium.sh >/dev/null; then :; elif sh scripts/chromium.sh --install >.chromium.log 2>&1; then rm -f .chromium.log; \
	elif [ "$$CI" = true ]; then cat .chromium.log >&2; echo 'Chromium is needed where CI=true: install it' >&2; exit 1; \
	else rm -f .chromium.log; echo 'no Chromium found: the tests of the dashboard in a browser are skipped'; fi

# Without PgBouncer the tests of a database behind it are left out; on CI that is a failure.
pgbouncer:
	@if sh scripts/pgbouncer.sh >/dev/null; then :; elif sh scripts/pgbouncer.sh --install >.pgbouncer.log 2>&1; then rm -f .pgbouncer.log; \
	elif [ "$$CI" = true ]; then cat .pgbouncer.log >&2; echo 'PgBouncer is needed where CI=true: install it' >&2; exit 1; \
	else rm -f .pgbouncer.log; echo 'no PgBouncer found: the tests of a database behind it are skipped'; fi

# ---- gates -----------------------------------------------------------------------------------------------------------

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports | tail -n 12
	@$(BIN)/python -m pytest -q tests/test_budgets.py

# Four at a time on two cores: most of the suite waits for processes that are started, killed and started again.
test: check node browser pgbouncer
	@if sh scripts/has_node.sh; then cd $(NODE) && npm run --silent typecheck; fi
	@$(BIN)/python -m pytest -n 4 --dist worksteal

simulate: setup
	@$(BIN)/python -m stepwell.testing.platform.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

soak: setup
	@$(BIN)/python -m benchmarks.soak --events $(or $(EVENTS),1000000) --waiting $(or $(WAITING),1000000) --servers $(or $(SERVERS),3)

bench: setup
	@$(BIN)/python -m benchmarks --store $(or $(STORE),sqlite)

demo: $(VENV)/.demo
	@$(BIN)/python scripts/demo.py $(if $(filter 1,$(KEEP)),--keep)

shots: setup
	@$(BIN)/python scripts/shots.py

format: setup
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock: setup
	@$(BIN)/python scripts/lock.py

clean:
	rm -rf $(VENV) $(NODE)/node_modules $(SDKS)/node_modules .pytest_cache .ruff_cache .hypothesis .import_linter_cache .stepwell
