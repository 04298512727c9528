# Nurture: everything a person types. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
BIN := .venv/bin
# Python keeps what it has compiled, also where the shell says otherwise: else each start of each process compiles every
# library again and takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
# Tests and benches never see a provider's key, whatever the shell holds.
CLEAN := env -u RESEND_API_KEY -u RESEND_API_KEY_FILE -u RESEND_API_URL -u RESEND_WEBHOOK_SECRET -u TELEGRAM_BOT_TOKEN \
	-u EMAIL_PROVIDER -u SMTP_HOST -u SMTP_PORT -u SMTP_TLS -u SMTP_CA_FILE -u SMTP_USERNAME -u SMTP_PASSWORD -u SMTP_PASSWORD_FILE \
	-u TELEGRAM_API_URL -u DATABASE_URL -u NATS_URL -u ADMIN_API_KEY -u NURTURE_URL -u NURTURE_API_KEY -u PORT
# Two for each core: with more, what each imports and collects costs more than it saves in waiting.
WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores > 8 ? 16 : 2 * cores)))
# What has a target of its own.
ORDINARY := "not faults and not containers and not long and not scaling"
# Where long tests live (a house test looks): to collect all folders in each worker takes longer than a test.
LONG := tests/bench tests/journeys tests/kubernetes tests/observability
SEEDS ?= 2000

.DEFAULT_GOAL := help
.PHONY: help setup up down status test test-categories test-performance test-report test-long scaling walk-seed faults containers simulate check bench docs fmt

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 26

.tools/bin/uv:
	@echo "bringing uv into .tools"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv

.venv/.synced: pyproject.toml uv.lock $(wildcard */pyproject.toml contracts/client/pyproject.toml services/*/pyproject.toml deploy/local/pyproject.toml) | $(filter .tools/%,$(UV))
	@$(UV) sync --quiet --frozen --python $(PYTHON)
	@touch $@

setup: .venv/.synced ## install everything into .venv

up: setup ## start the whole system, print where it is
	@$(BIN)/nurture up --detach

down: setup ## stop it
	@$(BIN)/nurture down

status: setup ## what runs, where, with which key
	@$(BIN)/nurture status

test: setup ## the tests; test-long, faults, containers and scaling are apart; ARGS="-m email_delivery" or ARGS=tests/email: some of them
	@$(CLEAN) $(BIN)/pytest -q -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -m $(ORDINARY) $(ARGS)

test-categories: setup ## the groups of tests that `make test ARGS="-m GROUP"` knows, with counts
	@$(CLEAN) $(BIN)/pytest -qqq --collect-only --categories

test-performance: setup ## rates, budgets and load alone, one after another
	@$(CLEAN) $(BIN)/pytest -q -m performance_load --durations=0 $(ARGS)

test-report: setup ## the same as test, and a page by category: .report/index.html, .report/junit.xml
	@$(CLEAN) $(BIN)/pytest -q -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -m $(ORDINARY) --junit-xml .report/junit.xml $(ARGS); \
	 ended=$$?; $(BIN)/python -m tests.report .report && exit $$ended

test-long: setup ## runs of a thousand people, and of instances of their own: a day a minute, deaths of services, restores
	@$(CLEAN) $(BIN)/pytest -q -n 4 --dist loadgroup --no-loadscope-reorder -m "long" $(or $(ARGS),$(LONG))

scaling: setup ## replicas of a channel add up, and a limit in reach is the rate of any number: alone, five minutes
	@$(CLEAN) $(BIN)/pytest -q -n 0 -m scaling tests/bench $(ARGS)

walk-seed: setup ## run each line of docs/seed.md against the instance that `make up` started
	@$(BIN)/python -m tests.journeys.seed_walk

faults: setup ## break everything, one thing after another, and count what was lost or sent twice
	@$(CLEAN) $(BIN)/pytest -q -n 2 --dist loadgroup -m faults tests/faults

simulate: setup ## the same in virtual time: SEEDS=2000 runs, each of which its seed repeats, and every planted bug found
	@$(CLEAN) $(BIN)/python -m tests.simulation --seeds $(SEEDS)

containers: setup ## build the images and test them as containers; BASES=--from-debian makes the bases too
	@deploy/images.sh $(BASES)
	@$(CLEAN) $(if $(BASES),POSTGRES_IMAGE=nurture-postgres:debian NATS_IMAGE=nurture-nats:debian) \
	 $(BIN)/pytest -q -n 0 -m "containers and not long" --backend containers --durations=5 tests/containers tests/journeys $(ARGS)

check: setup ## lint, format, types, import rules, lock file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports
	@$(UV) lock --check --quiet

bench: setup ## measure against a bare pipeline on the same machine
	@$(CLEAN) $(BIN)/python -m bench

docs: setup ## write the reference pages and the bus users anew
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -m nurture_local.bus_users deploy/nats/users.conf
	@$(BIN)/python -m tests.kubernetes.test_alert_rules

fmt: setup ## format the code
	@$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format -q .
