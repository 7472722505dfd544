# `make help` lists what there is. VENV and PYTHON choose the environment: make test PYTHON=python3.13 VENV=.venv-3.13
VENV ?= .venv
PYTHON ?= python3
export VENV PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## the virtual environment with everything in it
	@tools/setup.sh
