SHELL := /bin/bash
PYTHON ?= python3
IN_ENVIRONMENT := source environment.sh &&
PACKAGES := $(filter-out src/mtopt_msgs/mtopt_msgs,$(foreach package,$(wildcard src/*),$(package)/$(notdir $(package))))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## Make .venv and build all packages; every other target does this first
	@$(PYTHON) tools/bootstrap.py

demo: setup ## Collect, learn and evaluate in the simulated cell; writes out/demo/report.html
	@$(IN_ENVIRONMENT) mtopt demo

test: setup ## Run all tests
	@$(IN_ENVIRONMENT) python -m pytest --disable-plugin-autoload -p pytest_timeout

lint: setup ## Check format, style and types
	@$(IN_ENVIRONMENT) ruff format --check . && ruff check . && mypy $(PACKAGES) tools bench

clean: ## Remove what was installed and built; data and reports stay
	rm -rf .venv build install log .mypy_cache .pytest_cache .ruff_cache
