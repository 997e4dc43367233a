"""Samples in the schemas of Foxglove: pictures, and boxes around objects in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dora_rt.detections import (
    BOX_COLUMNS,
    Boxes,
    NoBoxesError,
    boxes_of,
    ids_of,
    label_of,
    labels_of,
    numbered,
)
from dora_rt.event import Event
from dora_rt.picture import NoPictureError, PictureFile, Pixels, picture_of, read_picture

from ..class_colours import class_colour
from ..recorded import import_extra
from .annotations import annotates, make_annotations

if TYPE_CHECKING:
    from .recorder import PictureForm

_JPEG_QUALITY = 85
# What Foxglove decodes itself.
_FILES = ("jpeg", "png", "webp")
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
    picture = None if form.value == "none" else _picture(event)
    if picture is None:
        return None
    if form.value == "raw" and isinstance(picture, Pixels):
        raw = import_extra(_import_raw)
        make = _RawPictures(raw, frame)
        return Shown("picture", lambda writer: _register(writer, raw), make)
    compressed = import_extra(_import_compressed)
    pictures = _Pictures(compressed, frame)
    return Shown("picture", lambda writer: _register(writer, compressed), pictures)


def is_boxes(event: Event) -> bool:
    """Return whether a sample is a table of boxes, with the names of classes in its metadata."""
    value = event.value
    is_table = (
        isinstance(value, np.ndarray)
        and value.dtype.kind == "f"
        and (value.ndim == 1 or value.shape[-1:] == (BOX_COLUMNS,))
        and isinstance(event.metadata.get("labels"), list)
    )
    return is_table and _boxes_in(event) is not None


def _boxes_in(event: Event) -> Boxes | None:
    try:
        return boxes_of(event.value)
    except NoBoxesError:
        return None


def _picture(event: Event) -> Pixels | PictureFile | None:
    """Return a picture as it was sent; None if it is none: a plain matrix is rather numbers."""
    if getattr(event.value, "ndim", 1) == 2 and "encoding" not in event.metadata:
        return None
    try:
        return read_picture(event.value, event.metadata)
    except NoPictureError:
        return None


class _Pictures:
    def __init__(self, schema: Any, frame: str) -> None:
        self._schema = schema
        self._frame = frame

    def __call__(self, event: Event, wall_ns: int) -> bytes | None:
        found = _picture(event)
        if found is None:
            return None
        # A photo that lies on its side goes upright, as its boxes are.
        if isinstance(found, PictureFile) and found.kind in _FILES and not found.is_turned:
            return self._message(event, wall_ns, bytes(found.content), found.kind)
        try:
            image = picture_of(event.value, event.metadata)
        except NoPictureError:
            return None
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
        found = _picture(event)
        if not isinstance(found, Pixels):
            return None
        width, height = found.size
        message = self._schema(
            frame_id=self._frame,
            width=width,
            height=height,
            encoding=found.encoding,
            step=found.array.nbytes // height,
            data=found.array.tobytes(),
        )
        message.timestamp.FromNanoseconds(event.origin_ns + wall_ns)
        return bytes(message.SerializeToString())


def _boxes(event: Event, wall_ns: int) -> bytes | None:
    """Return boxes as annotations; Foxglove pairs them with the picture of the same time."""
    found = _boxes_in(event)
    if found is None:
        return None
    annotations = import_extra(_import_annotations)()
    time_ns = event.origin_ns + wall_ns
    annotations.timestamp.FromNanoseconds(time_ns)
    labels = labels_of(event.metadata)
    ids = ids_of(event.metadata, len(found))
    for index, (x1, y1, x2, y2, confidence, number) in enumerate(found.tolist()):
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
            text=f"{numbered(label_of(int(number), labels), ids, index)} {confidence:.2f}",
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
