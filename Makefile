# Every target sets itself up: Python 3.11 or newer and make are all it takes, and Terraform or OpenTofu to plan.
SHELL := /bin/sh
.DEFAULT_GOAL := help

PYTHON ?= python3
TERRAFORM ?= $(shell command -v terraform || command -v tofu || echo terraform)
VENV := .venv
RUN := $(VENV)/bin
# Compiled Python is kept, outside the folders that are checked for changes.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
export PYTHONDONTWRITEBYTECODE :=

# Only the command line names another stack, never the environment.
ENV := staging
STACK = terraform/stacks/$(ENV)
ARGUMENTS = -var-file=../../../envs/$(ENV).tfvars $(if $(filter infra,$(ENV)),-var=enable_infra=true) $(ARGS)
# Who acts on the cluster: the stack's deployer; for infra you yourself as its administrator, or AS=deployer-infra.
AS :=
ACT = scripts/$(if $(filter infra,$(ENV)),$(if $(AS),as-deployer infra,as-administrator),as-deployer $(ENV))

# What a synthesis reads, and what it writes.
INPUTS := main.py cdktf.json versions.toml requirements.txt stacks constructs charts scripts envs
OUTPUTS := terraform/manifest.json terraform/stacks atlantis.yaml docs/reference/settings.md docs/architecture-light.svg docs/architecture-dark.svg
FINGERPRINT = find $(INPUTS) $(OUTPUTS) -type f ! -path '*/.terraform/*' ! -path '*/__pycache__/*' -print 2>/dev/null | LC_ALL=C sort | xargs cksum

# Renovate runs the commands that uv writes into the files' first lines: it knows these options, written so.
LOCK = $(RUN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version=3.11 --generate-hashes

.PHONY: help synth new-env test check lint types imports fresh sbom bench e2e rehearse doctor bootstrap secrets plan apply drift diff recover backup restore teardown budget graph dashboards posthog-images nodes state move-state init who lock clean

help: ## Print the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

synth: $(VENV)/synth ## Write terraform/, atlantis.yaml, and settings and picture of docs/ from envs/*.tfvars
	@if [ "$$($(FINGERPRINT))" != "$$(cat $(VENV)/synthesized 2>/dev/null)" ]; then \
	  rm -f $(VENV)/synthesized && $(RUN)/python main.py && $(FINGERPRINT) > $(VENV)/synthesized && echo "synthesized" >&2; \
	fi

test: $(VENV)/dev ## Run all tests; those that need a program or the charts say so where it is missing
	@$(RUN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

new-env: $(VENV)/synth ## Write envs/NAME.tfvars, as small as the smallest environment, synthesize, and say what to do next
	@$(RUN)/python -m stacks.new_environment "$(NAME)"

check: lint types imports test fresh ## Run everything that CI runs

lint: $(VENV)/dev ## Check style: ruff, shellcheck for every shell file, and what lints the files of CI
	@$(RUN)/ruff check . && $(RUN)/ruff format --check .
	@git grep --untracked -lzE '^#!.*[/ ](ba)?sh$$' -- ':!*.py' | xargs -0 $(RUN)/shellcheck
	@if command -v actionlint > /dev/null; then actionlint -shellcheck=$(RUN)/shellcheck -pyflakes=; \
	  else echo "actionlint is not on the PATH, and was left out: .ci/tools actionlint installs it" >&2; test "$$CI" != true; fi
	@$(RUN)/zizmor --offline --no-progress --quiet --persona=pedantic --strict-collection .github/workflows
	@$(RUN)/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	@$(RUN)/check-jsonschema --quiet --builtin-schema vendor.renovate .github/renovate.json

types: $(VENV)/dev ## Check types: mypy
	@$(RUN)/mypy

imports: $(VENV)/dev ## Check that imports go one way: import-linter
	@$(RUN)/python tests/imports.py

fresh: $(VENV)/synth ## Check that a synthesis changes nothing that is committed; the diff, if it does
	@rm -f $(VENV)/synthesized && $(RUN)/python main.py && .ci/fresh $(OUTPUTS)

sbom: $(VENV)/dev ## Write sbom.cdx.json: packages, charts, images, providers and programs, as CycloneDX
	@$(RUN)/python -m stacks.sbom

bench: $(VENV)/dev ## Time a synthesis beside its eager imports and an empty app
	@$(RUN)/python -m tests.bench

e2e: $(VENV)/dev ## Apply everything to the cluster of KUBECONFIG, and destroy what may be destroyed
	@$(RUN)/python -m pytest -m e2e -s tests/e2e

rehearse: ENV =
rehearse: export KEEP := $(KEEP)
rehearse: synth ## Apply all stacks, or infra and ENV, to a cluster of its own and throw it away; ON=k3d runs the pods, KEEP=1 keeps it
	@$(RUN)/python -m stacks.rehearsal "$(ON)" "$(ENV)" $(TERRAFORM)

doctor: $(VENV)/synth ## Look at all that a bootstrap needs, and say of each finding what to do
	@$(RUN)/python -m stacks.doctor $(TERRAFORM)

bootstrap: export STRATA_ARGS = $(ARGS)
bootstrap: $(VENV)/synth ## Go from nothing to the first pull request; asks before it makes anything
	@$(RUN)/python -m stacks.bootstrap "$(MAKE)"

secrets: ENV = infra
secrets: who ## Ask for the Secrets with credentials of others that the stack ENV (infra) lacks, and make them
	@$(ACT) $(RUN)/python -m stacks.supplied $(ENV)

plan: init ## Plan the stack ENV (staging) on the cluster of KUBECONFIG, as its deployer
	@$(ACT) $(RUN)/python -m stacks.terraform $(ENV) $(TERRAFORM) plan $(ARGUMENTS)

apply: init ## Apply the stack ENV (staging) to the cluster of KUBECONFIG, as its deployer, after a question
	@$(ACT) $(RUN)/python -m stacks.terraform $(ENV) $(TERRAFORM) apply $(ARGUMENTS)

drift: init ## Look for what of the stack ENV (staging) is no longer as it was applied, charts too; 2: there is some
	@$(ACT) $(RUN)/python -m stacks.drift $(ENV) $(TERRAFORM) $(ARGUMENTS)

diff: ENV =
diff: BASE = HEAD
diff: synth ## Print what changes from the git revision BASE (HEAD), without a cluster; ENV: one stack; ARGS=--markdown
	@$(RUN)/python -m stacks.diff $(TERRAFORM) --base=$(BASE) $(if $(ENV),--stack=$(ENV)) $(ARGS)

recover: init ## After an apply of the stack ENV was killed: take what it left into the state, and apply again
	@$(ACT) $(RUN)/python -m stacks.recover $(ENV) $(TERRAFORM) $(ARGUMENTS)

budget: ENV =
budget: $(VENV)/synth ## Print what every system asks for beside its quota, and a node for all; ENV: one stack; ARGS=--json
	@$(RUN)/python -m stacks.budget $(ENV) $(ARGS)

graph: synth ## Print what of the stack ENV (staging) is made before what, or within SYSTEM; ARGS=--dot for Graphviz
	@$(RUN)/python -m stacks.graph "$(ENV)" $(SYSTEM) $(ARGS)

backup: who ## Save all stores of the stack ENV (staging) now, or those of SYSTEM, and wait until they are saved
	@$(ACT) $(RUN)/python -m stacks.backup "$(ENV)" "$(SYSTEM)"

restore: export TO := $(TO)
restore: export DRY_RUN := $(DRY_RUN)
restore: who ## Bring SYSTEM of the environment ENV (staging) back to TO, its newest backup if not given; DRY_RUN=1 only says how
	@$(ACT) $(RUN)/python -m stacks.restore "$(ENV)" "$(SYSTEM)" $(TERRAFORM) $(ARGUMENTS)

teardown: export DRY_RUN := $(DRY_RUN)
teardown: export BACKUP := $(BACKUP)
teardown: export VOLUMES := $(VOLUMES)
teardown: who ## Take the environment ENV down, after a last backup; DRY_RUN=1 only says what, VOLUMES=delete deletes all data
	@test "$(origin ENV)" = "command line" || { echo "Give ENV=<environment>: it has no default here" >&2; exit 1; }
	@$(ACT) $(RUN)/python -m stacks.teardown $(ENV) $(TERRAFORM) $(ARGUMENTS)

dashboards: export DRY_RUN := $(DRY_RUN)
dashboards: who ## Put the dashboards and alerts of dashboards/ into the SigNoz of ENV (staging); DRY_RUN=1 only says which
	@$(ACT) $(RUN)/python -m stacks.dashboards $(ENV)

posthog-images: $(VENV)/synth ## Find the next set of PostHog's images, and write it to versions.toml; ARGS="--day=2026-07-01 --dry-run"
	@$(RUN)/python -m stacks.posthog_images $(ARGS)

nodes: ENV = infra
nodes: export KUBE_CONFIG_PATH = $(abspath $(KUBECONFIG))
nodes: synth ## Install or change the nodes of k3s_servers and k3s_agents over SSH, after a question; writes KUBECONFIG
	@test -n "$(KUBECONFIG)" || { echo "Give KUBECONFIG=<where the cluster's kubeconfig is to be>" >&2; exit 1; }
	$(TERRAFORM) -chdir=$(STACK) init -input=false
	$(TERRAFORM) -chdir=$(STACK) apply -target=terraform_data.k3s_nodes -var=kubeconfig=$(abspath $(KUBECONFIG)) $(ARGUMENTS)

state: synth ## Move the state of every stack to the backend of cdktf.json; nothing newer is overwritten
	@for stack in infra $(filter-out infra,$(notdir $(wildcard terraform/stacks/*))); do \
	  who=; [ "$$stack" != infra ] || who="$(AS)"; \
	  $(MAKE) --no-print-directory move-state ENV="$$stack" AS="$$who" || exit 1; \
	done

move-state: who
	@$(ACT) $(RUN)/python -m stacks.state $(ENV) $(TERRAFORM)

init: who
	$(ACT) $(TERRAFORM) -chdir=$(STACK) init -input=false $(if $(RECONFIGURE),-reconfigure)

who: synth
	@test -d $(STACK) || { echo "There is no stack $(ENV): give ENV one of: $(notdir $(wildcard terraform/stacks/*))" >&2; exit 1; }
	@case "$(AS)" in ""|deployer-$(ENV)) ;; *) \
	  echo "AS=$(AS): the stack $(ENV) is applied as deployer-$(ENV): give AS=deployer-$(ENV), or leave it out" >&2; exit 1;; esac

lock: $(VENV)/dev ## Lock the versions of the Python packages again
	$(LOCK) --output-file=requirements.txt
	$(LOCK) --output-file=requirements-dev.txt --group=dev --constraint=requirements.txt

clean: ## Remove what is derived and not committed
	@rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Strata needs Python 3.11 or newer, $$($(PYTHON) --version) was found: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv module is missing: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

$(VENV)/synth: requirements.txt | $(VENV)/bin/python
	@$(RUN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt && touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/synth
	@$(RUN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt && touch $@
