"""A sample on its way to a tool on another machine, as values of JSON; pictures go as JPEG."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from dora_rt.errors import CorruptSampleError, DoraRtError
from dora_rt.event import Event
from dora_rt.live.sample_text import line_of, summarise
from dora_rt.picture import NoPictureError, picture_of

LARGEST_NBYTES = 256 * 1024
"""What is larger, and no picture, does not cross for a tool."""
_PICTURE_NBYTES = 16 * 1024  # smaller ones cross as they are
_WIDEST = 1280
_QUALITY = 80
_KINDS = "biufc"


class TooLargeError(DoraRtError):
    """A sample is too large to be looked at from another machine."""


def encode_value(event: Event) -> dict[str, Any]:
    """Return a sample with its value.

    Raises:
        TooLargeError: it is too large, and no picture.
    """
    value = event.value
    if hasattr(value, "to_numpy"):
        value = value.to_numpy(zero_copy_only=False)
    fields: dict[str, Any] = {
        "seq": event.seq,
        "sent_ns": event.sent_ns,
        "origin_ns": event.origin_ns,
        "metadata": event.metadata_json.decode(errors="replace"),
    }
    nbytes = len(value) if isinstance(value, bytes) else value.nbytes
    if nbytes > _PICTURE_NBYTES and (jpeg := _as_jpeg(event)) is not None:
        return {**fields, "jpeg": _as_text(jpeg)}
    if nbytes > LARGEST_NBYTES:
        raise TooLargeError(
            f"a sample of {nbytes:,} bytes is too large to look at from another machine, up to "
            f"{LARGEST_NBYTES:,} are not: look at it there"
        )
    if isinstance(value, bytes):
        return {**fields, "bytes": _as_text(value)}
    if value.dtype.kind not in _KINDS:
        raise TooLargeError(f"{value.dtype} of Arrow cannot be looked at from another machine")
    content = _as_text(np.ascontiguousarray(value).tobytes())
    return {**fields, "array": content, "dtype": value.dtype.str, "shape": list(value.shape)}


def encode_text(event: Event, *, has_all: bool) -> dict[str, Any]:
    """Return a sample as text.

    Raises:
        TooLargeError: it is too large.
    """
    fields = summarise(event, has_all=has_all)
    line = line_of(fields, event, has_all=has_all)
    if len(line) > LARGEST_NBYTES:
        raise TooLargeError(
            f"{event.id} has too many values to be shown on another machine: look at it there"
        )
    return {"seq": event.seq, "fields": fields, "line": line}


def decode_value(source: str, fields: Mapping[str, Any], *, dropped: int, offset_ns: int) -> Event:
    """Read what `encode_value` returned.

    Args:
        source: the id of the event.
        fields: what came; nothing in it is trusted.
        dropped: samples missed since the one before.
        offset_ns: the clock there minus the clock here.

    Raises:
        CorruptSampleError: it is none.
    """
    try:
        value: Any
        metadata = str(fields["metadata"])
        if "jpeg" in fields:
            value = base64.b64decode(fields["jpeg"])
            # What it said of pixels is not true of a file.
            told = dict(json.loads(metadata or "{}").items())
            kept = {key: told[key] for key in told if key not in ("encoding", "width", "height")}
            metadata = json.dumps({**kept, "encoding": "jpeg"})
        elif "bytes" in fields:
            value = base64.b64decode(fields["bytes"])
        else:
            dtype = np.dtype(str(fields["dtype"]))
            if dtype.kind not in _KINDS:
                raise ValueError(f"an array of {dtype}")
            content = base64.b64decode(fields["array"])
            value = np.frombuffer(content, dtype).reshape([int(n) for n in fields["shape"]])
        seq, sent_ns, origin_ns = (int(fields[name]) for name in ("seq", "sent_ns", "origin_ns"))
    except (KeyError, TypeError, ValueError, binascii.Error, AttributeError) as error:
        raise CorruptSampleError(f"{source}: what came is no sample: {error}") from error
    return Event(
        source,
        value,
        metadata.encode(),
        seq=seq,
        dropped=dropped,
        sent_ns=sent_ns - offset_ns,
        origin_ns=origin_ns - offset_ns,
        copied=True,
    )


def _as_jpeg(event: Event) -> bytes | None:
    # Here: a tool that looks at numbers needs no OpenCV.
    import cv2

    try:
        pixels = picture_of(event.value, event.metadata)
    except (NoPictureError, CorruptSampleError):
        return None
    height, width = pixels.shape[:2]
    if width > _WIDEST:
        size = (_WIDEST, max(1, round(height * _WIDEST / width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    is_done, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(jpeg) if is_done else None


def _as_text(content: bytes) -> str:
    return base64.b64encode(content).decode()
