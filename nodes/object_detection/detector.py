"""Find objects in pictures with a network in an ONNX file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .box_layout import Layout, Outputs, Reading, Task
from .boxes import no_boxes, onto_frame, sort_by_confidence, suppress
from .coco import COCO_LABELS
from .decoder import Decoder, RawOutputs
from .errors import ModelError
from .found_objects import (
    Found,
    classes_of,
    keypoints_of,
    masks_of,
    oriented_onto_frame,
    suppress_oriented,
)
from .letterbox import Letterbox
from .model_notes import ModelNotes, read_notes
from .networks import Network, open_network
from .onnx_file import OnnxFacts, read_onnx_facts
from .other_formats import other_format
from .reading_choice import Wish, possible_readings
from .reading_trial import Trial
from .refused_layouts import recognise, refusal

DEFAULT_INPUT_SIZE = 640

_logger = logging.getLogger(__name__)


def load_detector(
    model_path: Path,
    backend: str = "auto",
    *,
    labels: Sequence[str] | None = None,
    confidence: float = 0.3,
    iou: float = 0.45,
    device: str = "auto",
    threads: int | None = None,
    input_size: int | None = None,
    layout: Layout | None = None,
    task: Task | None = None,
) -> Detector:
    """Load a model, find out how it writes its boxes, and run it once to warm it up.

    Args:
        model_path: an ONNX file in one of the layouts of `box_layout.Layout`.
        backend: one of `networks.BACKENDS`.
        labels: the class names; None for those of the file's metadata (`names`, as ultralytics
            writes it), else COCO's for a model of 80 classes, else the numbers of the classes.
        confidence: least confidence of a box, 0 to 1.
        iou: two boxes of a class that overlap by more than this (0 to 1) are one object.
        device: one of `networks.DEVICES`.
        threads: processor threads; None for as many as the backend likes.
        input_size: height and width in pixels, used only where the file leaves them open; None
            for the size in its metadata, else 640.
        layout: how it writes its boxes; None to find out.
        task: what it finds; None to find out.

    Raises:
        ModelError: the file, or an argument, is not one that can be used; the message says why.
    """
    for name, fraction in (("confidence", confidence), ("iou", iou)):
        if not 0 <= fraction <= 1:
            raise ModelError(f"got a {name} of {fraction}, expected a number from 0 to 1")
    if (other := other_format(model_path)) is not None:
        raise ModelError(f"{model_path} is {other}")
    facts = read_onnx_facts(model_path)
    try:
        notes = read_notes(facts.metadata)
        form = _input_form(facts, notes, input_size)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from error
    network = open_network(
        model_path, facts, backend, shape=form.shape, device=device, threads=threads
    )
    raw = _warm_up(network, facts, form, model_path)
    names = facts.output_names
    outputs = Outputs(names, tuple(output.shape for output in raw), form.height, form.width)
    wish = Wish(layout, task, None if labels is None else len(labels))
    readings = possible_readings(outputs, notes, wish)
    try:
        if not readings:
            raise ModelError(_no_reading(outputs, notes, wish))
        trial = Trial(
            [Decoder(one, names, form.height, form.width, form.batch) for one in readings],
            (form.height, form.width),
            is_wished=layout is not None,
        )
        _first_look(trial, raw, outputs)
        named = _choose_labels(labels, notes.names, trial.decoder.reading.class_count)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from error
    class_count = trial.decoder.reading.class_count
    if labels is None and notes.names and class_count not in (len(notes.names), None):
        _logger.warning(
            "%s: its file has the names of %d classes, but its output has %d: they are called by"
            " their numbers; --labels gives them names",
            model_path.name,
            len(notes.names),
            class_count,
        )
    return Detector(
        model_path, network, facts, form, trial, labels=named, confidence=confidence, iou=iou
    )


class Detector:
    """A loaded model that looks at one frame at a time; not for several threads at once.

    Attributes:
        model_path: the ONNX file.
        labels: the class names, by class number; empty where they are unknown.
        backend: "onnxruntime" or "opencv".
        provider: what really computes, for example "CPUExecutionProvider".
    """

    def __init__(
        self,
        model_path: Path,
        network: Network,
        facts: OnnxFacts,
        form: _InputForm,
        trial: Trial,
        *,
        labels: tuple[str, ...],
        confidence: float,
        iou: float,
    ) -> None:
        self.model_path = model_path
        self.labels = labels
        self.backend = network.backend
        self.provider = network.provider
        self._network = network
        self._facts = facts
        self._form = form
        self._trial = trial
        self.confidence = confidence
        """Least confidence of a box; may be changed between two pictures."""
        self.iou = iou
        """Boxes of a class that overlap by more are one object; may be changed as well."""
        self._has_told_names = False
        self._letterbox = self._make_letterbox()

    @property
    def reading(self) -> Reading:
        """How the outputs of the network are understood."""
        return self._trial.decoder.reading

    @property
    def layout(self) -> Layout:
        """How the network writes its boxes."""
        return self.reading.layout

    @property
    def task(self) -> Task:
        """What the network finds."""
        return self.reading.task

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""
        return self._form.height, self._form.width

    def detect(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the objects in a frame.

        Args:
            frame: H x W x 3 BGR, H x W grey or H x W x 4 BGRA, uint8.

        Returns:
            N x 6 float32, C-contiguous, highest confidence first: x1, y1, x2, y2 in pixels of the
            frame and clipped to it, confidence, class number.

        Raises:
            FrameError: the frame is none of these, or is empty.
            ModelError: the values show that the outputs of the network are not understood.
        """
        return self.look(frame, with_masks=False).boxes

    def look(self, frame: NDArray[np.uint8], *, with_masks: bool = True) -> Found:
        """Find all that the model finds in a frame: boxes, and masks or the like.

        Args:
            frame: as for `detect`.
            with_masks: whether masks are made; those of many objects take their time.

        Raises:
            FrameError: as `detect`.
            ModelError: as `detect`.
        """
        names = self._facts.output_names
        while True:
            ratios = self._letterbox.fit(frame)
            raw = self._network.run(self._letterbox.blob, names)
            if self.task is Task.CLASSIFY:
                return Found(no_boxes(), classes=classes_of(np.asarray(raw[0])[0]))
            before = self.reading
            try:
                found = self._trial.look(raw, self.confidence)
            except ModelError as error:
                raise ModelError(f"{self.model_path}: {error}") from error
            if found is not None:
                return self._place(found, raw, ratios, frame, with_masks=with_masks)
            _logger.warning(
                "%s: %s. It is read as %s from now on; --layout %s does so from the start",
                self.model_path.name,
                self._trial.reason,
                self.reading,
                self.layout.value,
            )
            if before.class_count != self.reading.class_count:
                self.labels = _choose_labels(None, self.labels, self.reading.class_count)
            # Another layout may be of a network that wants other colours.
            self._letterbox = self._make_letterbox()

    def label(self, class_number: int) -> str:
        """Return the name of a class, or its number where the name is not known."""
        if 0 <= class_number < len(self.labels):
            return self.labels[class_number]
        return str(class_number)

    def _place(
        self,
        candidates: NDArray[np.float32],
        raw: RawOutputs,
        ratios: tuple[float, float],
        frame: NDArray[np.uint8],
        *,
        with_masks: bool,
    ) -> Found:
        """Reduce candidates to what is in the frame."""
        size = frame.shape[0], frame.shape[1]
        reading = self.reading
        is_oriented = reading.task is Task.ORIENTED
        if not reading.layout.needs_suppression:
            candidates = sort_by_confidence(candidates)
        elif is_oriented:
            candidates = suppress_oriented(candidates, self.iou)
        else:
            candidates = suppress(candidates, self.iou)
        if is_oriented:
            boxes, oriented = oriented_onto_frame(candidates, ratios, *size)
            self._check_names(boxes[:, 5])
            return Found(boxes, oriented=oriented)
        placed = onto_frame(candidates, ratios, *size)
        self._check_names(placed[:, 5])
        boxes = np.ascontiguousarray(placed[:, :6])
        match reading.task:
            case Task.POSE:
                return Found(boxes, keypoints_of(placed, reading.keypoint_shape, ratios))
            case Task.SEGMENT if with_masks:
                assert reading.prototypes is not None
                prototypes = np.asarray(raw[reading.prototypes])[0].astype(np.float32)
                masks = masks_of(placed, prototypes, ratios, self.input_size, size)
                return Found(boxes, masks=masks)
            case _:
                return Found(boxes)

    def _check_names(self, classes: NDArray[np.float32]) -> None:
        """Tell once that a class has no name: the list of names is rather that of another model."""
        if not self.labels or self._has_told_names or not len(classes):
            return
        highest = int(classes.max())
        if highest >= len(self.labels):
            self._has_told_names = True
            _logger.warning(
                "%s found the class %d, but there are the names of only %d classes (%s ...): is"
                " this list of names that of another model?",
                self.model_path.name,
                highest,
                len(self.labels),
                ", ".join(self.labels[:3]),
            )

    def _make_letterbox(self) -> Letterbox:
        layout, form = self.layout, self._form
        return Letterbox(
            form.height,
            form.width,
            is_rgb=layout.is_rgb,
            scale=layout.scale,
            dtype=self._facts.input_dtype,
            fit=layout.fit,
            normalisation=layout.normalisation,
            batch=form.batch,
            channels=form.channels,
            is_channels_last=form.is_channels_last,
        )


@dataclass(frozen=True, slots=True)
class _InputForm:
    """The shape of a network's input."""

    batch: int
    channels: int
    height: int
    width: int
    is_channels_last: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the blob."""
        if self.is_channels_last:
            return (self.batch, self.height, self.width, self.channels)
        return (self.batch, self.channels, self.height, self.width)


def _input_form(facts: OnnxFacts, notes: ModelNotes, wished: int | None) -> _InputForm:
    """Return the shape of the input, with the open dimensions filled in.

    Raises:
        ModelError: it is no picture, or the wished size does not fit the model.
    """
    shape = facts.input_shape
    least = max(notes.stride, 32)
    if wished is not None and (wished < least or wished % least):
        raise ModelError(f"got an input size of {wished}, expected a multiple of {least}")
    is_channels_last = len(shape) == 4 and shape[1] not in (1, 3, None) and shape[3] in (1, 3)
    if is_channels_last:
        shape = (shape[0], shape[3], shape[1], shape[2])
    if len(shape) != 4 or shape[1] not in (1, 3, None):
        raise ModelError(
            f"the input {facts.input_name!r} has the shape {_spell(facts.input_shape)}, expected"
            " [1, 3, height, width]: export the model for pictures of three colours"
        )
    batch, channels, height, width = shape
    if batch is not None and batch > 1:
        _logger.warning(
            "this model takes %d pictures at once, and each call takes as long as %d: export it"
            " for one (batch=1), for here they come one by one",
            batch,
            batch,
        )
    default = notes.input_size or (DEFAULT_INPUT_SIZE, DEFAULT_INPUT_SIZE)
    if wished is not None:
        default = (wished, wished)
    return _InputForm(
        batch or 1, channels or 3, height or default[0], width or default[1], is_channels_last
    )


def _spell(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _warm_up(
    network: Network, facts: OnnxFacts, form: _InputForm, model_path: Path
) -> list[NDArray[np.generic]]:
    """Run the network once, so that errors show now, and return its outputs."""
    blob = np.zeros(form.shape, facts.input_dtype)
    try:
        return network.run(blob, facts.output_names)
    except ModelError as error:
        raise ModelError(
            f"{model_path}: with an input of {form.width} x {form.height}: {error}"
        ) from error


def _first_look(trial: Trial, raw: RawOutputs, outputs: Outputs) -> None:
    """Choose the reading by the values of the warm-up.

    Raises:
        ModelError: none fits; the message names the layout where that is known.
    """
    try:
        trial.look(raw)
    except ModelError as error:
        named = recognise(outputs)
        raise (error if named is None else ModelError(named)) from error


def _no_reading(outputs: Outputs, notes: ModelNotes, wish: Wish) -> str:
    """Say why there is no way to read the outputs."""
    if wish.layout is None and wish.task is None:
        return refusal(outputs, notes)
    wished = " ".join(
        f"--{word} {value.value}"
        for word, value in (("layout", wish.layout), ("task", wish.task))
        if value is not None
    )
    shapes = ", ".join(str(list(shape)) for shape in outputs.shapes)
    others = possible_readings(outputs, notes, Wish(class_count=wish.class_count))
    fitting = dict.fromkeys(reading.layout.value for reading in others)
    way_out = f"; those that fit: {', '.join(fitting)}" if fitting else ""
    return f"outputs of the shape {shapes} do not fit {wished}{way_out}"


def _choose_labels(
    labels: Sequence[str] | None, named: tuple[str, ...], class_count: int | None
) -> tuple[str, ...]:
    if labels is not None:
        expected = class_count or len(named)
        if expected and len(labels) != expected:
            raise ModelError(
                f"got {len(labels)} labels, expected {expected}, one for each class of the model"
            )
        return tuple(labels)
    if named and class_count in (len(named), None):
        return named
    if class_count == len(COCO_LABELS):
        return COCO_LABELS
    return tuple(str(number) for number in range(class_count or 0))
