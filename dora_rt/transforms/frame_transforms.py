"""Transforms between named frames, and the samples in which nodes send them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import TransformError
from dora_rt.transforms.rigid_transform import Transform

_VALUES = 7


@dataclass(frozen=True, slots=True)
class FrameTransform:
    """The place of one frame in its parent, at one time; it takes points of `child` to `parent`.

    Attributes:
        parent: name of the frame around it.
        child: name of the frame.
        transform: from `child` to `parent`.
        time_ns: when it was there; None: always.
    """

    parent: str
    child: str
    transform: Transform
    time_ns: int | None = None


def encode(transforms: Sequence[FrameTransform]) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return the value and the metadata with which a node sends transforms.

    The value is N x 7: x, y, z and the quaternion x, y, z, w.
    """
    values = np.zeros((len(transforms), _VALUES))
    for row, one in enumerate(transforms):
        values[row, :3], values[row, 3:] = one.transform.translation, one.transform.rotation
    return values, {
        "parents": [one.parent for one in transforms],
        "children": [one.child for one in transforms],
        "times_ns": [one.time_ns for one in transforms],
    }


def decode(value: Any, metadata: dict[str, Any]) -> list[FrameTransform]:
    """Return the transforms of a sample that `encode` made.

    Raises:
        TransformError: it is none.
    """
    values = np.asarray(value)
    names = [metadata.get(key) for key in ("parents", "children", "times_ns")]
    is_whole = values.ndim == 2 and values.shape[1:] == (_VALUES,) and values.dtype.kind in "fiu"
    if not is_whole or not all(isinstance(one, list) and len(one) == len(values) for one in names):
        raise TransformError(
            "this is no sample of transforms: expected an array N x 7 and the metadata parents, "
            f"children and times_ns, got {values.dtype} {values.shape} and {sorted(metadata)}"
        )
    parents, children, times = names
    assert parents is not None and children is not None and times is not None, "they are lists"
    return [
        FrameTransform(parent, child, Transform(row[:3], row[3:]), time_ns)
        for row, parent, child, time_ns in zip(values, parents, children, times, strict=True)
    ]
