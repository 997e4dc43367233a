"""The backend and the device that are there are used, and the user learns which."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.networks import explain_fallback

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


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("device", "offered", "provider", "said"),
    [
        ("auto", [CPU], CPU, None),
        ("cpu", [CUDA, CPU], CPU, None),
        ("auto", [CUDA, CPU], CUDA, None),
        ("tensorrt", [CUDA, CPU], CUDA, None),
        ("auto", [CUDA, CPU], CPU, f"{CUDA} did not start"),
        ("cuda", [CUDA, CPU], CPU, f"{CUDA} did not start"),
        ("openvino", [CUDA, CPU], CPU, "the package that has it is onnxruntime-openvino"),
    ],
)
def test_fallback_is_explained_when_there_is_one(
    device: str, offered: list[str], provider: str, said: str | None
) -> None:
    explained = explain_fallback(device, offered, provider)

    assert explained is None if said is None else said in str(explained)


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
    assert idle_cpu_s < 0.05
