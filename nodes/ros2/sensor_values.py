"""Pictures, detections, point clouds and other measurements of ROS 2 as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.detections import NoBoxesError, label_of, read_detections
from dora_rt.picture import NoPictureError, PictureFile, picture_of, read_picture

from .native_values import (
    Conversion,
    Native,
    ValueMismatchError,
    Values,
    covariance_metadata,
    kind_of,
    numbers,
)

_JPEG_QUALITY = 85
# By the encodings of ROS: dtype and channels.
_PIXELS = {
    **dict.fromkeys(("bgr8", "rgb8", "8UC3"), ("u1", 3)),
    **dict.fromkeys(("bgra8", "rgba8", "8UC4"), ("u1", 4)),
    **dict.fromkeys(("mono8", "8UC1"), ("u1", 1)),
    **dict.fromkeys(("mono16", "16UC1"), ("u2", 1)),
    "32FC1": ("f4", 1),
}
# The numbers of sensor_msgs/PointField.
_POINT_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_FLOAT32 = 7
_POINT_NAMES = ("x", "y", "z", "intensity")
_SCAN = (
    *("angle_min", "angle_max", "angle_increment", "time_increment"),
    *("scan_time", "range_min", "range_max"),
)
_IMU = (("orientation", "xyzw"), ("angular_velocity", "xyz"), ("linear_acceleration", "xyz"))
_JOINTS = ("position", "velocity", "effort")
_POSE = (("position", "xyz"), ("orientation", "xyzw"))


def make_conversions() -> dict[str, Conversion]:
    """Return the conversions, by the full names of the messages."""
    return {
        "sensor_msgs/msg/Image": Conversion(_from_image, _to_image),
        "sensor_msgs/msg/CompressedImage": Conversion(_from_compressed, _to_compressed),
        "sensor_msgs/msg/PointCloud2": Conversion(_from_points, _to_points),
        "sensor_msgs/msg/LaserScan": Conversion(_from_scan, _to_scan),
        "sensor_msgs/msg/Imu": Conversion(_from_imu, _to_imu),
        "sensor_msgs/msg/JointState": Conversion(_from_joints, _to_joints),
        "sensor_msgs/msg/NavSatFix": Conversion(_from_fix, _to_fix),
        "nav_msgs/msg/OccupancyGrid": Conversion(_from_grid, _to_grid),
        "vision_msgs/msg/Detection2DArray": Conversion(_from_detections, _to_detections),
    }


def _from_image(values: Values) -> Native:
    """Return the pixels as a view; of an encoding that nobody here knows, the bytes of the rows."""
    height, width, step = values["height"], values["width"], values["step"]
    content: NDArray[Any] = values["data"]
    if content.size < height * step:
        raise ValueMismatchError(
            f"an image of {content.size} bytes; {height} rows of {step} are {height * step}"
        )
    lines = content[: height * step].reshape(height, step)
    metadata = {"encoding": values["encoding"], "width": width, "height": height}
    dtype, channels = _PIXELS.get(values["encoding"], ("", 0))
    if not channels:
        return Native(lines, metadata)
    order = ">" if values["is_bigendian"] else "<"
    row_nbytes = width * channels * np.dtype(dtype).itemsize
    if row_nbytes > step:
        raise ValueMismatchError(f"rows of {step} bytes; {width} pixels have {row_nbytes}")
    pixels = np.ascontiguousarray(lines[:, :row_nbytes]).view(f"{order}{dtype}")
    if not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return Native(pixels if channels == 1 else pixels.reshape(height, width, channels), metadata)


def _to_image(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    pixels, encoding = _pixels(value, metadata)
    height, width = pixels.shape[:2]
    return {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": pixels.nbytes // height if height else 0,
        "data": np.ascontiguousarray(pixels).reshape(-1).view(np.uint8),
    }


def _pixels(value: Any, metadata: Mapping[str, Any]) -> tuple[NDArray[Any], str]:
    """Return pixels, and their encoding in the words of ROS."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype == np.float32:
        return value, "32FC1"
    try:
        found = read_picture(value, metadata)
        if isinstance(found, PictureFile):
            return picture_of(value, metadata), "bgr8"
    except NoPictureError as error:
        raise ValueMismatchError(str(error)) from error
    said = metadata.get("encoding")
    # A depth image is 16UC1 and no grey picture, though its numbers are the same.
    is_said = found.encoding == "mono16" and said == "16UC1"
    return found.array, "16UC1" if is_said else found.encoding


def _from_compressed(values: Values) -> Native:
    # ROS may say `bgr8; jpeg compressed bgr8`.
    words = values["format"].lower()
    kinds = [kind for kind in ("jpeg", "jpg", "png", "webp") if kind in words]
    return Native(values["data"], {"encoding": kinds[0].replace("jpg", "jpeg") if kinds else words})


def _to_compressed(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    import cv2

    try:
        found = read_picture(value, metadata)
        if isinstance(found, PictureFile):
            return {"format": found.kind, "data": found.content}
        picture = picture_of(value, metadata)
    except NoPictureError as error:
        raise ValueMismatchError(str(error)) from error
    is_made, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not is_made:
        raise ValueMismatchError(f"a picture of {picture.shape} cannot be a JPEG")
    return {"format": "jpeg", "data": jpeg.reshape(-1)}


def _from_points(values: Values) -> Native:
    """Return H x W x F or N x F numbers: float32 if all fields are, else float64."""
    fields, step = values["fields"], values["point_step"]
    height, width = values["height"], values["width"]
    order = ">" if values["is_bigendian"] else "<"
    try:
        dtype = np.dtype(
            {
                "names": [f"{number}" for number in range(len(fields))],
                "formats": [
                    f"({one['count']},){order}{_POINT_DTYPES[one['datatype']]}" for one in fields
                ],
                "offsets": [one["offset"] for one in fields],
                "itemsize": step,
            }
        )
        content = values["data"][: height * values["row_step"]].reshape(height, -1)
        points = np.ascontiguousarray(content[:, : width * step]).view(dtype)
    except (KeyError, ValueError) as error:
        raise ValueMismatchError(f"a cloud whose fields do not fit its bytes: {error}") from error
    is_plain = all(one["datatype"] == _FLOAT32 for one in fields)
    parts = [points[name] for name in dtype.names or ()]
    table = np.concatenate(parts, axis=-1, dtype=np.float32 if is_plain else np.float64)
    names = [
        one["name"] if one["count"] == 1 else f"{one['name']}[{index}]"
        for one in fields
        for index in range(one["count"])
    ]
    metadata = {"fields": names, "is_dense": bool(values["is_dense"])}
    return Native(table[0] if height == 1 else table, metadata)


def _to_points(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    is_cloud = isinstance(value, np.ndarray) and value.ndim in (2, 3) and value.dtype.kind == "f"
    if not is_cloud or value.shape[-1] < 1:
        raise ValueMismatchError(
            f"expected points of N x 3 or more floats, or H x W x 3, got {kind_of(value)}"
        )
    table = np.ascontiguousarray(value, np.float32)
    count = table.shape[-1]
    names = metadata.get("fields")
    if not isinstance(names, list) or len(names) != count:
        names = [*_POINT_NAMES, *(f"field{number}" for number in range(4, count))][:count]
    height, width = (1, len(table)) if table.ndim == 2 else table.shape[:2]
    return {
        "height": height,
        "width": width,
        "fields": [
            {"name": str(name), "offset": 4 * number, "datatype": _FLOAT32, "count": 1}
            for number, name in enumerate(names)
        ],
        "point_step": 4 * count,
        "row_step": 4 * count * width,
        "data": table.reshape(-1).view(np.uint8),
        "is_dense": bool(metadata.get("is_dense", np.isfinite(table).all())),
    }


def _from_scan(values: Values) -> Native:
    ranges, intensities = values["ranges"], values["intensities"]
    has_both = intensities.size == ranges.size and ranges.size > 0
    value = np.stack([ranges, intensities]) if has_both else ranges
    return Native(value, {name: values[name] for name in _SCAN})


def _to_scan(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        raise ValueMismatchError(f"expected N or 2 x N numbers, got {kind_of(value)}")
    if value.ndim not in (1, 2) or (value.ndim == 2 and len(value) != 2):
        raise ValueMismatchError(f"expected N or 2 x N numbers, got {kind_of(value)}")
    table = value.astype(np.float32)
    ranges = table if table.ndim == 1 else table[0]
    said = {name: metadata[name] for name in _SCAN if name in metadata}
    if "angle_increment" not in said and len(ranges) > 1:
        # All around, unless the sender says otherwise.
        low, high = said.get("angle_min", -math.pi), said.get("angle_max", math.pi)
        said |= {"angle_min": low, "angle_max": high}
        said["angle_increment"] = (high - low) / (len(ranges) - 1)
    said.setdefault("range_max", math.inf)
    return {**said, "ranges": ranges, "intensities": table[1] if table.ndim == 2 else []}


def _from_imu(values: Values) -> Native:
    found = [values[part][name] for part, names in _IMU for name in names]
    covariances = covariance_metadata(values, *(f"{part}_covariance" for part, _ in _IMU))
    return Native(np.array(found), covariances)


def _to_imu(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    found = numbers(value, 6, 10)
    covariances = {
        name: metadata[name]
        for part, _ in _IMU
        if isinstance(metadata.get(name := f"{part}_covariance"), list)
    }
    if found.size == 6:
        # Without an orientation: a covariance of -1 says so.
        found = np.concatenate([[0.0, 0.0, 0.0, 1.0], found])
        covariances.setdefault("orientation_covariance", [-1.0, *[0.0] * 8])
    flat = iter(found.tolist())
    return {part: {name: next(flat) for name in names} for part, names in _IMU} | covariances


def _from_joints(values: Values) -> Native:
    """Return 3 x N: positions, velocities, efforts; NaN where the message has none."""
    count = len(values["name"])
    table = np.full((len(_JOINTS), count), np.nan)
    for row, name in zip(table, _JOINTS, strict=True):
        if values[name].size == count:
            row[:] = values[name]
    return Native(table, {"names": values["name"]})


def _to_joints(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    is_table = isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and 1 <= value.ndim <= 2
    if not is_table or (value.ndim == 2 and len(value) > len(_JOINTS)):
        raise ValueMismatchError(f"expected N or up to 3 x N numbers, got {kind_of(value)}")
    table = np.atleast_2d(value.astype(np.float64))
    names = metadata.get("names")
    if not isinstance(names, list) or len(names) != table.shape[1]:
        raise ValueMismatchError(f"{table.shape[1]} joints need as many names in the metadata")
    found: Values = {"name": [str(name) for name in names]}
    for name, row in zip(_JOINTS, table, strict=False):
        found[name] = [] if np.isnan(row).all() else row
    return found


def _from_fix(values: Values) -> Native:
    found = [values[name] for name in ("latitude", "longitude", "altitude")]
    metadata = covariance_metadata(values, "position_covariance")
    return Native(np.array(found), {**metadata, "status": values["status"]["status"]})


def _to_fix(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    latitude, longitude, *altitude = numbers(value, 2, 3).tolist()
    found: Values = {"latitude": latitude, "longitude": longitude}
    found["altitude"] = altitude[0] if altitude else math.nan
    if isinstance(metadata.get("position_covariance"), list):
        found |= {"position_covariance": metadata["position_covariance"]}
    if isinstance(metadata.get("status"), int):
        found["status"] = {"status": metadata["status"], "service": 1}
    return found


def _from_grid(values: Values) -> Native:
    facts = values["info"]
    shape = (facts["height"], facts["width"])
    if values["data"].size != shape[0] * shape[1]:
        raise ValueMismatchError(f"a map of {values['data'].size} cells, its size is {shape}")
    origin = [facts["origin"][part][name] for part, names in _POSE for name in names]
    metadata = {"resolution": facts["resolution"], "origin": origin}
    return Native(values["data"].reshape(shape), metadata)


def _to_grid(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype != np.int8:
        raise ValueMismatchError(f"expected a map of H x W int8, got {kind_of(value)}")
    origin = metadata.get("origin", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    flat = iter(numbers(np.asarray(origin, np.float64), 7).tolist())
    return {
        "info": {
            "map_load_time": header["stamp"],
            "resolution": metadata.get("resolution", 0.05),
            "width": value.shape[1],
            "height": value.shape[0],
            "origin": {part: {name: next(flat) for name in names} for part, names in _POSE},
        },
        "data": value,
    }


def _from_detections(values: Values) -> Native:
    """Return boxes as `object_detection` sends them, N x 6, and the labels of the classes."""
    labels: list[str] = []
    table = []
    for one in values["detections"]:
        box, results = one["bbox"], one["results"]
        x, y = box["center"]["position"]["x"], box["center"]["position"]["y"]
        width, height = box["size_x"] / 2, box["size_y"] / 2
        hypotheses: list[Values] = [result["hypothesis"] for result in results]
        nothing: Values = {"class_id": "", "score": 0.0}
        best = max(hypotheses, key=lambda found: float(found["score"]), default=nothing)
        if best["class_id"] not in labels:
            labels.append(best["class_id"])
        number = labels.index(best["class_id"])
        table.append([x - width, y - height, x + width, y + height, best["score"], number])
    metadata: Values = {"labels": labels}
    ids = [one["id"] for one in values["detections"]]
    if ids and all(text.isascii() and text.isdigit() for text in ids):
        metadata["ids"] = [int(text) for text in ids]
    return Native(np.array(table, np.float32).reshape(-1, 6), metadata)


def _to_detections(value: Any, metadata: Mapping[str, Any], header: Values) -> Values:
    try:
        found = read_detections(value, metadata)
    except NoBoxesError as error:
        raise ValueMismatchError(str(error)) from error
    detections = []
    for index, (x1, y1, x2, y2, score, number) in enumerate(found.boxes.tolist()):
        centre = {"position": {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2}}
        hypothesis = {"class_id": label_of(int(number), found.labels), "score": score}
        detections.append(
            {
                "header": header,
                "results": [{"hypothesis": hypothesis}],
                "bbox": {"center": centre, "size_x": x2 - x1, "size_y": y2 - y1},
                "id": str(found.ids[index]) if found.ids else "",
            }
        )
    return {"detections": detections}
