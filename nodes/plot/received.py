"""Read the inputs of any sender: `image`, `bbox`, and what models find beyond boxes."""

from __future__ import annotations

from dora_rt.detections import Detections, read_found
from dora_rt.event import Event
from dora_rt.picture import Image, picture_of
from dora_rt.picture_matcher import Finding, Picture


def read_picture(event: Event) -> Picture[Event]:
    """Return a received picture for the matcher, not decoded."""
    value = event.value
    nbytes = len(value) if isinstance(value, bytes) else int(getattr(value, "nbytes", 0))
    return Picture(event.origin_ns, event, event.sent_ns, event.seq, nbytes)


def read_finding(event: Event) -> Finding[Detections]:
    """Return for the matcher what was found: boxes, or what the input is named for.

    Raises:
        NoBoxesError: it holds something else.
        CorruptSampleError: its metadata were overwritten in shared memory.
    """
    found = read_found(event.id, event.value, event.metadata)
    return Finding(event.origin_ns, found, event.sent_ns, found.picture_seq)


def decode(event: Event) -> Image:
    """Return the picture as H x W x 3 uint8 BGR; read-only where it is the shared memory itself.

    Raises:
        NoPictureError: it is no picture.
        CorruptSampleError: its metadata were overwritten in shared memory.
    """
    return picture_of(event.value, event.metadata)
