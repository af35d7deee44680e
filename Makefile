# The few verbs people type; CI calls the same ones. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLUSTER ?= kind
export CLUSTER

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults test-hostile test-sequences test-unit test-apiserver test-dapr test-cluster test-lifecycle test-kills cluster holdfast cluster-down format lint types generate lock histories soak bench bench-agent clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / {split($$1, name, " "); printf "  make %-15s %s\n", name[1], $$2}' $(MAKEFILE_LIST)

demo: setup ## from nothing to the proof: an agent answers although its pod was deleted in the middle
	@$(BIN)/python -m e2e.demo

test: setup ## every test: checks, unit, API server, Dapr, cluster; one summary
	@$(BIN)/python -m e2e.suite

test-faults: setup ## the operator under every fault (an hour): MINUTES=60 SEED=1, ONLY=kill-, PLAN='kill-during PATCH services/a 1', BUGS=1 or BUGS='a swallowed 409'
	@$(PYTHON) -m e2e.cluster tools kubernetes
	@$(PYTHON) -m e2e.cluster tools dapr
	@$(BIN)/python -m tests.operator.faults $(if $(ONLY),--only '$(ONLY)') $(if $(PLAN),--plan '$(PLAN)') $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(BUGS),--bugs $(if $(filter-out 1,$(BUGS)),'$(BUGS)'))

test-sequences: setup ## random walks of an Agent's spec through every field of the schema (a quarter of an hour): TRANSITIONS=2200 SEED=1
	@$(PYTHON) -m e2e.cluster tools kubernetes
	@$(PYTHON) -m e2e.cluster tools dapr
	@$(BIN)/python -m tests.operator.sequences $(if $(TRANSITIONS),--transitions $(TRANSITIONS)) $(if $(SEED),--seed $(SEED))

test-hostile: setup ## hostile Agents against API server, operator and policy (minutes): DRAWN=1200 SEED=7
	@$(PYTHON) -m e2e.cluster tools kubernetes
	@$(PYTHON) -m e2e.cluster tools dapr
	@HOSTILE_DRAWN=$(or $(DRAWN),1200) HOSTILE_SEED=$(or $(SEED),1) $(BIN)/pytest -q -rP tests/operator/hostile tests/chart/test_policy.py

test-kills: setup ## everything in a cluster killed at random under runs that never pause (minutes): KILLS=24 SEED=1
	@$(BIN)/python -m e2e.suite kills

test-unit test-apiserver test-dapr test-cluster test-lifecycle: test-%: setup ## test-STAGE: one stage of the tests
	@$(BIN)/python -m e2e.suite $*

cluster: ## a kind cluster with Dapr, also where no image registry can be reached
	@$(PYTHON) -m e2e.cluster up

holdfast: ## Holdfast from these sources, in that cluster
	@$(PYTHON) -m e2e.holdfast

cluster-down: ## end the cluster and everything that was started for it
	@$(PYTHON) -m e2e.cluster down

setup: $(VENV)/ready ## the Python environment in .venv, from versions with hashes

$(VENV)/ready: pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Holdfast needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv. Then run the same command again."; exit 1; }
	@echo "setting up .venv (about a minute the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

format: setup ## write the code as the formatter wants it
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup ## ruff, import-linter, generated files
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports && $(BIN)/python crds/generate.py --check

types: setup ## mypy, strict
	@$(BIN)/mypy

generate: setup ## CRD, its copy in the chart, the editors' schema
	@$(BIN)/python crds/generate.py

lock: setup ## requirements/*.txt anew from pyproject.toml
	@PYTHON=$(BIN)/python requirements/lock.sh

histories: setup ## SHAPE=v3: record how runs look today, for every later version to carry on
	@test -n "$(SHAPE)" || { echo "give the new shape a name: make histories SHAPE=v3; there are: $$(ls tests/data/histories | xargs)"; exit 1; }
	@RECORD_SHAPE=$(SHAPE) $(BIN)/pytest -q -m dapr tests/agent/test_histories.py

soak: setup ## the agent under random kills, for long: make soak TURNS=5000 MINUTES=120 SEED=1
	@$(PYTHON) -m e2e.cluster tools dapr
	@$(BIN)/python -m tests.agent.faults $(if $(TURNS),--turns $(TURNS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

bench: setup ## how fast, cheap and quiet the operator is, on an API server of its own (docs/benchmarks.md)
	@$(PYTHON) -m e2e.cluster tools kubernetes
	@$(BIN)/python -m bench.operator_rate

bench-agent: setup ## the agent beside dapr-agents and the smallest possible worker: make bench-agent PROFILE=quick (minutes) or full
	@$(PYTHON) -m e2e.cluster tools dapr
	@$(BIN)/python -m bench.agent --profile $(or $(PROFILE),quick)

clean: ## remove .venv and what tools left behind (not the cluster, not the cache)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
