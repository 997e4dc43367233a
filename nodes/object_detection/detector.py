"""Find objects in pictures with a YOLO network in an ONNX file."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .boxes import onto_frame, sort_by_confidence, suppress
from .coco import COCO_LABELS
from .errors import ModelError
from .layout import Decoder, Layout
from .letterbox import Letterbox
from .networks import Network, open_network
from .onnx_file import OnnxFacts, read_onnx_facts

DEFAULT_INPUT_SIZE = 640


def load_detector(
    model_path: Path,
    backend: str = "auto",
    *,
    labels: Sequence[str] | None = None,
    confidence: float = 0.3,
    iou: float = 0.45,
    device: str = "auto",
    threads: int | None = None,
    input_size: int = DEFAULT_INPUT_SIZE,
) -> Detector:
    """Load a model, find out how it writes its boxes, and run it once to warm it up.

    Args:
        model_path: an ONNX file of YOLOX, YOLOv5, YOLOv8, YOLO11, YOLOv10 or YOLO26.
        backend: one of `networks.BACKENDS`.
        labels: the class names; None for those of the file's metadata (`names`, as ultralytics
            writes it), else COCO's for a model of 80 classes, else the numbers of the classes.
        confidence: least confidence of a box, 0 to 1.
        iou: two boxes of a class that overlap by more than this (0 to 1) are one object.
        device: one of `networks.DEVICES`.
        threads: processor threads; None for as many as the backend likes.
        input_size: height and width in pixels, used only where the file leaves them open.

    Raises:
        ModelError: the file, or an argument, is not one that can be used; the message says why.
    """
    for name, fraction in (("confidence", confidence), ("iou", iou)):
        if not 0 <= fraction <= 1:
            raise ModelError(f"got a {name} of {fraction}, expected a number from 0 to 1")
    facts = read_onnx_facts(model_path)
    height, width = _input_size(model_path, facts, input_size)
    network = open_network(model_path, facts, backend, device=device, threads=threads)
    output_shape = _warm_up(network, facts, height, width, model_path)
    named = _labels_in(facts)
    try:
        decoder = Decoder.create(output_shape, height, width, named_classes=len(named))
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from error
    return Detector(
        model_path,
        network,
        decoder,
        Letterbox(
            height,
            width,
            is_rgb=decoder.layout.is_rgb,
            scale=decoder.layout.scale,
            dtype=facts.input_dtype,
        ),
        labels=_choose_labels(model_path, labels, named, decoder.class_count),
        confidence=confidence,
        iou=iou,
    )


class Detector:
    """A loaded model that looks at one frame at a time; not for several threads at once.

    Attributes:
        model_path: the ONNX file.
        labels: the class names, by class number; empty where they are unknown.
        backend: "onnxruntime" or "opencv".
        provider: what really computes, for example "CPUExecutionProvider".
        layout: how the network writes its boxes.
    """

    def __init__(
        self,
        model_path: Path,
        network: Network,
        decoder: Decoder,
        letterbox: Letterbox,
        *,
        labels: tuple[str, ...],
        confidence: float,
        iou: float,
    ) -> None:
        self.model_path = model_path
        self.labels = labels
        self.backend = network.backend
        self.provider = network.provider
        self.layout: Layout = decoder.layout
        self._network = network
        self._decoder = decoder
        self._letterbox = letterbox
        self._confidence = confidence
        self._iou = iou

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""
        height, width = self._letterbox.blob.shape[2:]
        return height, width

    def detect(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the objects in a frame.

        Args:
            frame: H x W x 3 BGR, H x W grey or H x W x 4 BGRA, uint8.

        Returns:
            N x 6 float32, C-contiguous, highest confidence first: x1, y1, x2, y2 in pixels of the
            frame and clipped to it, confidence, class number.

        Raises:
            FrameError: the frame is none of these, or is empty.
        """
        ratio = self._letterbox.fit(frame)
        raw = self._network.run(self._letterbox.blob)
        boxes = self._decoder.candidates(raw, self._confidence)
        if self.layout.needs_suppression:
            boxes = suppress(boxes, self._iou)
        else:
            boxes = sort_by_confidence(boxes)
        return onto_frame(boxes, ratio, frame.shape[0], frame.shape[1])

    def label(self, class_number: int) -> str:
        """Return the name of a class, or its number where the name is not known."""
        if 0 <= class_number < len(self.labels):
            return self.labels[class_number]
        return str(class_number)


def _input_size(model_path: Path, facts: OnnxFacts, default: int) -> tuple[int, int]:
    shape = facts.input_shape
    if len(shape) != 4 or shape[0] not in (1, None) or shape[1] not in (3, None):
        raise ModelError(
            f"{model_path}: the input {facts.input_name!r} has the shape {_spell(shape)}, expected"
            " [1, 3, height, width]: export the model for a batch of one picture, channels first"
        )
    if default < 32 or default % 32:
        raise ModelError(f"got an input size of {default}, expected a multiple of 32")
    return shape[2] or default, shape[3] or default


def _spell(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _warm_up(
    network: Network, facts: OnnxFacts, height: int, width: int, model_path: Path
) -> tuple[int, ...]:
    """Run the network once, so that errors show now, and return its output's shape."""
    blob = np.zeros((1, 3, height, width), facts.input_dtype)
    try:
        return network.run(blob).shape
    except ModelError as error:
        raise ModelError(f"{model_path}: with an input of {width} x {height}: {error}") from error


def _labels_in(facts: OnnxFacts) -> tuple[str, ...]:
    """Return the class names in the metadata, or none; ultralytics writes a dict literal."""
    try:
        names = ast.literal_eval(facts.metadata.get("names", ""))
    except (ValueError, SyntaxError):
        return ()
    if isinstance(names, dict):
        names = [names.get(number, str(number)) for number in range(len(names))]
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def _choose_labels(
    model_path: Path,
    labels: Sequence[str] | None,
    named: tuple[str, ...],
    class_count: int | None,
) -> tuple[str, ...]:
    if labels is not None:
        if class_count is not None and len(labels) != class_count:
            raise ModelError(
                f"{model_path}: got {len(labels)} labels, expected {class_count}, one for each"
                " class of the model"
            )
        return tuple(labels)
    if named and class_count in (len(named), None):
        return named
    if class_count == len(COCO_LABELS):
        return COCO_LABELS
    return tuple(str(number) for number in range(class_count or 0))
