# Needs python3 (3.11 or newer) with its venv module; everything else is installed into $(VENV).
# Debian's own interpreter first: it is built with profile-guided optimisation, which is worth 20 % of the CPU.
PYTHON ?= $(or $(shell for each in /usr/bin/python3 python3; do \
	$$each -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done),python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
MEGABYTES ?= 100

.DEFAULT_GOAL := help
.PHONY: help venv demo serve test fuzz lint format types bench real-engine docs clean

help:
	@echo "make demo         start the gateway with two mock engines, stream a chat through each, leave it running"
	@echo "                  (ARGS=--exit ends it)"
	@echo "make test         lint, types, tests"
	@echo "make fuzz         100 megabytes of broken input for each decoder (MEGABYTES=..., ARGS=\"NAME --seed 1\")"
	@echo "make serve        start the gateway (ARGS=\"--backend vllm=http://127.0.0.1:9001 --port 8000\")"
	@echo "make bench        compare with nginx (ARGS=\"...\", see bench compare --help)"
	@echo "make real-engine  build llama.cpp's server once (10 to 15 minutes) and run the tests against it"
	@echo "make lint types format docs clean"

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer with venv is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python -m bench.demo $(ARGS)

serve: $(INSTALLED)
	$(BIN)/mrproxy serve $(ARGS)

# In the order of their names: the other way, files of few and long tests would come last, and one core would wait.
test: lint types
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz_dialects --megabytes $(MEGABYTES) $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/python -m tests.longest_functions

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED)
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/bench compare $(ARGS)

real-engine: $(INSTALLED)
	$(BIN)/python -m tests.real_engine $(ARGS)

docs: $(INSTALLED)
	$(BIN)/python -m mrproxy.config > docs/configuration.md
	$(BIN)/python -m mrproxy.cli.reference > docs/cli.md
	$(BIN)/python -m mrproxy.control > docs/api.md

clean:
	rm -rf build dist bench-out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .tox $(VENV)
	rm -rf tests/front_door/npm/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
