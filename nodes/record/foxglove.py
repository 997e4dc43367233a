"""Samples in the schemas of Foxglove: pictures, and boxes around objects in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dora_rt.event import Event

from ..recorded import import_extra
from .annotations import annotates, make_annotations

if TYPE_CHECKING:
    from .recorder import PictureForm

_JPEG_QUALITY = 85
_BOX_COLUMNS = 6
_FILES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"RIFF": "webp"}
_CHANNELS = {3: "bgr8", 4: "bgra8"}
_TO_BGR = {"rgb8": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGBA2BGR, "bgra8": cv2.COLOR_BGRA2BGR}
_FONT_PIXELS = 14.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What Foxglove gets of an output: `name` ends the channel's name."""

    name: str
    register: Callable[[Any], int]
    make: Callable[[Event, int], bytes | None]


def showing(event: Event, form: PictureForm, source: str) -> Shown | None:
    """Decide by the first sample of an output what Foxglove gets of it; None: nothing.

    Raises:
        ExtraMissingError: the extra `record` is not installed.
    """
    frame = source.partition("/")[0]
    if annotates(source, event):
        annotations = import_extra(_import_annotations)
        return Shown(
            "annotations",
            lambda writer: _register(writer, annotations),
            lambda event, wall_ns: make_annotations(annotations, source, event, wall_ns),
        )
    if is_boxes(event):
        schema = import_extra(_import_annotations)
        return Shown("boxes", lambda writer: _register(writer, schema), _boxes)
    if form.value == "none" or (_file_format(event.value) is None and _encoding(event) is None):
        return None
    if form.value == "raw" and _file_format(event.value) is None:
        raw = import_extra(_import_raw)
        make = _RawPictures(raw, frame)
        return Shown("picture", lambda writer: _register(writer, raw), make)
    compressed = import_extra(_import_compressed)
    pictures = _Pictures(compressed, frame)
    return Shown("picture", lambda writer: _register(writer, compressed), pictures)


def is_boxes(event: Event) -> bool:
    """Return whether a sample is N x 6 numbers, with the names of classes in its metadata."""
    value = event.value
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 2
        and value.shape[1] == _BOX_COLUMNS
        and value.dtype.kind == "f"
        and isinstance(event.metadata.get("labels"), list)
    )


def _encoding(event: Event) -> str | None:
    """Name the layout of pixels; None if it is no picture."""
    value = event.value
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or not value.size:
        return None
    encoding = event.metadata.get("encoding")
    if value.ndim == 2:
        return "mono8" if encoding == "mono8" else None
    if value.ndim != 3 or value.shape[2] not in _CHANNELS:
        return None
    known = {3: ("bgr8", "rgb8"), 4: ("bgra8", "rgba8")}[value.shape[2]]
    return encoding if encoding in known else _CHANNELS[value.shape[2]]


def _file_format(value: Any) -> str | None:
    """Name the format of a picture in a file; None if it is none."""
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype != np.uint8:
            return None
        value = value[:16].tobytes()
    if not isinstance(value, bytes):
        return None
    return next((name for magic, name in _FILES.items() if value.startswith(magic)), None)


class _Pictures:
    def __init__(self, schema: Any, frame: str) -> None:
        self._schema = schema
        self._frame = frame

    def __call__(self, event: Event, wall_ns: int) -> bytes | None:
        file_format = _file_format(event.value)
        if file_format is not None:
            return self._message(event, wall_ns, bytes(event.value), file_format)
        encoding = _encoding(event)
        if encoding is None:
            return None
        image = event.value
        if encoding in _TO_BGR:
            image = cv2.cvtColor(image, _TO_BGR[encoding])
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        is_encoded, jpeg = cv2.imencode(".jpg", image, quality)
        return self._message(event, wall_ns, jpeg.tobytes(), "jpeg") if is_encoded else None

    def _message(self, event: Event, wall_ns: int, data: bytes, file_format: str) -> bytes:
        message = self._schema(frame_id=self._frame, data=data, format=file_format)
        message.timestamp.FromNanoseconds(event.origin_ns + wall_ns)
        return bytes(message.SerializeToString())


class _RawPictures:
    def __init__(self, schema: Any, frame: str) -> None:
        self._schema = schema
        self._frame = frame

    def __call__(self, event: Event, wall_ns: int) -> bytes | None:
        encoding = _encoding(event)
        if encoding is None:
            return None
        height, width = event.value.shape[:2]
        message = self._schema(
            frame_id=self._frame,
            width=width,
            height=height,
            encoding=encoding,
            step=event.value.nbytes // height,
            data=event.value.tobytes(),
        )
        message.timestamp.FromNanoseconds(event.origin_ns + wall_ns)
        return bytes(message.SerializeToString())


def _boxes(event: Event, wall_ns: int) -> bytes | None:
    """Return boxes as annotations; Foxglove pairs them with the picture of the same time."""
    if not is_boxes(event):
        return None
    from ..plot.drawing import class_colour, label_of

    annotations = import_extra(_import_annotations)()
    time_ns = event.origin_ns + wall_ns
    annotations.timestamp.FromNanoseconds(time_ns)
    labels = [str(label) for label in event.metadata["labels"]]
    boxes = event.value[np.isfinite(event.value).all(axis=1)]
    for x1, y1, x2, y2, confidence, number in boxes.tolist():
        blue, green, red = (part / 255 for part in class_colour(int(number)))
        colour = {"r": red, "g": green, "b": blue, "a": 1.0}
        points = annotations.points.add(
            type="LINE_LOOP",
            points=[{"x": x, "y": y} for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))],
            outline_color=colour,
            thickness=2.0,
        )
        points.timestamp.FromNanoseconds(time_ns)
        text = annotations.texts.add(
            text=f"{label_of(int(number), labels)} {confidence:.2f}",
            position={"x": x1, "y": y1},
            font_size=_FONT_PIXELS,
            text_color={"r": 0.0, "g": 0.0, "b": 0.0, "a": 1.0},
            background_color=colour,
        )
        text.timestamp.FromNanoseconds(time_ns)
    return bytes(annotations.SerializeToString())


def _register(writer: Any, schema: Any) -> int:
    return int(import_extra(_import_schema).register_schema(writer, schema))


def _import_schema() -> Any:
    import mcap_protobuf.schema

    return mcap_protobuf.schema


def _import_annotations() -> Any:
    from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations

    return ImageAnnotations


def _import_compressed() -> Any:
    from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage

    return CompressedImage


def _import_raw() -> Any:
    from foxglove_schemas_protobuf.RawImage_pb2 import RawImage

    return RawImage
