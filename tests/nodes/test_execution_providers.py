"""What an execution provider lacks is called by its name, with the way out.

The texts are those of onnxruntime-gpu 1.31 (CUDA 13) on a machine without CUDA, with CUDA from pip
and without a driver, and with a driver that shows no GPU.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dora_rt.nodes.execution_providers import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    Driver,
    explain_absence,
    find_driver,
    find_library_error,
    has_nvidia_driver,
    is_built_in,
    judge_failure,
    load_cuda_libraries,
)

NO_FILE = "cannot open shared object file: No such file or directory"
WORKING = Driver((13, 0), 1)
NO_DEVICE = Driver((13, 0), 0, "CUDA_ERROR_NO_DEVICE")


@pytest.mark.parametrize(
    ("provider", "library_error", "driver", "reason", "remedy"),
    [
        (
            CUDA,
            f"libcublasLt.so.13: {NO_FILE}",
            WORKING,
            "libcublasLt.so.13 is missing",
            "install CUDA 13.0 and cuDNN: `pip install 'onnxruntime-gpu[cuda,cudnn]'` does",
        ),
        (CUDA, f"libnvrtc.so.13: {NO_FILE}", WORKING, "libnvrtc.so.13 is missing", "CUDA 13.0"),
        (CUDA, f"libcuda.so.1: {NO_FILE}", Driver(None), "no driver of NVIDIA (libcuda.so.1", ""),
        (TENSORRT, f"libcublas.so.13: {NO_FILE}", WORKING, "libcublas.so.13 is missing", "CUDA 13"),
        (TENSORRT, f"libnvinfer.so.10: {NO_FILE}", WORKING, "libnvinfer.so.10 is", "TensorRT"),
        (OPENVINO, f"libopenvino.so.2500: {NO_FILE}", None, "libopenvino.so.2500 is missing", ""),
        (CUDA, "/x.so: file too short", WORKING, "cannot be loaded: /x.so: file too short", ""),
        (CUDA, "", Driver(None), "there is no driver of NVIDIA", ""),
        (CUDA, f"libcublasLt.so.13: {NO_FILE}", Driver(None), "there is no driver", ""),
        (CUDA, f"libcublasLt.so.13: {NO_FILE}", Driver((12, 4), 1), "is for CUDA 12.4", "<1.27"),
        (CUDA, "", NO_DEVICE, "shows no GPU to this process (CUDA_ERROR_NO_D", "nvidia-smi"),
        (CUDA, "", Driver((13, 0), 0), "shows no GPU to this process", "CUDA_VISIBLE_DEVICES"),
        (CUDA, "", Driver((12, 4), 1), "is for CUDA 12.4, and this onnxruntime is", "update the"),
    ],
)
def test_what_is_missing_is_named(
    provider: str, library_error: str, driver: Driver | None, reason: str, remedy: str
) -> None:
    unused = judge_failure(
        provider, library_error=library_error, driver=driver, built_for="13.0", said="FAIL"
    )

    assert unused.provider == provider and unused.is_built_in
    assert reason in unused.reason
    assert remedy in unused.remedy


def test_what_onnxruntime_says_is_the_reason_where_nothing_is_missing() -> None:
    said = judge_failure(
        CUDA, library_error="", driver=WORKING, built_for="13.0", said="no kernel\n image"
    )
    cudnn = judge_failure(
        CUDA, library_error="", driver=WORKING, built_for="13.0", said="libcudnn.so.9 is not there"
    )

    assert said.reason == "no kernel image"
    assert "brings cuDNN" in cudnn.remedy


def test_wheel_of_an_unknown_cuda_is_no_error() -> None:
    unused = judge_failure(CUDA, library_error="", driver=NO_DEVICE, built_for="", said="")

    assert "shows no GPU" in unused.reason


def test_package_that_has_a_provider_replaces_the_other() -> None:
    absent = explain_absence(CUDA, "1.32.0")

    assert str(absent) == "CUDAExecutionProvider is not in this onnxruntime 1.32.0"
    assert absent.remedy.startswith("`pip uninstall onnxruntime` and `pip install 'onnxruntime-gpu")


def test_library_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    for name in ("shared", "cuda"):
        (tmp_path / f"libonnxruntime_providers_{name}.so").write_text("no library")

    assert "libonnxruntime_providers_shared.so" in find_library_error(tmp_path, CUDA)
    assert find_library_error(tmp_path, TENSORRT) == ""


def test_driver_that_is_not_there_has_no_version() -> None:
    assert find_driver("libno_such_driver.so.1") == Driver(None)


def test_driver_of_the_kernel_is_seen_by_its_files(tmp_path: Path) -> None:
    assert not has_nvidia_driver(tmp_path)

    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvgpu").touch()

    assert has_nvidia_driver(tmp_path)


def test_what_preloading_prints_does_not_reach_the_console(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loud = a_runtime(preload_dlls=lambda: print("Failed to load libcublas.so"))

    assert load_cuda_libraries(loud, "libc.so.6") == "Failed to load libcublas.so\n"
    assert capsys.readouterr().out == ""


def test_libraries_of_cuda_are_not_loaded_in_vain() -> None:
    calls: list[str] = []
    runtime = a_runtime(preload_dlls=lambda: calls.append("loaded"))
    without_cuda = a_runtime(preload_dlls=lambda: calls.append("loaded"), cuda_version="")

    load_cuda_libraries(runtime, "libno_such_driver.so.1")
    load_cuda_libraries(without_cuda, "libc.so.6")
    load_cuda_libraries(a_runtime(), "libc.so.6")

    assert calls == []


def test_cuda_that_is_a_plugin_is_built_in_before_it_is_offered() -> None:
    plugin = a_runtime(get_build_info=lambda: "ORT Build Info: x, cuda-plugin-ep=1, y")
    processor = a_runtime(get_build_info=lambda: "ORT Build Info: x, y")

    assert is_built_in(plugin, CUDA, [CPU])
    assert not is_built_in(plugin, OPENVINO, [CPU])
    assert not is_built_in(processor, CUDA, [CPU])
    assert is_built_in(processor, CUDA, [CUDA, CPU])


def a_runtime(**attributes: object) -> Any:
    """Make what is asked of the module onnxruntime, as wheels with CUDA answer it."""
    return SimpleNamespace(**{"cuda_version": "13.0", **attributes})
