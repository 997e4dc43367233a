"""The backend and the device that are there are used, and the user learns which."""

from __future__ import annotations

import logging
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.execution_providers import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    Unused,
    find_driver,
    has_nvidia_driver,
)
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.onnxruntime_network import find_unused, provider_lines

from tests.nodes.tiny_onnx import write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx", np.zeros((1, 300, 6), np.float32))


def test_without_onnxruntime_opencv_is_used(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # its import fails now

    assert load_detector(model).backend == "opencv"
    with pytest.raises(ModelError, match="pip install onnxruntime"):
        load_detector(model, "onnxruntime")


def test_with_onnxruntime_it_is_used_and_says_on_what(model: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")

    detector = load_detector(model)

    assert detector.backend == "onnxruntime"
    assert detector.provider in onnxruntime.get_available_providers()


@pytest.mark.parametrize("backend", ["onnxruntime", "opencv"])
def test_gpu_that_was_asked_for_and_is_not_there_is_a_warning(
    model: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    if backend == "onnxruntime":
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this onnxruntime can use CUDA")

    detector = load_detector(model, backend, device="cuda")

    assert detector.provider in ("CPUExecutionProvider", "CPU")
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "cuda was asked for" in warning.getMessage()
    assert "onnxruntime-gpu" in warning.getMessage()


def test_providers_that_are_not_in_the_wheel_are_told_in_one_line(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if {CUDA, OPENVINO} & set(onnxruntime.get_available_providers()):
        pytest.skip("this onnxruntime has more than the processor")
    if has_nvidia_driver():
        pytest.skip("this machine has a GPU of NVIDIA, and warns")
    caplog.set_level(logging.INFO)

    load_detector(model, "onnxruntime")

    (line,) = [record.getMessage() for record in caplog.records]
    version = onnxruntime.__version__
    assert line == (
        f"not used: {CUDA} and {OPENVINO}: not in this onnxruntime {version} (onnxruntime-gpu and"
        " onnxruntime-openvino have them)"
    )


def test_wheel_with_cuda_says_what_this_machine_lacks(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA (pip install onnxruntime-gpu)")
    if find_driver().devices:
        pytest.skip("this machine has a GPU: make bench-gpu checks it")

    detector = load_detector(model, "onnxruntime", device="cuda")

    assert detector.provider == CPU
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    said = warning.getMessage()
    assert said.startswith(f"cuda was asked for, but {CUDA} did not start: ")
    assert re.search(r"lib\S+\.so\S* is missing|shows no GPU|driver is for CUDA", said)


ABSENT = Unused(CUDA, False, "not in this onnxruntime 1.32.0", "`pip install it`")
BROKEN = Unused(CUDA, True, "libcublasLt.so.13 is missing", "`pip install it`")
NO_TENSORRT = Unused(TENSORRT, True, "libnvinfer.so.10 is missing")


@pytest.mark.parametrize(
    ("device", "provider", "unused", "has_gpu", "level", "said"),
    [
        ("auto", CPU, ABSENT, False, logging.INFO, "not used: {CUDA}: not in this onnxruntime"),
        ("auto", CPU, ABSENT, True, logging.WARNING, "{CUDA} is not in this onnxruntime 1.32.0: "),
        ("auto", CPU, BROKEN, False, logging.WARNING, "{CUDA} did not start: libcublasLt.so.13 is"),
        ("cuda", CPU, ABSENT, False, logging.WARNING, "cuda was asked for, but {CUDA} is not in"),
        ("cuda", CPU, BROKEN, True, logging.WARNING, "cuda was asked for, but {CUDA} did not"),
        ("tensorrt", CUDA, NO_TENSORRT, True, logging.WARNING, "{TENSORRT} did not start: libnv"),
    ],
)
def test_what_is_not_used_is_a_warning_if_it_should_be(
    device: str, provider: str, unused: Unused, has_gpu: bool, level: int, said: str
) -> None:
    lines = list(provider_lines(device, provider, [unused], has_gpu=has_gpu))

    ((told, line),) = lines
    assert told == level
    assert line.startswith(said.format(CUDA=CUDA, TENSORRT=TENSORRT))
    if level == logging.WARNING:
        assert f"detecting on {provider} instead" in line
        assert unused.remedy in line


def test_nothing_is_said_of_providers_behind_the_one_that_works() -> None:
    pytest.importorskip("onnxruntime")

    assert find_unused("auto", CUDA, [CUDA, CPU], {}) == []
    assert find_unused("cpu", CPU, [CUDA, CPU], {}) == []


def test_detector_burns_no_processor_time_between_frames(shared_data: Path) -> None:
    pytest.importorskip("onnxruntime")
    detector = load_detector(shared_data / "yolox_nano.onnx", "onnxruntime", threads=2)
    picture = np.zeros((480, 640, 3), np.uint8)
    idle_cpu_s = 0.0

    for _ in range(10):
        detector.detect(picture)
        began = time.process_time()
        wait_until = time.monotonic() + 0.02
        while (left_s := wait_until - time.monotonic()) > 0:
            time.sleep(left_s)
        idle_cpu_s += time.process_time() - began

    # Threads that spin took 0.2 s here.
    assert idle_cpu_s < 0.1
