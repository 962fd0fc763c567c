# Thin: every target is one or two commands that can be read and typed.
SHELL := /bin/sh
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup inventory demo demo-down try try-down test test-ci test-all lint unit bench lock

help: ## Show the targets
	@sed -n 's/^\([a-z%-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Install what a control node needs (.venv)
	@scripts/setup.sh deploy
	@echo "Ansible, uv and the command pergola are in .venv."
	@echo "Next:  . .venv/bin/activate && make inventory DIR=../our-servers   (or fill in inventory/prod of this clone)"

inventory: ## Make one outside this clone: make inventory DIR=../our-servers
	@scripts/setup.sh deploy
	@python control inventory "$(DIR)"

demo: ## Build a whole server on this machine and open it
	@scripts/setup.sh demo
	@scripts/demo.sh up

demo-down: ## Remove it
	@scripts/demo.sh down

try: ## An application of yours on such a server: make try APP=../my-app
	@scripts/setup.sh demo
	@scripts/try.sh up "$(APP)" "$(SETTINGS)"

try-down: ## Remove it
	@scripts/try.sh down

test: ## What most changes need: a server from nothing, unit tests, lint
	@scripts/setup.sh test
	@scripts/test.sh $(TEST_STEPS)

test-ci: ## What CI runs: deploys, backups, monitoring and more, on two systems
	@$(MAKE) --no-print-directory test TEST_STEPS=ci

test-all: ## The same, and what is slow: upgrades, and servers that other things run on
	@$(MAKE) --no-print-directory test TEST_STEPS=all

lint: ## ansible-lint (production), ruff, mypy (strict), yamllint
	@scripts/setup.sh test
	@scripts/test.sh lint

unit: ## Tests that need no server
	@scripts/setup.sh test
	@scripts/test.sh unit sample-app

test-%: ## One Molecule scenario: make test-default
	@scripts/setup.sh test
	@scripts/test.sh $*

bench: ## Measure against floors of the same run
	@scripts/setup.sh test
	benchmarks/provision
	benchmarks/deploy
	benchmarks/serving
	benchmarks/postgresql

lock: ## Update the pinned Python tools, with hashes
	for file in requirements requirements-dev molecule/backup/s3/requirements host/pergola/release/uvicorn \
	  host/pergola/release/node22 host/pergola/release/node24 \
	  control/pergola_control/source/tools/poetry control/pergola_control/source/tools/pdm \
	  control/pergola_control/source/tools/pipenv tests/rendered/drivers/requirements; do \
	  uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate $$file.in --output-file $$file.txt; done
