"""`make bench-gpu` says what is missing where there is no GPU; all but the GPU is tried here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.execution_providers import CPU, CUDA, Driver, find_driver
from dora_rt.nodes.object_detection.models import SCENE_MODEL_PATH
from dora_rt.nodes.object_detection.session_plan import SessionPlan

from benchmarks.gpu import GRAPH, PLAIN, PLANS, FailedError, compare_boxes, measure
from benchmarks.gpu_driver import NO_GPU, explain_no_gpu

ROOT = Path(__file__).parents[2]
PROCESSOR = SessionPlan(((CPU, {}),))
FIXED = SessionPlan(((CPU, {}),), is_bound=True)


@pytest.mark.parametrize(
    ("driver", "has_kernel_driver", "reason"),
    [
        (Driver((13, 0), 1), True, None),
        (Driver(None), False, "libcuda.so.1, the driver of NVIDIA, is not installed"),
        (Driver(None), True, "docker run --gpus all"),
        (Driver((13, 0), error="CUDA_ERROR_NO_DEVICE"), True, "answers CUDA_ERROR_NO_DEVICE"),
        (Driver((13, 0)), True, "shows no GPU"),
    ],
)
def test_what_a_gpu_lacks_is_told(
    driver: Driver, has_kernel_driver: bool, reason: str | None
) -> None:
    told = explain_no_gpu(driver, has_kernel_driver=has_kernel_driver)

    assert told is None if reason is None else reason in str(told)


@pytest.mark.programs
@pytest.mark.parametrize("module", ["benchmarks.gpu_driver", "benchmarks.gpu"])
def test_without_a_gpu_nothing_is_measured_and_the_exit_status_says_so(module: str) -> None:
    if find_driver().devices:
        pytest.skip("this machine has a GPU: make bench-gpu measures")

    done = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == NO_GPU
    assert done.stdout.startswith("no GPU, so nothing is measured: ")


@pytest.mark.programs
def test_driver_is_looked_for_before_anything_is_installed() -> None:
    # -S: without site-packages, and so without numpy and dora_rt.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "benchmarks.gpu_driver"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode in (0, NO_GPU), done.stderr


def test_each_way_gets_a_line_and_the_boxes_are_compared() -> None:
    pytest.importorskip("onnxruntime")

    table = measure(SCENE_MODEL_PATH, {PLAIN: PROCESSOR, GRAPH: FIXED}, ["cpu", "auto"], 1)

    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    assert rows[2:] == [PLAIN, GRAPH, "detect(), --device cpu", "detect(), --device auto"]
    assert re.search(r"The graph takes \d\.\d\d of the time of run\(\) .*; \d\d+ boxes comp", table)
    assert table.startswith("scene_model.onnx, input 1 x 3 x ")


def test_provider_that_does_not_start_fails_the_benchmark() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")

    with (
        pytest.warns(UserWarning, match="is not in available provider names"),
        pytest.raises(FailedError, match=f"{CUDA} did not start; `dora-rt doctor` says why"),
    ):
        measure(SCENE_MODEL_PATH, {PLAIN: PLANS[PLAIN]}, ["cpu"], 1)


def test_boxes_that_are_elsewhere_fail_the_benchmark() -> None:
    boxes = np.array([[10, 10, 50, 50, 0.9, 1], [60, 60, 80, 90, 0.3, 2]], np.float32)

    moved = boxes + np.array([1, 1, 1, 1, 0, 0], np.float32)
    assert compare_boxes([boxes], [moved]) == "1 box compared"
    assert compare_boxes([boxes[1:]], [boxes[1:]]) == "no boxes to compare"
    with pytest.raises(FailedError, match="the boxes differ"):
        compare_boxes([boxes], [boxes[1:]])
