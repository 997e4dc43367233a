"""Motions, poses, text and plain numbers of ROS 2 as arrays and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .native_values import (
    FRAME_ID,
    STAMP_NS,
    Conversion,
    Native,
    ToMessage,
    ToNative,
    ValueMismatchError,
    Values,
    covariance_metadata,
    from_ns,
    header_metadata,
    kind_of,
    numbers,
    rows,
    text,
    to_ns,
)

_XYZ = ("x", "y", "z")
_XYZW = ("x", "y", "z", "w")
_POSE = (("position", _XYZ), ("orientation", _XYZW))
_TRANSFORM = (("translation", _XYZ), ("rotation", _XYZW))
_TWIST = (("linear", _XYZ), ("angular", _XYZ))
_WRENCH = (("force", _XYZ), ("torque", _XYZ))
_NUMBERS = {
    **{f"Int{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{"Float32": "float32", "Float64": "float64", "Bool": "bool", "Byte": "uint8"},
    "Char": "uint8",
}

Layout = Sequence[tuple[str, Sequence[str]]]


def make_conversions() -> dict[str, Conversion]:
    """Return the conversions, by the full names of the messages."""
    found: dict[str, Conversion] = {}
    geometry = "geometry_msgs/msg"
    for name, layout in {
        "Pose": _POSE,
        "Transform": _TRANSFORM,
        "Twist": _TWIST,
        "Accel": _TWIST,
        "Wrench": _WRENCH,
    }.items():
        inner = name.lower()
        read, write = _reader(layout), _writer(layout)
        found[f"{geometry}/{name}"] = _of_struct(read, write)
        found[f"{geometry}/{name}Stamped"] = _within(inner, read, write)
        found[f"{geometry}/{name}WithCovariance"] = _with_covariance(inner, read, write)
        found[f"{geometry}/{name}WithCovarianceStamped"] = _nested(
            inner, _with_covariance(inner, read, write)
        )
    for name, parts in {"Vector3": _XYZ, "Point": _XYZ, "Quaternion": _XYZW}.items():
        read, write = _flat_reader(parts), _flat_writer(parts)
        inner = {"Vector3": "vector"}.get(name, name.lower())
        found[f"{geometry}/{name}"] = _of_struct(read, write)
        found[f"{geometry}/{name}Stamped"] = _within(inner, read, write)
    found[f"{geometry}/TransformStamped"] = Conversion(_from_transform, _to_transform)
    found[f"{geometry}/PoseArray"] = Conversion(_from_poses, _to_poses)
    found["nav_msgs/msg/Path"] = Conversion(_from_path, _to_path)
    found["nav_msgs/msg/Odometry"] = Conversion(_from_odometry, _to_odometry)
    found["tf2_msgs/msg/TFMessage"] = Conversion(_from_tf, _to_tf)
    for package in ("std_msgs", "example_interfaces"):
        found[f"{package}/msg/String"] = Conversion(_from_text, _to_text)
        for name, dtype in _NUMBERS.items():
            found[f"{package}/msg/{name}"] = _one_number(dtype)
            found[f"{package}/msg/{name}MultiArray"] = _many_numbers(dtype)
    found["rosgraph_msgs/msg/Clock"] = Conversion(
        lambda values: _moment(values["clock"]),
        lambda value, metadata, header: {"clock": _to_moment(value)},
    )
    for name in ("Time", "Duration"):
        found[f"builtin_interfaces/msg/{name}"] = Conversion(
            _moment, lambda value, metadata, header: _to_moment(value)
        )
    return found


Read = Callable[[Values], list[float]]
Write = Callable[[NDArray[np.float64]], Values]


def _reader(layout: Layout) -> Read:
    return lambda values: [values[part][name] for part, names in layout for name in names]


def _writer(layout: Layout) -> Write:
    count = sum(len(names) for _, names in layout)

    def write(value: NDArray[np.float64]) -> Values:
        flat = iter(numbers(value, count).tolist())
        return {part: {name: next(flat) for name in names} for part, names in layout}

    if layout is not _TWIST:
        return write

    def write_twist(value: NDArray[np.float64]) -> Values:
        # What drives on wheels has two: forwards, and turning to the left.
        if isinstance(value, np.ndarray) and value.size == 2:
            forwards, turn = numbers(value, 2).tolist()
            return {"linear": {"x": forwards}, "angular": {"z": turn}}
        return write(value)

    return write_twist


def _flat_reader(names: Sequence[str]) -> Read:
    return lambda values: [values[name] for name in names]


def _flat_writer(names: Sequence[str]) -> Write:
    return lambda value: dict(zip(names, numbers(value, len(names)).tolist(), strict=True))


def _of_struct(read: Read, write: Write) -> Conversion:
    return Conversion(
        lambda values: Native(np.array(read(values))),
        lambda value, metadata, header: write(value),
    )


def _within(inner: str, read: Read, write: Write) -> Conversion:
    return Conversion(
        lambda values: Native(np.array(read(values[inner]))),
        lambda value, metadata, header: {inner: write(value)},
    )


def _with_covariance(inner: str, read: Read, write: Write) -> Conversion:
    def to_message(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
        return {inner: write(value), **_covariance(metadata, "covariance", "covariance")}

    return Conversion(
        lambda values: Native(
            np.array(read(values[inner])), covariance_metadata(values, "covariance")
        ),
        to_message,
    )


def _nested(inner: str, conversion: Conversion) -> Conversion:
    to_native: ToNative = lambda values: conversion.to_native(values[inner])  # noqa: E731
    to_message: ToMessage = lambda value, metadata, header: {  # noqa: E731
        inner: conversion.to_message(value, metadata, header)
    }
    return Conversion(to_native, to_message)


def _covariance(metadata: Mapping[str, Any], key: str, name: str) -> Values:
    found = metadata.get(key)
    return {name: found} if isinstance(found, (list, tuple)) else {}


_read_pose, _write_pose = _reader(_POSE), _writer(_POSE)
_read_twist, _write_twist = _reader(_TWIST), _writer(_TWIST)
_read_transform, _write_transform = _reader(_TRANSFORM), _writer(_TRANSFORM)


def _from_poses(values: Values) -> Native:
    found = [_read_pose(one) for one in values["poses"]]
    return Native(np.array(found, np.float64).reshape(-1, 7))


def _to_poses(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    return {"poses": [_write_pose(row) for row in rows(value, 7)]}


def _from_path(values: Values) -> Native:
    found = [_read_pose(one["pose"]) for one in values["poses"]]
    return Native(np.array(found, np.float64).reshape(-1, 7))


def _to_path(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    return {"poses": [{"header": header, "pose": _write_pose(row)} for row in rows(value, 7)]}


def _from_odometry(values: Values) -> Native:
    pose, twist = values["pose"], values["twist"]
    metadata: Values = {"child_frame_id": values["child_frame_id"]}
    for key, part in {"pose_covariance": pose, "twist_covariance": twist}.items():
        if np.any(part["covariance"]):
            metadata[key] = part["covariance"].tolist()
    return Native(np.array(_read_pose(pose["pose"]) + _read_twist(twist["twist"])), metadata)


def _to_odometry(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    found = numbers(value, 7, 13)
    twist = found[7:] if found.size == 13 else np.zeros(6)
    return {
        "child_frame_id": str(metadata.get("child_frame_id", "base_link")),
        "pose": {
            "pose": _write_pose(found[:7]),
            **_covariance(metadata, "pose_covariance", "covariance"),
        },
        "twist": {
            "twist": _write_twist(twist),
            **_covariance(metadata, "twist_covariance", "covariance"),
        },
    }


def _from_transform(values: Values) -> Native:
    metadata = {"child_frame_id": values["child_frame_id"]}
    return Native(np.array(_read_transform(values["transform"])), metadata)


def _to_transform(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    child = metadata.get("child_frame_id")
    if not isinstance(child, str):
        raise ValueMismatchError("a transform needs child_frame_id in its metadata")
    return {"child_frame_id": child, "transform": _write_transform(value)}


def _from_tf(values: Values) -> Native:
    transforms = values["transforms"]
    table = [_read_transform(one["transform"]) for one in transforms]
    return Native(
        np.array(table, np.float64).reshape(-1, 7),
        {
            "frames": [[one["header"]["frame_id"], one["child_frame_id"]] for one in transforms],
            "stamps_ns": [header_metadata(one["header"])[STAMP_NS] for one in transforms],
        },
    )


def _to_tf(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    table = rows(value, 7)
    frames = metadata.get("frames")
    if frames is None and len(table) == 1 and "child_frame_id" in metadata:
        frames = [[metadata.get(FRAME_ID, header["frame_id"]), metadata["child_frame_id"]]]
    is_right = isinstance(frames, list) and len(frames) == len(table)
    if not is_right or not all(isinstance(pair, list) and len(pair) == 2 for pair in frames or ()):
        raise ValueMismatchError(
            f"{len(table)} transforms need as many pairs [parent, child] in the metadata frames"
        )
    stamps = metadata.get("stamps_ns")
    if not isinstance(stamps, list) or len(stamps) != len(table):
        stamps = [to_ns(header["stamp"])] * len(table)
    return {
        "transforms": [
            {
                "header": {"stamp": from_ns(int(stamp)), "frame_id": str(parent)},
                "child_frame_id": str(child),
                "transform": _write_transform(row),
            }
            for row, (parent, child), stamp in zip(table, frames or (), stamps, strict=True)
        ]
    }


def _from_text(values: Values) -> Native:
    return Native(values["data"].encode(errors="replace"))


def _to_text(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    return {"data": text(value)}


def _one_number(dtype: str) -> Conversion:
    def to_message(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
        if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "biuf":
            raise ValueMismatchError(f"expected one number, got {kind_of(value)}")
        return {"data": value.reshape(-1)[0].item()}

    return Conversion(lambda values: Native(np.array([values["data"]], dtype)), to_message)


def _many_numbers(dtype: str) -> Conversion:
    def to_native(values: Values) -> Native:
        found, shape = values["data"], [one["size"] for one in values["layout"]["dim"]]
        does_fit = bool(shape) and int(np.prod(shape)) == found.size
        return Native(found.reshape(shape) if does_fit else found)

    def to_message(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise ValueMismatchError(f"expected numbers, got {kind_of(value)}")
        strides = [int(np.prod(value.shape[axis:])) for axis in range(value.ndim)]
        dims = [
            {"label": f"dim{axis}", "size": size, "stride": strides[axis]}
            for axis, size in enumerate(value.shape)
        ]
        return {"layout": {"dim": dims if value.ndim > 1 else []}, "data": value}

    return Conversion(to_native, to_message)


def _moment(values: Values) -> Native:
    return Native(np.array([to_ns(values)], np.int64))


def _to_moment(value: Any) -> Values:
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "iu":
        raise ValueMismatchError(f"expected one number of nanoseconds, got {kind_of(value)}")
    return from_ns(int(value.reshape(-1)[0]))
