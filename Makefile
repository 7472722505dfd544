# `make help` lists what there is. VENV and PYTHON choose the environment: make test PYTHON=python3.13 VENV=.venv-3.13
VENV ?= .venv
PYTHON ?= python3
export VENV PYTHON
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Otherwise each pytest compiles all tests and plugins again, which takes ten seconds.
unexport PYTHONDONTWRITEBYTECODE

in_venv = PATH="$(abspath $(VENV))/bin:$$PATH"
play = $(in_venv) ansible-playbook
# Of the tests in turn a part with each commit, and all with JOURNEYS=--all.
turn = $(if $(filter --all,$(JOURNEYS)),,--turn=$(shell git rev-list --count HEAD 2>/dev/null || echo 0))

# Four, as the tests wait half of the time.
at_once = $(in_venv) pytest -n $${UNIT_WORKERS:-4} --dist loadfile --no-loadscope-reorder $(turn)

.DEFAULT_GOAL := help
.PHONY: help setup demo sandbox sandbox-down sandbox-purge test test-all lint unit playbooks hub bench sanity other-python journeys soak page gpu lock docs docsite importer build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## the virtual environment with everything in it
	@tools/setup.sh

demo: setup ## a simulated Spark, and the main job on it
	@$(play) -i localhost, molecule/default/create.yml
	@$(play) -i inventories/sandbox site.yml -l spark01
	@echo "Go on: . $(VENV)/bin/activate; ansible-playbook -i inventories/sandbox playbooks/health.yml; docs/guides/simulated-spark.md"

sandbox: setup ## start the simulated Sparks (or find them running)
	@$(play) -i localhost, molecule/default/create.yml

sandbox-down: setup ## stop them and keep the caches: the next start takes seconds
	@$(play) -i localhost, molecule/default/destroy.yml

sandbox-purge: setup ## remove all of the sandbox, caches and images too
	@$(play) -i localhost, molecule/default/destroy.yml -e sandbox_purge=true

test: ## lint, unit, playbooks, hub, sanity, and the journeys that go with every commit; CI runs the others too, a quarter with each commit
	@JOURNEYS=--core tools/stages.sh setup lint journeys+unit+playbooks+hub+sanity

test-all: ## the same with every case, and fifty deployments in a row
	@DEPLOYMENTS=50 KILLS=10 JOURNEYS=--all tools/stages.sh setup lint journeys+unit+playbooks+hub+sanity+other-python

lint: setup ## yamllint, ansible-lint, ruff, mypy, shellcheck, changelog, tables
	@$(in_venv) tools/lint.sh

unit: setup ## unit tests; of those that do one thing at many places a part with each commit, and all with JOURNEYS=--all
	@tools/promtool.sh
	@tools/unpack.sh haproxy
	@$(at_once) $(UNIT_ARGUMENTS) tests/unit

playbooks: setup ## whole playbooks, with stand-ins for what changes a host
	@$(at_once) $(UNIT_ARGUMENTS) tests/playbooks

hub: setup ## the model cache against real huggingface_hub of two generations (two minutes)
	@$(in_venv) pytest tests/hub

bench: setup ## speed of the cache modules and, if the sandbox is up, of the playbooks; BENCH_GIB=1 for a quick look
	@$(in_venv) python tests/bench/cache.py
	@$(in_venv) PYTHONPATH=tests python tests/bench/page.py
	@$(in_venv) PYTHONPATH=tests python tests/bench/playbooks.py

sanity: setup ## ansible-test sanity
	@tools/sanity.sh

other-python: setup ## unit, playbooks and sanity with the other ansible-core, if this machine has a Python for it
	@tools/other_python.sh

journeys: setup ## journeys on a new sandbox, which is removed at the end: this commit's, or JOURNEYS="secrets guide", or --all
	@$(in_venv) python tools/journeys.py $(JOURNEYS)

soak: setup ## fifty deployments in a row on the sandbox that is up, with a stand-in for the engine
	@DEPLOYMENTS=50 $(in_venv) pytest tests/journeys/interruptions -k in_a_row

page: setup ## the page of report.yml in headless Chromium: console, axe, screenshots; needs Chromium and npm
	@$(in_venv) tools/check_page.sh

gpu: ## the pieces for a GPU machine without internet, in .cache/gpu (four minutes, 3 GB; needs Python 3.12): tests/gpu/README.md
	@tests/gpu/build.sh .cache/gpu

lock: ## write requirements.lock, with the hashes that `make setup` checks, after a change of requirements*.txt
	@tools/lock.sh

docs: setup ## write what is generated: docs/models.md, the roles' variables, docs/troubleshooting.md, docs/reference/faults.md, dashboards
	@$(in_venv) python tools/models_table.py
	@$(in_venv) python tools/variables_table.py
	@$(in_venv) python tools/troubleshooting.py
	@$(in_venv) python tools/faults_table.py
	@$(in_venv) python tools/dashboards.py

docsite: setup ## the pages of ansible-doc, checked by antsibull-docs, as a web site in .cache/docsite; installs Sphinx there
	@tools/docsite.sh

importer: setup ## what Galaxy checks when the collection is uploaded; installs galaxy-importer in .cache/importer
	@tools/importer.sh

build: setup ## the collection as a file for `ansible-galaxy collection install`
	@$(in_venv) ansible-galaxy collection build --force
