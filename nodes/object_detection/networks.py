"""Run an ONNX file with onnxruntime or with OpenCV's dnn module, behind one method."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .onnx_file import OnnxFacts

if TYPE_CHECKING:
    import onnxruntime

BACKENDS = ("auto", "onnxruntime", "opencv")
DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino", "coreml")

_CPU = "CPUExecutionProvider"
# Others are not used. TensorRT is not in "auto", although it is the fastest: it compiles
# each model for minutes at its first start, which looks like a node that hangs.
_PROVIDERS = {
    "auto": ("CUDAExecutionProvider", "OpenVINOExecutionProvider", "CoreMLExecutionProvider"),
    "cpu": (),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
    "openvino": ("OpenVINOExecutionProvider",),
    "coreml": ("CoreMLExecutionProvider",),
}
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "coreml": "onnxruntime",
}

_ORT_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(/\S+ )?"
)
_OPSET = "yolo export model=best.pt format=onnx opset=17"
_WORST_CHARACTERS = 300

Blob = NDArray[np.floating]

_logger = logging.getLogger(__name__)


class Network(Protocol):
    """A loaded model.

    Attributes:
        backend: "onnxruntime" or "opencv".
        provider: what really computes, for example "CPUExecutionProvider".
    """

    backend: str
    provider: str

    def run(self, blob: Blob, names: Sequence[str]) -> list[NDArray[np.generic]]:
        """Return outputs of the model for a blob of the shape of its input.

        Args:
            blob: the picture.
            names: of the outputs.

        Raises:
            ModelError: the backend cannot do it.
        """


def open_network(
    path: Path, facts: OnnxFacts, backend: str, *, device: str, threads: int | None
) -> Network:
    """Load a model with the backend asked for; "auto" takes onnxruntime where it is installed.

    Raises:
        ModelError: unknown backend or device, or the backend cannot be imported or cannot read it.
    """
    if backend not in BACKENDS:
        raise ModelError(f"there is no backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    if device not in DEVICES:
        raise ModelError(f"there is no device {device!r}; choose one of {', '.join(DEVICES)}")
    if threads is not None and threads < 1:
        raise ModelError(f"got {threads} threads, expected at least 1")
    if backend != "opencv":
        try:
            return OnnxRuntimeNetwork.open(path, facts, device, threads)
        except ImportError as error:
            if backend == "onnxruntime":
                raise ModelError(
                    f"the backend 'onnxruntime' cannot be imported ({error}); install it with"
                    " `pip install onnxruntime`, or choose the backend 'opencv'"
                ) from error
    return OpenCvNetwork.open(path, facts, device, threads)


class OnnxRuntimeNetwork:
    """A model in onnxruntime, on the first provider that works."""

    backend = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession, facts: OnnxFacts) -> None:
        self._session = session
        self._input_name = facts.input_name
        self._size_input_name = facts.size_input_name
        self._size_input_dtype = facts.size_input_dtype
        self.provider: str = session.get_providers()[0]

    @classmethod
    def open(
        cls, path: Path, facts: OnnxFacts, device: str, threads: int | None
    ) -> OnnxRuntimeNetwork:
        """Load a model, and warn if it does not run on the device asked for.

        Raises:
            ModelError: onnxruntime cannot read it.
            ImportError: onnxruntime is not installed.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Without this the threads spin between two frames: 45 ms of processor time for a frame
        # instead of 17 at 30 frames/s, for nothing. Never to spin costs 4 ms of latency.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        offered = onnxruntime.get_available_providers()
        wanted = [provider for provider in _PROVIDERS[device] if provider in offered]
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=[*wanted, _CPU]
            )
        except Exception as error:
            # Its exceptions have no common base but Exception (onnxruntime_pybind11_state.Fail,
            # InvalidGraph, NotImplemented, ...).
            raise ModelError(f"{path}: {explain_refusal(str(error), facts)}") from error
        network = cls(session, facts)
        if fallback := explain_fallback(device, offered, network.provider):
            _logger.warning("%s", fallback)
        return network

    def run(self, blob: Blob, names: Sequence[str]) -> list[NDArray[np.generic]]:
        """Return outputs of the model for a blob."""
        feeds: dict[str, NDArray[np.generic]] = {self._input_name: blob}
        if self._size_input_name is not None:
            sizes = input_sizes_of(blob, self._size_input_dtype)
            feeds[self._size_input_name] = sizes
        try:
            outputs: list[NDArray[np.generic]] = self._session.run(list(names), feeds)
        except Exception as error:  # as in open
            raise ModelError(f"onnxruntime cannot run this model: {_one_line(error)}") from error
        return outputs


def input_sizes_of(
    blob: Blob, dtype: np.dtype[np.integer | np.floating]
) -> NDArray[np.integer | np.floating]:
    """Return width and height of the input, for each picture of the batch.

    RT-DETR and D-FINE scale their boxes by it: these are then in pixels of the input, as all are.
    """
    height, width = blob.shape[2:]
    return np.array([[width, height]] * blob.shape[0], dtype)


def explain_refusal(error: str, facts: OnnxFacts) -> str:
    """Return why onnxruntime cannot load a model, in one line with the way out."""
    import onnxruntime

    text = _ORT_PREFIX.sub("", " ".join(error.split()))
    way_out = f"`pip install -U onnxruntime`, or export it for an older one ({_OPSET})"
    runtime = f"onnxruntime {onnxruntime.__version__}"
    if "IR version" in text:
        newest = re.search(r"max supported IR version: (\d+)", text)
        until = f", and this {runtime} reads up to {newest.group(1)}" if newest else ""
        return f"it is an ONNX file of IR version {facts.ir_version}{until}: {way_out}"
    if "opset" in text.lower() and "support" in text:
        newest = re.search(r"(?:till|until) opset (\d+)", text)
        until = f", and this {runtime} knows up to {newest.group(1)}" if newest else ""
        return f"it is an ONNX file of opset {facts.opset}{until}: {way_out}"
    if "is not a registered function/op" in text or "No Op registered for" in text:
        return (
            f"onnxruntime cannot load this model, for it lacks one of its operators: {text}; if it"
            " is one of a plugin (TensorRT's EfficientNMS, MMDeploy), export without it, else"
            f" {way_out}"
        )
    return f"onnxruntime cannot load this model: {text[:_WORST_CHARACTERS]}"


def _one_line(error: Exception) -> str:
    return _ORT_PREFIX.sub("", " ".join(str(error).split()))[:_WORST_CHARACTERS]


def explain_fallback(device: str, offered: Sequence[str], provider: str) -> str | None:
    """Return why a model runs on another device than it could or should; None if it does not.

    Args:
        device: the one asked for.
        offered: the providers that the installed onnxruntime was built with.
        provider: the one that computes.
    """
    if provider in _PROVIDERS[device]:
        return None
    failed = [wanted for wanted in _PROVIDERS[device] if wanted in offered]
    if failed:
        return (
            f"{' and '.join(failed)} did not start (onnxruntime's own lines above say why):"
            f" detecting on {provider} instead"
        )
    if device in ("auto", "cpu"):
        return None
    return (
        f"{device} was asked for, but the installed onnxruntime is built without it: detecting on"
        f" {provider} instead; the package that has it is {_PACKAGES[device]}"
    )


class OpenCvNetwork:
    """A model in cv2.dnn, which needs nothing beside OpenCV, on the processor."""

    backend = "opencv"
    provider = "CPU"

    def __init__(self, net: cv2.dnn.Net, facts: OnnxFacts) -> None:
        self._net = net
        self._input_name = facts.input_name
        self._size_input_name = facts.size_input_name
        self._size_input_dtype = facts.size_input_dtype

    @classmethod
    def open(cls, path: Path, facts: OnnxFacts, device: str, threads: int | None) -> OpenCvNetwork:
        """Load a model; the number of threads is that of the whole process.

        Raises:
            ModelError: OpenCV cannot read it.
        """
        if device not in ("auto", "cpu"):
            _logger.warning(
                "%s was asked for, but the backend opencv detects on the processor only: install"
                " %s for it",
                device,
                _PACKAGES[device],
            )
        if threads is not None:
            cv2.setNumThreads(threads)
        try:
            net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise ModelError(
                f"{path}: OpenCV {cv2.__version__} cannot load this model (IR version"
                f" {facts.ir_version}, opset {facts.opset}): {_one_line(error)}; `pip install"
                " onnxruntime` reads more models"
            ) from error
        return cls(net, facts)

    def run(self, blob: Blob, names: Sequence[str]) -> list[NDArray[np.generic]]:
        """Return outputs of the model for a blob."""
        try:
            self._net.setInput(blob, self._input_name)
            if self._size_input_name is not None:
                sizes = input_sizes_of(blob, self._size_input_dtype)
                self._net.setInput(sizes, self._size_input_name)
            # By name: of a model with several outputs, OpenCV 4 gives the last one otherwise.
            outputs = self._net.forward(list(names))
        except cv2.error as error:
            raise ModelError(
                f"OpenCV {cv2.__version__} cannot run this model: {_one_line(error)}; `pip install"
                " onnxruntime` runs more models"
            ) from error
        return [np.asarray(output) for output in outputs]
