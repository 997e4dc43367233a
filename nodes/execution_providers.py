"""Why an execution provider of ONNX Runtime does not run a model: what it lacks, by name.

Nothing here imports onnxruntime, or loads a library, before a function is called.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
COREML = "CoreMLExecutionProvider"

PACKAGES = {
    CUDA: "onnxruntime-gpu",
    TENSORRT: "onnxruntime-gpu",
    OPENVINO: "onnxruntime-openvino",
    COREML: "onnxruntime",
}
"""The package of the index that has a provider."""

_LIBRARIES = {
    CUDA: "libonnxruntime_providers_cuda.so",
    TENSORRT: "libonnxruntime_providers_tensorrt.so",
    OPENVINO: "libonnxruntime_providers_openvino.so",
}
_HOST_LIBRARY = "libonnxruntime_providers_shared.so"
_TENSORRT_LIBRARIES = ("libnvinfer", "libnvonnxparser")
_DRIVER_LIBRARY = "libcuda.so.1"
# Of the kernel's driver, desktop and Jetson. They are also in a container that has no GPU.
_DRIVER_TRACES = ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/nvhost-gpu", "dev/nvgpu")
# Those of onnxruntime-gpu on the index that are built for an older CUDA.
_RELEASES = {12: "<1.27"}
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
_CUDNN = re.compile(r"cudnn", re.IGNORECASE)
_WORST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Unused:
    """A provider that does not run a model.

    Attributes:
        provider: its name.
        is_built_in: whether the installed onnxruntime has it.
        reason: what it lacks.
        remedy: what to do about it; empty if there is nothing.
    """

    provider: str
    is_built_in: bool
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        verb = "did not start:" if self.is_built_in else "is"
        return f"{self.provider} {verb} {self.reason}"


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVIDIA's driver answered.

    Attributes:
        cuda: the newest version of CUDA that it is for; None if it is not installed.
        devices: how many GPUs it shows to this process.
        error: the name of its error, empty if it had none.
    """

    cuda: tuple[int, int] | None
    devices: int = 0
    error: str = ""


def load_cuda_libraries(runtime: onnxruntime, driver: str = _DRIVER_LIBRARY) -> str:
    """Load those of CUDA and cuDNN that pip has installed; return what that could not find.

    Nobody else finds them: they are in folders of site-packages. Before onnxruntime 1.21, and in a
    wheel without CUDA, it does nothing. Nor without a driver: they would take 230 MB in vain.

    Args:
        runtime: the module onnxruntime.
        driver: the library of NVIDIA's driver.
    """
    if not hasattr(runtime, "preload_dlls") or not _cuda_of(runtime):
        return ""
    try:
        ctypes.CDLL(driver)
    except OSError:
        return ""
    said = io.StringIO()
    # It prints what it does not find, also where the provider can do without it.
    with contextlib.redirect_stdout(said):
        runtime.preload_dlls()
    return said.getvalue()


def find_idle(runtime: onnxruntime, model: Path) -> Iterator[Unused]:
    """Start the providers one by one on a model, and return those that cannot run it.

    TensorRT is only asked whether its libraries are there: it compiles a model for minutes.

    Args:
        runtime: the module onnxruntime.
        model: an ONNX file with one input of a fixed shape.
    """
    load_cuda_libraries(runtime)
    offered = runtime.get_available_providers()
    # CUDA first: onnxruntime prepares what the libraries of the others need when it loads one.
    for provider in (CUDA, TENSORRT, OPENVINO):
        if not is_built_in(runtime, provider, offered):
            yield explain_absence(provider, runtime.__version__)
        elif provider == TENSORRT:
            if find_library_error(_folder(runtime), provider):
                yield explain_failure(runtime, provider, "")
        elif (said := _start(runtime, provider, model)) is not None:
            yield explain_failure(runtime, provider, said)


def is_built_in(runtime: onnxruntime, provider: str, offered: Sequence[str]) -> bool:
    """Whether the installed onnxruntime has a provider, even if it does not offer it.

    Args:
        runtime: the module onnxruntime.
        provider: the provider.
        offered: those that it offers.
    """
    # Where CUDA is a plugin it is offered only after its libraries were found.
    is_plugin = provider == CUDA and "cuda-plugin-ep=" in runtime.get_build_info()
    return provider in offered or is_plugin


def explain_absence(provider: str, version: str) -> Unused:
    """Say that a provider is not in the installed onnxruntime."""
    package = PACKAGES[provider]
    remedy = (
        f"`pip uninstall onnxruntime` and `pip install {spell_package(provider)}`"
        if package != "onnxruntime"
        else ""
    )
    return Unused(provider, False, f"not in this onnxruntime {version}", remedy)


def explain_failure(runtime: onnxruntime, provider: str, said: str) -> Unused:
    """Find out why a provider of the installed onnxruntime did not start.

    Only after onnxruntime has tried: its libraries must be loaded by itself first.

    Args:
        runtime: the module onnxruntime.
        provider: the one that did not start.
        said: what onnxruntime said; may be empty.
    """
    return judge_failure(
        provider,
        library_error=find_library_error(_folder(runtime), provider),
        driver=find_driver() if provider in (CUDA, TENSORRT) else None,
        built_for=_cuda_of(runtime),
        said=said,
    )


def judge_failure(
    provider: str, *, library_error: str, driver: Driver | None, built_for: str, said: str
) -> Unused:
    """Turn facts about a provider that did not start into a reason and a remedy.

    Args:
        provider: the one that did not start.
        library_error: what the system said when it loaded the provider's library; empty if well.
        driver: of NVIDIA; None for a provider that does without.
        built_for: the version of CUDA that onnxruntime is built for; empty if unknown.
        said: what onnxruntime said.
    """
    said = _one_line(said)
    # The driver first: without it the libraries, gigabytes of them, are installed in vain.
    if driver is not None and (unused := _judge_driver(provider, driver, built_for)) is not None:
        return unused
    if library_error:
        return _judge_library(provider, library_error, built_for)
    if _CUDNN.search(said):
        return Unused(provider, True, said, f"`pip install {spell_package(provider)}` brings cuDNN")
    return Unused(provider, True, said or "onnxruntime did not start it, and its lines say why")


def find_library_error(folder: Path, provider: str) -> str:
    """Load the library of a provider as onnxruntime does; return what the system said, or nothing.

    Args:
        folder: the one of onnxruntime's libraries.
        provider: the provider.
    """
    library = folder / _LIBRARIES.get(provider, "")
    if not library.is_file():
        return ""
    try:
        ctypes.CDLL(str(folder / _HOST_LIBRARY), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""


def find_driver(library: str = _DRIVER_LIBRARY) -> Driver:
    """Ask NVIDIA's driver for its version and its GPUs.

    Args:
        library: the driver's.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return Driver(None)
    number = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    # 13020 is 13.2.
    version = (number.value // 1000, number.value % 1000 // 10)
    error = cuda.cuInit(0)
    if error:
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(error, ctypes.byref(name))
        return Driver(version, error=name.value.decode() if name.value else f"error {error}")
    cuda.cuDeviceGetCount(ctypes.byref(number))
    return Driver(version, number.value)


def has_nvidia_driver(root: Path = Path("/")) -> bool:
    """Whether the kernel has NVIDIA's driver: the files of it are there.

    Args:
        root: of the file system.
    """
    return any((root / trace).exists() for trace in _DRIVER_TRACES)


def spell_package(provider: str) -> str:
    """Return the package of a provider as one types it after `pip install`."""
    package = PACKAGES[provider]
    # The extras bring CUDA and cuDNN, which a Jetson has from its system.
    return f"'{package}[cuda,cudnn]'" if package == "onnxruntime-gpu" else package


def _start(runtime: onnxruntime, provider: str, model: Path) -> str | None:
    """Run a model on a provider; return what onnxruntime said if it does not, else None."""
    # Here: `make bench-gpu` asks for the driver before anything is installed.
    import numpy as np

    try:
        session = runtime.InferenceSession(str(model), providers=[provider, CPU], enable_fallback=0)
        if session.get_providers()[0] != provider:
            return ""
        (wanted,) = session.get_inputs()
        session.run(None, {wanted.name: np.zeros(wanted.shape, np.float32)})
    except Exception as error:
        # onnxruntime's exceptions have no common base but Exception.
        return str(error)
    return None


def _cuda_of(runtime: onnxruntime) -> str:
    """Return the version of CUDA that a wheel is built for; empty for one without CUDA."""
    return str(getattr(runtime, "cuda_version", None) or "")


def _folder(runtime: onnxruntime) -> Path:
    return Path(runtime.__file__).parent / "capi"


def _judge_driver(provider: str, driver: Driver, built_for: str) -> Unused | None:
    if driver.cuda is None:
        return _without_driver(provider)
    major = int(built_for.partition(".")[0]) if built_for[:1].isdigit() else 0
    if driver.cuda[0] < major:
        older = _RELEASES.get(driver.cuda[0])
        or_older = f", or `pip install '{PACKAGES[provider]}[cuda,cudnn]{older}'`" if older else ""
        return Unused(
            provider,
            True,
            f"NVIDIA's driver is for CUDA {driver.cuda[0]}.{driver.cuda[1]}, and this onnxruntime"
            f" is built for {built_for}",
            f"update the driver{or_older}",
        )
    if driver.devices and not driver.error:
        return None
    name = f" ({driver.error})" if driver.error else ""
    return Unused(
        provider,
        True,
        f"NVIDIA's driver shows no GPU to this process{name}",
        "`nvidia-smi` lists those of the machine, CUDA_VISIBLE_DEVICES may hide them",
    )


def _judge_library(provider: str, library_error: str, built_for: str) -> Unused:
    missing = _MISSING_LIBRARY.search(library_error)
    if missing is None:
        return Unused(provider, True, f"its library cannot be loaded: {_one_line(library_error)}")
    name = missing.group(1)
    if name == _DRIVER_LIBRARY:
        return _without_driver(provider)
    if name.startswith(_TENSORRT_LIBRARIES):
        remedy = "it is one of TensorRT, which is installed apart from onnxruntime"
        return Unused(provider, True, f"{name} is missing", remedy)
    if provider in (CUDA, TENSORRT):
        cuda = f" {built_for}" if built_for else ""
        remedy = f"install CUDA{cuda} and cuDNN: `pip install {spell_package(provider)}` does"
        return Unused(provider, True, f"{name} is missing", remedy)
    return Unused(provider, True, f"{name} is missing")


def _without_driver(provider: str) -> Unused:
    in_container = (
        "in a container: `docker run --gpus all`, on a Jetson `--runtime nvidia`"
        if has_nvidia_driver() or Path("/.dockerenv").exists()
        else "install it; or take `onnxruntime`, which is smaller, if there is no GPU of NVIDIA"
    )
    reason = f"there is no driver of NVIDIA ({_DRIVER_LIBRARY} is missing)"
    return Unused(provider, True, reason, in_container)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_WORST_CHARACTERS]
