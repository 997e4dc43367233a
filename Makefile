PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of its own: dora-rs among others would stand in the way of the tests.
BENCH_VENV := .venv-bench
PYTHONS ?= python3.10 python3.11 python3.12 python3.13 python3.14
# What an installation depends on: the compiled cores are built by it.
SETUP := setup.cfg setup.py pyproject.toml $(wildcard dora_rt/compiled/*.p*x*)
# Of its own: onnxruntime and onnxruntime-gpu overwrite each other's files. A Jetson needs the wheel
# of its own system: make bench-gpu ONNXRUNTIME_GPU=./onnxruntime_gpu-....whl
BENCH_GPU_VENV := .venv-bench-gpu
ONNXRUNTIME_GPU ?= onnxruntime-gpu[cuda,cudnn]

# posix_ipc comes as source for the newest Pythons.
SAY_COMPILER := 'import sys; sys.version_info < (3, 14) or print("On Python 3.14 and newer posix_ipc \
	is compiled: install gcc and the headers of Python (Debian, Ubuntu: apt install gcc python3-dev), \
	or choose another Python: make run PYTHON=python3.13 (after make clean)")'

# Where the libraries of a screen are missing (Raspberry Pi OS Lite, Ubuntu Server, a slim image)
# the second command puts opencv-python-headless in the place of opencv-python. The last line says
# whether there is compiled code; where there is no C compiler all works without.
define install
	@echo "installing dora_rt and what it needs into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable "$(1)" \
		|| { $(BIN)/python -c $(SAY_COMPILER); exit 1; }
	@$(BIN)/dora-rt doctor --repair-opencv
	@echo "installed $$($(BIN)/python -m dora_rt --version)"
endef

.PHONY: help run check test test-pure lint soak prove prove-model bench bench-docs bench-gpu \
	wheel wheels clean

help:
	@echo "make run    see the demo: camera (or a drawn scene), detection, picture"
	@echo "make check  linters, types, contracts, and the tests that start no programs: about a minute"
	@echo "make test   everything that must pass: linters, types, contracts, all tests"
	@echo "make lint   only linters, types and contracts"
	@echo "make soak   the endurance tests at full length, about twenty minutes; the oldest dependencies"
	@echo "make prove  explore schedules of the data plane for an hour, then do make prove-model"
	@echo "make prove-model  check the model of the ring in all its states, about 20 minutes (spin, gcc)"
	@echo "make bench  measure it beside other ways to move a frame, about 20 minutes"
	@echo "make wheel  build dist/*.whl: pure Python, for any machine"
	@echo "make wheels and those with the compiled hot path, for the Pythons at hand (gcc)"
	@echo "make bench-gpu  measure detection on a GPU of NVIDIA, as one CUDA graph and without"
	@echo "make clean  remove what these commands made"

run: $(VENV)/.installed
	$(BIN)/dora-launch launch/dataflow.yml

# Before a commit; which tests start programs, tests/harness/programs.py decides.
check: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not programs and not slow"

HOT_PATH_TESTS := tests/protocol tests/data_plane tests/compiled tests/fault/test_fuzz.py \
	tests/fault/test_corrupt_samples.py tests/flows/test_node_api.py

# By file: many share one run. The long files come first, so that none is left for the end.
test: $(VENV)/.installed-test
	@# Beside each other, and before all others: the linters leave a core idle.
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint test-pure
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Where there is compiled code, what stands on the hot path has to pass without it, too.
test-pure: $(VENV)/.installed-test
	! $(BIN)/python -c 'from dora_rt.compiled import IS_COMPILED; assert IS_COMPILED' 2> /dev/null \
		|| DORA_RT_PURE=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(HOT_PATH_TESTS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg --no-cache

soak: $(VENV)/.installed-test
	SOAK=1 $(BIN)/python -m pytest -rP --timeout 3600 tests/fault/test_endurance.py \
		tests/flows/test_stress.py tests/fault/test_growth.py tests/fault/test_many_restarts.py \
		tests/dora/test_hub_programs.py tests/flows/test_boxes_on_pictures.py \
		tests/fault/test_fuzz.py tests/nodes/test_scene_model.py tests/flows/test_killed_servers.py \
		tests/nodes/test_ros2_cdr.py tests/network/test_protocol.py tests/network/test_kills.py \
		tests/network/test_links.py tests/network/test_many_machines.py
	$(BIN)/python -m tests.oldest

prove: $(VENV)/.installed-test
	$(BIN)/python -m tests.protocol --processes 2 --seconds 1500
	$(BIN)/python -m tests.protocol --processes 2 --seconds 600 --mixed
	DORA_RT_PURE=1 $(BIN)/python -m tests.protocol --processes 2 --seconds 1500
	$(BIN)/python -m tests.protocol.mutants
	$(BIN)/python -m tests.protocol.sanitized
	$(MAKE) prove-model

# The second command shows that the model can fail.
prove-model: $(VENV)/.installed-test
	$(BIN)/python -m tests.protocol.model
	$(BIN)/python -m tests.protocol.model --faults

bench: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m benchmarks $(BENCH)

# Looks for a GPU before it installs anything.
bench-gpu:
	@$(PYTHON) -m benchmarks.gpu_driver
	@$(MAKE) --no-print-directory $(BENCH_GPU_VENV)/.installed
	$(BENCH_GPU_VENV)/bin/python -m benchmarks.gpu $(BENCH)

$(BENCH_GPU_VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(BENCH_GPU_VENV)
	$(BENCH_GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
		"$(ONNXRUNTIME_GPU)"
	@touch $@

# Puts the tables of the last `make bench` into docs/.
bench-docs: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python -m benchmarks.publish

wheel: $(BIN)/python
	@# setuptools would put modules of an earlier build into it that are there no more.
	@rm -rf build
	DORA_RT_PURE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--wheel-dir dist .
	@echo "wrote $$(ls dist/dora_rt-*.whl)"

# With the compiled hot path, for the Pythons at hand, beside the pure one.
wheels: wheel
	@for python in $(PYTHONS); do \
		$$python -c "import sys" 2> /dev/null || continue; \
		rm -rf build; \
		$$python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist . \
			|| exit 1; \
	done
	@ls dist/dora_rt-*.whl

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(BENCH_GPU_VENV) .venv-oldest build dist launch/out benchmarks/out *.egg-info \
		dora_rt/compiled/*.so

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SETUP) | $(BIN)/python
	$(call install,.)
	@touch $@

$(VENV)/.installed-test: $(SETUP) | $(BIN)/python
	$(call install,.[test])
	@touch $@ $(VENV)/.installed

$(BENCH_VENV)/.installed: $(SETUP)
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[onnx]"
	$(BENCH_VENV)/bin/python -m benchmarks.install
	@touch $@
