# make corpus N=1000, make test: a machine with Python 3.11 and make needs nothing else.

PYTHON  ?= python3
VENV    ?= .venv
N       ?= 1000
CATALOG ?= sandbox
OUT     ?= corpora/$(basename $(notdir $(patsubst %/,%,$(CATALOG))))-$(N)
RECIPE  ?=
WORKERS ?= 1
ARGS    ?=
SUITE   ?= reader loader

BIN     := $(VENV)/bin
READY   := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup corpus check format test test-all test-online torture picture bench wheel clean

help: ## say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment with pinned versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "s1s2 needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learn,sandbox,dev]'
	@touch $@

corpus: $(READY) ## build a corpus: make corpus N=1000 [CATALOG=planetary-computer OUT= RECIPE= WORKERS= ARGS=]
	@$(BIN)/s1s2 build $(RECIPE) -n $(N) --catalog $(CATALOG) -o $(OUT) --workers $(WORKERS) $(ARGS)

check: $(READY) ## format, lint, types, rings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(READY) ## every test but the slow ones; needs no network
	$(BIN)/pytest -m "not slow and not online"

test-all: $(READY) ## the slow ones too
	$(BIN)/pytest -m "not online"

test-online: $(READY) ## ask the real catalogs
	$(BIN)/pytest -m online

torture: $(READY) ## kill it, starve it, flip its bits: make torture [ARGS="--quick --kills 100"]
	PYTHONPATH=tests $(BIN)/python -m torture $(ARGS)

picture: $(READY) ## draw the README's picture from a sandbox corpus; needs Chromium
	$(BIN)/s1s2 build -n 1000 --catalog sandbox -o corpora/picture
	$(BIN)/python docs/picture.py corpora/picture docs/report.png

bench: $(READY) ## measure: make bench [SUITE=reader, loader, remote or scale]; peers: pip install -e '.[bench]'
	@for suite in $(SUITE); do $(BIN)/python tests/benchmarks/$$suite.py || exit 1; done

wheel: $(READY) ## build the package
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

clean: ## remove everything that was made, except corpora
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
