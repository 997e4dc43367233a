"""Run an ONNX file with onnxruntime or with OpenCV's dnn module, behind one method."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..execution_providers import PACKAGES
from .errors import ModelError
from .network_input import Blob, input_sizes_of
from .onnx_file import OnnxFacts
from .onnxruntime_network import OnnxRuntimeNetwork, one_line
from .session_plan import DEVICES, PROVIDERS

BACKENDS = ("auto", "onnxruntime", "opencv")

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
    path: Path,
    facts: OnnxFacts,
    backend: str,
    *,
    shape: tuple[int, ...],
    device: str,
    threads: int | None,
) -> Network:
    """Load a model with the backend asked for; "auto" takes onnxruntime where it is installed.

    Args:
        path: of the model.
        facts: of its file.
        backend: one of `BACKENDS`.
        shape: of all blobs that it will be run with.
        device: one of `DEVICES`.
        threads: processor threads; None for as many as the backend likes.

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
            return OnnxRuntimeNetwork.open(path, facts, shape, device=device, threads=threads)
        except ImportError as error:
            if backend == "onnxruntime":
                raise ModelError(
                    f"the backend 'onnxruntime' cannot be imported ({error}); install it with"
                    " `pip install onnxruntime`, or choose the backend 'opencv'"
                ) from error
    return OpenCvNetwork.open(path, facts, device, threads)


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
                PACKAGES[PROVIDERS[device][0]],
            )
        if threads is not None:
            cv2.setNumThreads(threads)
        try:
            net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise ModelError(
                f"{path}: OpenCV {cv2.__version__} cannot load this model (IR version"
                f" {facts.ir_version}, opset {facts.opset}): {one_line(error)}; `pip install"
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
                f"OpenCV {cv2.__version__} cannot run this model: {one_line(error)}; `pip install"
                " onnxruntime` runs more models"
            ) from error
        return [np.asarray(output) for output in outputs]
