# Everything here works on a bare Debian or Ubuntu with Python 3.11 or newer and make: the environment
# is made in .venv by the first target that needs it.

VENV   ?= .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
ARGS   ?=
WORKERS ?= 3

.PHONY: help setup setup-dev run serve test oracle simulate check format bench clean

help:
	@echo "make run      the window over a running cluster (ARGS='serve --port 9092' for the cluster alone)"
	@echo "make test     all tests but those beside Apache Kafka"
	@echo "make oracle   tests beside Apache Kafka itself, where a JDK and Maven are"
	@echo "make simulate  some thousands of failovers from seeds, on virtual time"
	@echo "make check    ruff, mypy --strict, import-linter"
	@echo "make format   ruff, mending what it can"
	@echo "make bench    the benchmark table; beside Apache Kafka where a JDK and Maven are"
	@echo "make setup    only the environment in $(VENV) (setup-dev: with the tools for development)"
	@echo "make clean    removes $(VENV) and all caches"

setup: $(STAMPS)/run

setup-dev: $(STAMPS)/dev

# The cluster alone loads no Qt, so nothing of Qt has to be installed for it.
run: $(STAMPS)/$(if $(filter serve,$(firstword $(ARGS))),packages,run)
	@$(BIN)/kafkalab $(ARGS)

serve: $(STAMPS)/packages
	@$(BIN)/kafkalab serve $(ARGS)

# Many tests wait for time-outs of a real cluster: a few at once take little more than the slowest.
test: $(STAMPS)/dev
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -q -m "not oracle" -n $(WORKERS) --dist worksteal $(ARGS)

oracle: $(STAMPS)/dev
	$(BIN)/python -m pytest -q -m oracle -n 2 --dist worksteal $(ARGS)

# Two hours of the cluster's own time.
simulate: $(STAMPS)/packages
	$(BIN)/kafkalab simulate --seeds 24 --minutes 5 $(ARGS)

check: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMPS)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMPS)/dev
	QT_QPA_PLATFORM=offscreen $(BIN)/python tests/benchmarks/bench.py $(ARGS)

$(STAMPS)/venv:
	sh packaging/linux/make-venv.sh $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/packages: $(STAMPS)/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(STAMPS)/run: $(STAMPS)/packages packaging/linux/qt_system_packages.py
	$(BIN)/python packaging/linux/qt_system_packages.py
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find kafkalab tests -name __pycache__ -type d -exec rm -rf {} +
