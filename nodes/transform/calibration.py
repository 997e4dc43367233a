"""The calibration of a camera, as ROS and OpenCV write it, and pictures without its distortion."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

_MATRIX_KEYS = ("camera_matrix", "cameramatrix", "camera_mtx", "intrinsic_matrix", "k", "mtx")
_DISTORTION_KEYS = (
    *(
        "distortion_coefficients",
        "distortioncoefficients",
        "distcoeffs",
        "dist_coeffs",
        "dist_coeff",
    ),
    *("distortion", "dist", "d"),
)
_WIDTH_KEYS = ("image_width", "width")
_HEIGHT_KEYS = ("image_height", "height")
_MODEL_KEYS = ("distortion_model", "camera_model")
_FISHEYE_MODELS = ("equidistant", "fisheye", "kannala_brandt", "kannala_brandt4")
_KNOWN_MODELS = ("plumb_bob", "rational_polynomial", "pinhole", "radtan", "opencv", "none", "")
_LONGEST_SIDE = 1_000_000
# As many coefficients as OpenCV's models have.
_COUNTS = (4, 5, 8, 12, 14)
_MAX_NBYTES = 1 << 20
_LARGEST_DIFFERENCE = 0.01


class CalibrationError(DoraRtError):
    """A file is no calibration, or none of this picture."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a camera does to straight lines.

    Attributes:
        matrix: 3 x 3: fx 0 cx, 0 fy cy, 0 0 1.
        distortion: coefficients, in the order of OpenCV.
        size: width and height of the pictures that it was measured with; None: not known.
        is_fisheye: whether the coefficients are those of OpenCV's fisheye model.
    """

    matrix: Matrix
    distortion: Matrix
    size: tuple[int, int] | None
    is_fisheye: bool


class Undistortion:
    """Takes the distortion out of pictures; the map is computed once for each size.

    Args:
        calibration: of the camera.
        alpha: 0: no black corners; 1: all that the camera saw.
    """

    def __init__(self, calibration: Calibration, alpha: float) -> None:
        self._calibration = calibration
        self._alpha = alpha
        self._size: tuple[int, int] | None = None
        self._maps: tuple[Any, Any] = (None, None)

    def apply(self, image: Image) -> Image:
        """Return the picture without distortion, of the same size.

        Raises:
            CalibrationError: the calibration is of pictures with other proportions.
        """
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            self._maps = self._make_maps(size)
            self._size = size
        return cast(Image, cv2.remap(image, *self._maps, interpolation=cv2.INTER_LINEAR))

    def _make_maps(self, size: tuple[int, int]) -> tuple[Any, Any]:
        matrix = _scaled_matrix(self._calibration, size)
        distortion = self._calibration.distortion
        if self._calibration.is_fisheye:
            new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
                matrix, distortion, size, np.eye(3), balance=self._alpha
            )
            return cv2.fisheye.initUndistortRectifyMap(
                matrix, distortion, np.eye(3), new, size, cv2.CV_16SC2
            )
        new, _ = cv2.getOptimalNewCameraMatrix(matrix, distortion, size, self._alpha)
        return cv2.initUndistortRectifyMap(matrix, distortion, np.eye(3), new, size, cv2.CV_16SC2)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration: `camera_info` of ROS 1 or 2, a file of cv2.FileStorage, or plain lists.

    Raises:
        CalibrationError: the file is none of these.
    """
    found = {str(key).lower(): value for key, value in _read_mapping(path).items()}
    matrix = _numbers(path, found, _MATRIX_KEYS, "camera matrix")
    distortion = _read_distortion(path, found)
    if matrix.size != 9 or matrix.flat[0] <= 0 or matrix.flat[4] <= 0:
        raise CalibrationError(
            f"--undistort {path}: the camera matrix has {matrix.size} numbers, expected 9: "
            "fx 0 cx 0 fy cy 0 0 1, with focal lengths above 0"
        )
    matrix = matrix.reshape(3, 3)
    _check_places(path, matrix)
    model = str(_first(found, _MODEL_KEYS) or "").lower()
    is_fisheye = model in _FISHEYE_MODELS or bool(found.get("fisheye_model"))
    if not is_fisheye and model not in _KNOWN_MODELS:
        raise CalibrationError(
            f"--undistort {path}: its distortion model '{model}' is none of "
            f"{', '.join(one for one in (*_KNOWN_MODELS, *_FISHEYE_MODELS) if one)}"
        )
    counts = (4,) if is_fisheye else _COUNTS
    if distortion.size not in counts:
        raise CalibrationError(
            f"--undistort {path}: it has {distortion.size} distortion coefficients, expected "
            f"{' or '.join(map(str, counts))}"
        )
    size = _read_size(found)
    if size is None:
        logger.warning(
            "--undistort %s: it has no image_width and image_height; it must be of pictures of the "
            "size that come",
            path,
        )
    return Calibration(matrix, distortion.reshape(-1, 1), size, is_fisheye)


class _Loader(yaml.SafeLoader):
    """Reads YAML with the matrices of OpenCV."""


def _construct_matrix(loader: _Loader, node: yaml.Node) -> Any:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(
            None, None, "expected rows, cols and data in this matrix", node.start_mark
        )
    return loader.construct_mapping(node, deep=True)


for _tag in ("opencv-matrix", "opencv-nd-matrix"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct_matrix)


def _read_mapping(path: Path) -> Mapping[Any, Any]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_MAX_NBYTES)
    except OSError as error:
        raise CalibrationError(f"--undistort {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CalibrationError(f"--undistort {path}: it is no text: {error}") from error
    if text.lstrip().startswith("<?xml"):
        raise CalibrationError(
            f"--undistort {path}: it is XML; write it with cv2.FileStorage as camera.yaml"
        )
    if text.startswith("%YAML"):
        # OpenCV writes `%YAML:1.0`, which is no YAML.
        text = text.partition("\n")[2]
    try:
        # JSON with tabs, which is no YAML.
        found = json.loads(text) if text.lstrip()[:1] == "{" and "\t" in text else _load(text)
    except json.JSONDecodeError as error:
        raise CalibrationError(f"--undistort {path}: it is no JSON: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise CalibrationError(f"--undistort {path}: it is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise CalibrationError(
            f"--undistort {path}: expected keys such as camera_matrix and distortion_coefficients"
        )
    return found


def _load(text: str) -> Any:
    return yaml.load(text, _Loader)


def _read_distortion(path: Path, found: Mapping[str, Any]) -> Matrix:
    value = _first(found, _DISTORTION_KEYS)
    if value == [] or (isinstance(value, dict) and value.get("data") == []):
        # Pictures that the camera has rectified itself have none.
        return np.zeros(4)
    return _numbers(path, found, _DISTORTION_KEYS, "distortion coefficients")


def _check_places(path: Path, matrix: Matrix) -> None:
    """Refuse a matrix whose numbers are in other places: all pictures would be black."""
    if matrix[1, 0] == 0 and np.allclose(matrix[2], (0, 0, 1)):
        return
    is_transposed = matrix[0, 1] == 0 and np.allclose(matrix[:, 2], (0, 0, 1))
    hint = "; it is transposed, as MATLAB writes it" if is_transposed else ""
    rows = ", ".join(" ".join(f"{number:g}" for number in row) for row in matrix)
    raise CalibrationError(
        f"--undistort {path}: the camera matrix is {rows}; expected fx 0 cx, 0 fy cy, 0 0 1{hint}"
    )


def _numbers(path: Path, found: Mapping[str, Any], keys: tuple[str, ...], what: str) -> Matrix:
    value = _first(found, keys)
    if isinstance(value, dict):
        value = value.get("data")
    try:
        numbers = np.array([] if value is None else value, np.float64)
    except (ValueError, TypeError):
        numbers = np.array([])
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise CalibrationError(
            f"--undistort {path}: it has no {what} (keys {', '.join(keys[:3])}, ...) of numbers; "
            f"its keys are: {', '.join(found) or 'none'}"
        )
    return numbers


def _first(found: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((found[key] for key in keys if found.get(key) is not None), None)


def _read_size(found: Mapping[str, Any]) -> tuple[int, int] | None:
    size = _first(found, ("image_size", "img_size"))
    pair = size if isinstance(size, list) and len(size) == 2 else None
    width, height = pair or (_first(found, _WIDTH_KEYS), _first(found, _HEIGHT_KEYS))
    sides = _whole_number(width), _whole_number(height)
    return None if 0 in sides else sides


def _whole_number(value: Any) -> int:
    """Return a side in pixels, which programs also write as 640.0 or as text; 0 if it is none."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    is_side = math.isfinite(number) and number == int(number) and 0 < number <= _LONGEST_SIDE
    return int(number) if is_side else 0


def _scaled_matrix(calibration: Calibration, size: tuple[int, int]) -> Matrix:
    if calibration.size is None or calibration.size == size:
        return calibration.matrix
    across, down = size[0] / calibration.size[0], size[1] / calibration.size[1]
    if abs(across / down - 1) > _LARGEST_DIFFERENCE:
        raise CalibrationError(
            f"--undistort: the calibration is of pictures of {calibration.size[0]}x"
            f"{calibration.size[1]}, and those that come are {size[0]}x{size[1]}: other "
            "proportions, so a part was cut off; calibrate at this size, or ask the camera for the "
            "other one"
        )
    logger.info(
        "the calibration of %dx%d is scaled to %dx%d",
        *(calibration.size[0], calibration.size[1], *size),
    )
    # Pixels have their centres at whole numbers.
    matrix: Matrix = calibration.matrix.copy()
    matrix[0] *= across
    matrix[1] *= down
    matrix[0, 2] += (across - 1) / 2
    matrix[1, 2] += (down - 1) / 2
    return matrix
