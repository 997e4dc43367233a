PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of its own: dora-rs among others would stand in the way of the tests.
BENCH_VENV := .venv-bench

.PHONY: help run test lint soak prove bench bench-docs wheel clean

help:
	@echo "make run    see the demo: camera (or a drawn scene), detection, picture"
	@echo "make test   everything that must pass: linters, types, tests"
	@echo "make lint   only ruff and mypy"
	@echo "make soak   the endurance tests at full length, about twelve minutes"
	@echo "make prove  explore schedules of the data plane for an hour, then its model in all states"
	@echo "make bench  measure it beside other ways to move a frame, about 12 minutes"
	@echo "make wheel  build dist/*.whl"
	@echo "make clean  remove what these commands made"

run: $(VENV)/.installed
	$(BIN)/dora-launch launch/dataflow.yml

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(VENV)/.installed-test
	SOAK=1 $(BIN)/python -m pytest -rP --timeout 3600 tests/fault/test_endurance.py \
		tests/flows/test_stress.py tests/fault/test_growth.py tests/fault/test_many_restarts.py \
		tests/dora/test_hub_programs.py

# Schedules for an hour on two cores, then all states of the model (Debian: spin, gcc).
prove: $(VENV)/.installed-test
	$(BIN)/python -m tests.protocol --processes 2 --seconds 3600
	$(BIN)/python -m tests.protocol.model

bench: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m benchmarks $(BENCH)

# Puts the tables of the last `make bench` into docs/.
bench-docs: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m benchmarks.publish

wheel: $(VENV)/.installed-test
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist launch/out benchmarks/out *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@ $(VENV)/.installed

$(BENCH_VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[onnx]"
	$(BENCH_VENV)/bin/python -m benchmarks.install
	@touch $@
