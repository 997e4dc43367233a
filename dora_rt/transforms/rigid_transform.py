"""A rotation with a translation, and how such are chained, turned back and interpolated."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dora_rt.errors import TransformError

Vector = NDArray[np.float64]

_NORM_TOLERANCE = 0.01
_NEARLY_PARALLEL = 0.9995
"""Cosine of half an angle of 3.6 degrees: below it, the straight line is as good as the arc."""


class Transform:
    """A rotation and then a translation: it takes points of one frame into another.

    Attributes:
        translation: x, y, z, read-only.
        rotation: quaternion x, y, z, w of length 1, read-only.
    """

    __slots__ = ("rotation", "translation")
    __array_ufunc__ = None  # of an array with it, numpy would make an array of objects

    def __init__(
        self, translation: ArrayLike = (0, 0, 0), rotation: ArrayLike = (0, 0, 0, 1)
    ) -> None:
        """Take a place and a direction.

        Raises:
            TransformError: they are not three and four finite numbers, or the quaternion is not of
                length 1.
        """
        self.translation = _vector(translation, 3, "a translation x, y, z")
        turned = _vector(rotation, 4, "a rotation as a quaternion x, y, z, w")
        length = float(np.sqrt(turned @ turned))
        if abs(length - 1) > _NORM_TOLERANCE:
            raise TransformError(
                f"the quaternion {turned.tolist()} has the length {length:.4g}, and a rotation has "
                "1; is it in the order x, y, z, w?"
            )
        self.rotation = turned / length
        for array in (self.translation, self.rotation):
            array.flags.writeable = False

    @classmethod
    def from_euler(
        cls, roll: float, pitch: float, yaw: float, translation: ArrayLike = (0, 0, 0)
    ) -> Transform:
        """Return a rotation about the fixed axes x, then y, then z, by angles in radians."""
        (sr, sp, sy), (cr, cp, cy) = (
            part(np.array([roll, pitch, yaw]) / 2) for part in (np.sin, np.cos)
        )
        rotation = (
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        )
        return cls(translation, rotation)

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Transform:
        """Return the transform of a 4 x 4 matrix, or the rotation of a 3 x 3 one.

        Raises:
            TransformError: it is no such matrix.
        """
        given = np.asarray(matrix, np.float64)
        if given.shape not in ((3, 3), (4, 4)):
            raise TransformError(
                f"expected a matrix of 3 x 3 or 4 x 4, got the shape {given.shape}"
            )
        turn = given[:3, :3]
        is_rotation = np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0
        if not is_rotation:
            raise TransformError(
                f"the matrix {turn.tolist()} is no rotation: its rows are not of length 1 and at "
                "right angles, or it mirrors"
            )
        translation = given[:3, 3] if given.shape == (4, 4) else (0, 0, 0)
        return cls(translation, _quaternion_of(turn))

    def matrix(self) -> Vector:
        """Return the 4 x 4 matrix, for points as columns x, y, z, 1."""
        x, y, z, w = self.rotation
        found = np.eye(4)
        found[:3, :3] = (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
        found[:3, 3] = self.translation
        return found

    def inverse(self) -> Transform:
        """Return the transform that takes the points back."""
        back = self.rotation * (-1, -1, -1, 1)
        return _made(-_rotated(back, self.translation), back)

    def apply(self, points: ArrayLike) -> Vector:
        """Return one point, or an array of points ... x 3, as the other frame has them."""
        given = np.asarray(points, np.float64)
        if not given.shape or given.shape[-1] != 3:
            raise TransformError(f"expected points x, y, z, got an array of shape {given.shape}")
        turned: Vector = given @ self.matrix()[:3, :3].T + self.translation
        return turned

    def __matmul__(self, other: Transform) -> Transform:
        """Return the transform that does `other` first, and then this one."""
        if not isinstance(other, Transform):
            return NotImplemented
        return _made(
            self.translation + _rotated(self.rotation, other.translation),
            _product(self.rotation, other.rotation),
        )

    def interpolated(self, other: Transform, fraction: float) -> Transform:
        """Return the transform on the way to another one: straight on, and turning evenly.

        Args:
            other: the transform at the fraction 1.
            fraction: 0 to 1.
        """
        translation = self.translation + fraction * (other.translation - self.translation)
        return _made(translation, _slerp(self.rotation, other.rotation, fraction))

    def is_close(self, other: Transform, tolerance: float = 1e-9) -> bool:
        """Whether another transform takes points to nearly the same places."""
        turned = abs(float(self.rotation @ other.rotation))
        moved = np.abs(self.translation - other.translation).max()
        return bool(moved <= tolerance and 1 - turned <= tolerance)

    def __repr__(self) -> str:
        place, turned = (np.round(one, 4).tolist() for one in (self.translation, self.rotation))
        return f"Transform({place}, {turned})"


def _vector(values: ArrayLike, count: int, what: str) -> Vector:
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise TransformError(f"expected {what}, got {values!r}") from error
    if found.shape != (count,) or not np.isfinite(found).all():
        raise TransformError(f"expected {what}, got {found.tolist()}")
    return found


def _made(translation: Vector, rotation: Vector) -> Transform:
    # Products of many rotations drift from the length 1.
    return Transform(translation, rotation / np.sqrt(rotation @ rotation))


def _product(one: Vector, other: Vector) -> Vector:
    x1, y1, z1, w1 = one.tolist()
    x2, y2, z2, w2 = other.tolist()
    return np.array(
        (
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        )
    )


def _rotated(rotation: Vector, vector: Vector) -> Vector:
    axis, w = rotation[:3], rotation[3]
    turned = 2 * np.cross(axis, vector)
    found: Vector = vector + w * turned + np.cross(axis, turned)
    return found


def _slerp(one: Vector, other: Vector, fraction: float) -> Vector:
    cosine = float(one @ other)
    if cosine < 0:
        # A rotation has two quaternions: the shorter way round.
        other, cosine = -other, -cosine
    if cosine > _NEARLY_PARALLEL:
        return one + fraction * (other - one)
    angle = np.arccos(cosine)
    weights = np.sin([(1 - fraction) * angle, fraction * angle]) / np.sin(angle)
    found: Vector = weights[0] * one + weights[1] * other
    return found


def _quaternion_of(turn: Vector) -> Vector:
    """Return the quaternion of a rotation matrix, by its largest part, which is never near 0."""
    diagonal = np.diag(turn)
    squares = np.array(
        [*(1 + 2 * diagonal - diagonal.sum()), 1 + diagonal.sum()]
    )  # 4 x^2, 4 y^2, 4 z^2, 4 w^2
    largest = int(np.argmax(squares))
    (xy, xz, yz), (zy, xz_, yx) = (
        (turn[1, 0] + turn[0, 1], turn[2, 0] + turn[0, 2], turn[2, 1] + turn[1, 2]),
        (turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]),
    )
    rows = (
        (squares[0], xy, xz, zy),
        (xy, squares[1], yz, xz_),
        (xz, yz, squares[2], yx),
        (zy, xz_, yx, squares[3]),
    )
    found = np.array(rows[largest])
    unit: Vector = found / np.sqrt(found @ found)
    return unit
