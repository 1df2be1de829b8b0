# Every target sets up what it needs, from nothing but Python 3.11 and make.

PYTHON ?= python3.11
HOST ?= 127.0.0.1
PORT ?= 3000
WORKERS ?=
KIND ?= image_classifier
ARGS ?=

SERVICE := .venv/bin
DEV := .venv-dev/bin
INSTALL := install --quiet --disable-pip-version-check --constraint constraints.txt
LOCK := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header

# BentoML reports each start to its makers unless it is told not to.
export BENTOML_DO_NOT_TRACK ?= True

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve train test check format benchmark reliability image lock

help: ## List what there is to do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: .venv/complete ## Serve models/ at http://HOST:PORT (127.0.0.1:3000) with WORKERS (1) processes
	@exec $(if $(WORKERS),env MODELYARD_WORKERS=$(WORKERS)) $(SERVICE)/bentoml serve service.app:ModelService --host $(HOST) --port $(PORT)

train: .venv-dev/complete ## Train KIND (image_classifier) with the options in ARGS
	@exec $(DEV)/python -m training $(KIND) $(ARGS)

test: .venv-dev/complete ## Run the tests, two files at a time; ARGS goes to pytest
	@exec $(DEV)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: .venv-dev/complete ## Check style, format and types
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy

format: .venv-dev/complete ## Format the code and sort its imports
	$(DEV)/ruff check --fix
	$(DEV)/ruff format

benchmark: .venv-dev/complete ## Measure the service beside its peers and the floor; ARGS goes to benchmarks.serving
	@exec $(DEV)/python -m benchmarks.serving $(ARGS)

reliability: .venv-dev/complete ## Prove in half an hour what the service withstands; ARGS goes to benchmarks.reliability
	@exec $(DEV)/python -m benchmarks.reliability $(ARGS)

image: ## Build the CPU container image and check that it answers
	@exec scripts/check-image $(ARGS)

lock: .venv-lock/bin/uv ## Pin every dependency: constraints.txt, and of these what its images hold: requirements.txt
	$(LOCK) --all-extras pyproject.toml -o constraints.txt $(ARGS)
	$(LOCK) --no-annotate --extra traces --extra grpc --constraints constraints.txt pyproject.toml -o requirements.txt

# The files `complete` are written last: a set-up that failed is taken up again by the next run.
.venv/complete: pyproject.toml constraints.txt
	@echo "Setting up .venv for the service: about a minute, once"
	@$(PYTHON) -m venv .venv && $(SERVICE)/pip $(INSTALL) --editable .
	@touch $@

.venv-dev/complete: pyproject.toml constraints.txt
	@echo "Setting up .venv-dev for training and tests: several minutes, once"
	@$(PYTHON) -m venv .venv-dev && $(DEV)/pip $(INSTALL) --editable '.[train,dev,traces,grpc]'
	@touch $@

# Apart from .venv-dev, which cannot be made while pyproject.toml and constraints.txt disagree.
.venv-lock/bin/uv:
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip $(INSTALL) uv
