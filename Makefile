# Everything runs in .venv; nothing on the machine is touched.
PYTHON ?= python3
# Which torch to install first. The default is the version this project is tested with; on a
# machine with a GPU choose another build, e.g. `make setup TORCH=torch` or
# `make setup TORCH="torch --index-url <address of the build you want>"`.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-slow notebooks lint types format wheel clean

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv and install everything into it (a second call does nothing)

# torch goes first so that no other package picks its build.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

quickstart: setup ## Train a small ESC on the packaged photographs (about two minutes on 2 cores)
	$(BIN)/esc-sr train experiment=quickstart

test: setup ## Run the test suite
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: setup ## Run the long tests too (compiled kernels and training, two processes)
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not gpu'

notebooks: setup ## Execute the notebooks; ESC_SR_NOTEBOOK_SIZE=small for a quick look
	@mkdir -p runs/notebooks
	$(BIN)/jupyter-execute notebooks/*.ipynb --output="../runs/notebooks/{notebook_name}"

lint: setup ## Check style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: setup ## Check types
	$(BIN)/pyright

format: setup ## Format and mend what can be mended; notebooks follow their scripts
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/jupytext --quiet --update --to ipynb notebooks/*.py

wheel: setup ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## Remove the environment and what tools wrote
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis
