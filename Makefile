# Everything here makes the environment it needs by itself; no virtual environment has to be active.
#   PYTHON=python3.12   another interpreter (3.11 to 3.14)
#   OFFLINE=1           packages from the local caches only
#   ARGS='-k loops'     more arguments for the command underneath

PYTHON ?= python3
VENV ?= .venv
DEMO ?= .cache/demo
OFFLINE ?=
ARGS ?=

export OFFLINE
# The engine's own word for it, for the packages of components.
export MLPLATFORM_OFFLINE = $(OFFLINE)
bin := $(VENV)/bin
ready := $(PYTHON) -I .ci/environment.py

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench cluster-up cluster-down build docs lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo:  ## train models on real data in a pipeline, tracked in MLflow
	@$(ready) demo --into $(DEMO)
	@$(DEMO)/bin/mlplatform demo $(if $(filter-out 0,$(OFFLINE)),--offline) $(ARGS)

test:  ## the whole test suite, in two halves side by side
	@$(ready) dev --into $(VENV)
	@$(bin)/python -m compileall -q mlplatform  # thousands of processes are started; none should compile it again
	@eval "$$(.ci/podman 2>/dev/null)"; PATH="$(abspath $(bin)):$$PATH" $(bin)/python -m tests $(ARGS)

check:  ## style, types, import contracts, generated documents; under a minute
	@$(ready) dev --into $(VENV)
	@status=0; for tool in "ruff check --quiet ." "ruff format --check --quiet ." "lint-imports --no-logo" \
	  "pyright --pythonpath $(bin)/python" "python .ci/drift.py"; do \
	  echo "== $$tool"; $(bin)/$$tool || status=1; done; exit $$status

format:  ## let ruff mend style and layout
	@$(ready) dev --into $(VENV)
	$(bin)/ruff check --fix --quiet . || true
	$(bin)/ruff format .

bench:  ## measure, print medians and ratios (docs/benchmarks.md)
	@$(ready) dev --into $(VENV)
	@for file in tests/bench/bench_*.py; do \
	  echo "== $$file"; PATH="$(abspath $(bin)):$$PATH" $(bin)/python -m tests.bench.$$(basename $$file .py) $(ARGS) || exit 1; done

cluster-up:  ## start a Kubernetes on this machine (Linux, root): ARGS='--nodes 10 --gpus 8', '--no-node'
	@$(ready) dev --into $(VENV) >&2
	@$(bin)/python -m tests.cluster.up up $(ARGS)

cluster-down:  ## stop it again
	@$(ready) dev --into $(VENV) >&2
	@$(bin)/python -m tests.cluster.up down $(ARGS)

build:  ## the web pages, into mlplatform/ui/static (installing does it too)
	@$(PYTHON) -I mlplatform/ui/build.py

docs:  ## build the pages into site/
	@$(ready) dev --into $(VENV)
	$(bin)/mkdocs build --strict --quiet $(ARGS)

lock:  ## write .ci/lock.txt anew from pyproject.toml (ARGS=--upgrade takes newer versions)
	@UV="$$($(ready) uv)" .ci/lock $(ARGS)

clean:  ## remove what make made here (caches in your home folder stay)
	rm -rf .venv .cache site dist build mlplatform/ui/static mlplatform/ui/node_modules .pytest_cache .ruff_cache .hypothesis .import_linter_cache
