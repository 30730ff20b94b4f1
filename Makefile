# holdfast. `make` alone lists the targets; each sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PROTOC := .cache/protoc
MKDOCS := .cache/mkdocs
PACKAGE := .cache/package
export PYTHONPATH := service$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-lowest hostile soak cluster cluster-up cluster-exec cluster-oldest cluster-v2 cluster-down churn lint format protos docs docs-version man dist deb release-dry-run recording picture chart bench explore fuzz peers lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## */  make \1|/' | column -t -s '|'

$(VENV)/.installed: requirements/dev.lock
	@[[ -n "$(PYTHON)" ]] || { echo 'holdfast: make: Python 3.11 or newer was not found; set PYTHON=' >&2; exit 1; }
	@echo 'holdfast: make: setting up $(VENV), once; a minute or two' >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(VENV)/.installed ## start the daemon (ARGS="-c FILE --root D …"); needs neither root nor Kubernetes
	@exec $(BIN)/python -m holdfast run --hints $(ARGS)

test: $(VENV)/.installed ## run the unit tests, in three minutes (T="tests/unit -k name")
	@$(BIN)/python -m pytest $(or $(T),tests/unit)

test-all: $(VENV)/.installed ## run all tests; tests that need root or a missing peer are skipped with a reason
	@$(BIN)/python -m pytest $(or $(T),tests)

# The modules that use a dependency, and a boot with real calls; the rest of the tests would find nothing more.
LOWEST := $(addprefix tests/unit/,cli config events plugin plugins pods rpc server test_distribution.py) \
	$(addprefix tests/integration/,test_events.py test_first_plugin.py test_loop.py)

test-lowest: .cache/lowest/.installed ## run a part of the tests with the oldest versions that pyproject.toml accepts
	@.cache/lowest/bin/python -m pytest -q -p no:cacheprovider $(LOWEST)

.cache/lowest/.installed: requirements/lowest.lock
	@[[ -n "$(PYTHON)" ]] || { echo 'holdfast: make: Python 3.11 or newer was not found; set PYTHON=' >&2; exit 1; }
	@rm -rf .cache/lowest
	@$(PYTHON) -m venv .cache/lowest
	@.cache/lowest/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lowest.lock
	@touch $@

# One line of figures an attack. Each has sockets, ports, groups and names of its own, so that several runs go on at a
# time: `make hostile SECONDS_EACH=600 T=tests/hostile/test_churn.py & make hostile SECONDS_EACH=600 T="tests/hostile -k tcp"`.
hostile: $(VENV)/.installed ## attack a daemon from every boundary of docs/threat-model.md, as root (SECONDS_EACH=60)
	@HOLDFAST_HOSTILE_SECONDS=$(or $(SECONDS_EACH),60) $(BIN)/python -m pytest -s $(or $(T),tests/hostile)

# The second runs where HOLDFAST_V2_HOST says.
soak: $(VENV)/.installed ## races and kill -9 over churning processes, as root (N=50: 300 rounds of it, 3,000 races)
	@HOLDFAST_SOAK=$(or $(N),50) $(BIN)/python -m pytest -s tests/integration/test_way_back.py tests/v2/test_way_back.py

cluster: cluster-up ## a Kubernetes node on this machine, as root, with the chart installed, and a shell in its network (NODES=3)
	@$(BIN)/python -m tests.cluster shell

cluster-up: $(VENV)/.installed
	@[[ -x tests/peers/bin/hyperkube ]] || tests/peers/build
	@$(BIN)/python -m tests.cluster up $(if $(NODES),--nodes $(NODES)) $(if $(BARE),--bare)

cluster-exec: $(VENV)/.installed
	@$(BIN)/python -m tests.cluster exec $(C)

cluster-oldest: $(VENV)/.installed ## tests/cluster with the oldest Kubernetes that builds, as root (HELM=helm3)
	@tests/peers/build hyperkube-oldest
	@HOLDFAST_REQUIRE_PEERS=1 KUBERNETES=hyperkube-oldest $(BIN)/python -m pytest $(or $(T),tests/cluster)

# In an emulated machine of two processors: a guest with 4 GiB of memory, and up to two hours.
cluster-v2: $(VENV)/.installed ## a node with cgroup v2 and all capabilities, where HOLDFAST_V2_HOST says: values below 0
	@[[ -x tests/peers/bin/hyperkube ]] || tests/peers/build
	@HOLDFAST_REQUIRE_PEERS=1 HOLDFAST_SLOW=$(or $(HOLDFAST_SLOW),12) $(BIN)/python -m pytest tests/cluster/scenario_v2.py

churn: $(VENV)/.installed ## a node with 110 pods that come and go, as root: a table, and the processes that the daemon missed (MINUTES=20)
	@$(BIN)/python -m tests.cluster.churn $(if $(MINUTES),--minutes $(MINUTES))

cluster-down: $(VENV)/.installed ## end the node of `make cluster`, also the rest of a killed run
	@$(BIN)/python -m tests.cluster down

peers: ## build and fetch the programs the tests talk to, once
	@tests/peers/build

lint: $(VENV)/.installed $(PROTOC)/.installed ## ruff, mypy --strict, import contracts, words, generated files fresh
	@$(BIN)/ruff check service tests bench docs protos helm
	@$(BIN)/ruff format --check --quiet service tests bench docs protos helm || { echo 'lint: run `make format`' >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python docs/words.py
	@$(PROTOC)/bin/python protos/generate.py --check
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python helm/generate.py --check

format: $(VENV)/.installed ## ruff's formatter and its safe fixes
	@$(BIN)/ruff check --fix --quiet service tests bench docs protos helm || true
	@$(BIN)/ruff format --quiet service tests bench docs protos helm

bench: $(VENV)/.installed ## every figure beside its peer (B="daemon rpc", QUICK=1), 40 minutes at most; needs the peers
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(B)

# A failure is printed with its steps: write a test of its own for it.
explore: $(VENV)/.installed ## try other examples in the hypothesis tests than the suite does, until one fails (MINUTES=10)
	@end=$$((SECONDS + 60 * $(or $(MINUTES),10))); while ((SECONDS < end)); do \
		HOLDFAST_EXPLORE=1 $(BIN)/python -m pytest -q -m hypothesis $(or $(T),tests/unit); done

fuzz: $(VENV)/.fuzz ## fuzz ttrpc's protocol core until something is found (FRAMES=10000000 to stop there)
	@$(BIN)/python tests/fuzz/ttrpc.py -artifact_prefix=.cache/fuzz/ .cache/fuzz

$(VENV)/.fuzz: $(VENV)/.installed requirements/fuzz.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.lock
	@mkdir -p .cache/fuzz
	@touch $@

protos: $(PROTOC)/.installed ## regenerate service/holdfast/api from protos/
	@$(PROTOC)/bin/python protos/generate.py

$(PROTOC)/.installed: requirements/protos.lock
	@[[ -n "$(PYTHON)" ]] || { echo 'holdfast: make: Python 3.11 or newer was not found; set PYTHON=' >&2; exit 1; }
	@rm -rf $(PROTOC)
	@$(PYTHON) -m venv $(PROTOC)
	@$(PROTOC)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/protos.lock
	@touch $@

docs: $(VENV)/.installed $(MKDOCS)/.installed ## regenerate the pages that come from the code, and build the site into .cache/site; a broken link fails
	@$(BIN)/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(MKDOCS)/bin/mkdocs build --strict

# A release 1.2.3 is the version 1.2 there, and `latest`, which the front page leads to. Nothing is pushed.
docs-version: docs ## commit the site to the branch gh-pages, beside the other versions (VERSION=1.2.3, or main)
	@[[ "$(VERSION)" =~ ^([0-9]+\.[0-9]+\.[0-9]+.*|main)$$ ]] || { echo 'holdfast: make: set VERSION=1.2.3, or main' >&2; exit 1; }
	@export PATH="$(CURDIR)/$(MKDOCS)/bin:$$PATH" NO_MKDOCS_2_WARNING=1 version=$(VERSION); \
		if [[ $$version = main ]]; then mike deploy main; else \
		mike deploy --update-aliases --title "$$version" "$$(cut -d. -f1,2 <<<"$$version")" latest && mike set-default latest; fi

$(MKDOCS)/.installed: requirements/docs.lock
	@[[ -n "$(PYTHON)" ]] || { echo 'holdfast: make: Python 3.11 or newer was not found; set PYTHON=' >&2; exit 1; }
	@rm -rf $(MKDOCS)
	@$(PYTHON) -m venv $(MKDOCS)
	@$(MKDOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.lock
	@touch $@

# In the virtual machine of HOLDFAST_V2_HOST, with Debian's prometheus and systemd.
recording: $(VENV)/.installed ## record the README's session again
	@$(BIN)/python docs/record.py

picture: $(VENV)/.installed ## draw docs/dashboard.svg again, as root with Debian's prometheus: five minutes
	@mkdir -p .cache && $(BIN)/python helm/scene.py >.cache/dashboard.svg && mv .cache/dashboard.svg docs/dashboard.svg

man: $(VENV)/.installed ## write the manual pages, from the help of the commands, into DIR (.cache/man)
	@$(BIN)/python docs/man.py $(or $(DIR),.cache/man)

# hatchling leaves out the files that .gitignore names.
dist: $(PACKAGE)/.installed ## build wheel and source distribution into dist/, and check what PyPI would refuse
	@rm -rf dist
	@$(PACKAGE)/bin/python -m hatchling build --directory dist
	@$(PACKAGE)/bin/twine check --strict dist/*

deb: dist ## build the Debian package of dist/, for the distribution and processor of this machine (NFPM=nfpm)
	@[[ -n "$(NFPM)" || -x tests/peers/bin/nfpm ]] || tests/peers/build nfpm
	@PIP=$(PACKAGE)/bin/pip NFPM=$(or $(NFPM),tests/peers/bin/nfpm) deploy/deb/build dist/*.whl

release-dry-run: deb docs ## everything of a release that needs no credentials, into dist/ (VERSION=1.2.3 HELM=helm)
	@[[ -n "$(HELM)" || -x tests/peers/bin/helm4 ]] || tests/peers/build helm4
	@HELM=$(or $(HELM),tests/peers/bin/helm4) deploy/release "$(VERSION)"

$(PACKAGE)/.installed: requirements/package.lock
	@[[ -n "$(PYTHON)" ]] || { echo 'holdfast: make: Python 3.11 or newer was not found; set PYTHON=' >&2; exit 1; }
	@rm -rf $(PACKAGE)
	@$(PYTHON) -m venv $(PACKAGE)
	@$(PACKAGE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/package.lock
	@touch $@

chart: $(VENV)/.installed ## regenerate the chart's values.schema.json, README.md and dashboard
	@$(BIN)/python helm/generate.py

lock: ## resolve requirements/*.lock from pyproject.toml
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' --extra dev -o requirements/dev.lock pyproject.toml
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' --extra otlp -o requirements/run.lock pyproject.toml
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' --resolution lowest-direct --extra dev -o requirements/lowest.lock pyproject.toml
	@echo 'atheris~=3.0.0' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' -o requirements/fuzz.lock -
	@for name in build chart docs package protos; do uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' -o requirements/$$name.lock requirements/$$name.in; done

clean: ## remove the files that the targets above made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
