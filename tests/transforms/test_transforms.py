"""Rotations and translations: chained, turned back, interpolated; checked against matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dora_rt.errors import TransformError
from dora_rt.transforms import FrameTransform, Transform, decode, encode

# The same examples each time, however busy the machine is.
PROPERTY = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
COORDINATES = st.floats(-100, 100)
ANGLES = st.floats(-math.pi, math.pi)
QUATERNIONS = (
    st.tuples(*[st.floats(-1, 1)] * 4)
    .filter(lambda one: math.hypot(*one) > 0.1)
    .map(lambda one: np.array(one) / math.hypot(*one))
)
POINTS = st.tuples(*[COORDINATES] * 3).map(np.array)
TRANSFORMS = st.builds(Transform, POINTS, QUATERNIONS)
FRACTIONS = st.floats(0, 1)


def angle_between(one: Transform, other: Transform) -> float:
    """Return the angle by which one has to be turned to be the other."""
    # By the sine as well: near 0, the cosine alone loses half of the digits.
    turned = (one.inverse() @ other).rotation
    return 2 * math.atan2(float(np.linalg.norm(turned[:3])), abs(float(turned[3])))


@PROPERTY
@given(TRANSFORMS, TRANSFORMS, POINTS)
def test_product_does_the_second_one_first(one: Transform, other: Transform, point: Any):
    np.testing.assert_allclose((one @ other).apply(point), one.apply(other.apply(point)), atol=1e-9)
    np.testing.assert_allclose((one @ other).matrix(), one.matrix() @ other.matrix(), atol=1e-9)


@PROPERTY
@given(TRANSFORMS, TRANSFORMS, TRANSFORMS)
def test_products_may_be_grouped_in_any_way(one: Transform, two: Transform, three: Transform):
    assert ((one @ two) @ three).is_close(one @ (two @ three), 1e-9)


@PROPERTY
@given(TRANSFORMS, POINTS)
def test_inverse_takes_every_point_back(one: Transform, point: Any):
    np.testing.assert_allclose(one.inverse().apply(one.apply(point)), point, atol=1e-9)
    assert (one @ one.inverse()).is_close(Transform(), 1e-9)
    assert one.inverse().inverse().is_close(one, 1e-9)
    np.testing.assert_allclose(one.inverse().matrix(), np.linalg.inv(one.matrix()), atol=1e-8)


@PROPERTY
@given(TRANSFORMS, TRANSFORMS)
def test_inverse_of_a_product_is_the_product_of_the_inverses_in_reverse(
    one: Transform, other: Transform
):
    assert (one @ other).inverse().is_close(other.inverse() @ one.inverse(), 1e-9)


@PROPERTY
@given(TRANSFORMS)
def test_matrix_and_back(one: Transform):
    matrix = one.matrix()

    assert Transform.from_matrix(matrix).is_close(one, 1e-9)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert matrix[3].tolist() == [0, 0, 0, 1]


@PROPERTY
@given(TRANSFORMS, TRANSFORMS, FRACTIONS)
def test_way_between_two_is_straight_and_turns_evenly_by_the_shorter_way(
    one: Transform, other: Transform, fraction: float
):
    between = one.interpolated(other, fraction)

    expected = (1 - fraction) * one.translation + fraction * other.translation
    np.testing.assert_allclose(between.translation, expected, atol=1e-9)
    whole = angle_between(one, other)
    assert whole <= math.pi + 1e-9
    # Near half a turn both ways are as short, and the smallest error decides.
    if whole < math.pi - 1e-3:
        assert angle_between(one, between) == pytest.approx(fraction * whole, abs=1e-4)
        assert angle_between(between, other) == pytest.approx((1 - fraction) * whole, abs=1e-4)


@PROPERTY
@given(TRANSFORMS, TRANSFORMS)
def test_way_begins_and_ends_at_the_two(one: Transform, other: Transform):
    assert one.interpolated(other, 0).is_close(one, 1e-9)
    assert one.interpolated(other, 1).is_close(other, 1e-9)
    assert np.linalg.norm(one.interpolated(other, 0.5).rotation) == pytest.approx(1)


@PROPERTY
@given(TRANSFORMS, TRANSFORMS, FRACTIONS)
def test_both_quaternions_of_a_rotation_are_the_same_to_all(
    one: Transform, other: Transform, fraction: float
):
    twin = Transform(other.translation, -other.rotation)

    assert twin.is_close(other)
    np.testing.assert_allclose(twin.matrix(), other.matrix(), atol=1e-12)
    if angle_between(one, other) < math.pi - 1e-3:
        assert one.interpolated(twin, fraction).is_close(one.interpolated(other, fraction), 1e-9)


@PROPERTY
@given(ANGLES, ANGLES, ANGLES)
def test_euler_angles_turn_about_the_fixed_axes_x_then_y_then_z(
    roll: float, pitch: float, yaw: float
):
    def about(axis: int, angle: float) -> Any:
        first, second = [one for one in range(3) if one != axis]
        matrix = np.eye(3)
        sine = math.sin(angle) * (-1 if axis == 1 else 1)
        matrix[first, first] = matrix[second, second] = math.cos(angle)
        matrix[first, second], matrix[second, first] = -sine, sine
        return matrix

    found = Transform.from_euler(roll, pitch, yaw).matrix()[:3, :3]

    expected = about(2, yaw) @ about(1, pitch) @ about(0, roll)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_quarter_turn_to_the_left_takes_forward_to_the_left():
    turn = Transform.from_euler(0, 0, math.pi / 2, (10, 0, 0))

    np.testing.assert_allclose(turn.rotation, [0, 0, math.sqrt(0.5), math.sqrt(0.5)])
    np.testing.assert_allclose(turn.apply([1, 0, 0]), [10, 1, 0], atol=1e-12)
    np.testing.assert_allclose(
        turn.apply([[0, 0, 0], [0, 1, 2]]), [[10, 0, 0], [9, 0, 2]], atol=1e-12
    )


def test_length_of_the_quaternion_does_not_drift():
    numbers = np.random.default_rng(1).uniform(-3, 3, (2000, 3))
    found = Transform()
    for roll, pitch, yaw in numbers:
        found = found @ Transform.from_euler(roll, pitch, yaw)

    assert np.linalg.norm(found.rotation) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Transform((1, 2)), "expected a translation x, y, z, got [1.0, 2.0]"),
        (lambda: Transform("far"), "expected a translation x, y, z, got 'far'"),
        (lambda: Transform((1, 2, math.nan)), "expected a translation x, y, z"),
        (lambda: Transform(rotation=(0, 0, 0, 0)), "has the length 0, and a rotation has 1"),
        (lambda: Transform(rotation=(1, 0, 0, 1)), "is it in the order x, y, z, w?"),
        (lambda: Transform(rotation=(0, 0, math.inf, 0)), "expected a rotation as a quaternion"),
        (lambda: Transform.from_matrix(np.eye(2)), "expected a matrix of 3 x 3 or 4 x 4"),
        (lambda: Transform.from_matrix(np.diag([1, 1, -1])), "or it mirrors"),
        (lambda: Transform.from_matrix(2 * np.eye(4)), "is no rotation"),
        (lambda: Transform().apply([1, 2]), "expected points x, y, z, got an array of shape (2,)"),
        (lambda: Transform().apply(5), "expected points x, y, z"),
    ],
)
def test_what_is_no_transform_is_refused(make: Any, told: str):
    with pytest.raises(TransformError) as caught:
        make()

    assert told in str(caught.value)


def test_transform_cannot_be_changed_under_who_holds_it():
    place = np.zeros(3)
    one = Transform(place)
    place[0] = 5

    assert one.translation.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        one.translation[0] = 1
    for product in (lambda: one @ np.eye(4), lambda: np.eye(4) @ one):
        with pytest.raises(TypeError):
            product()


@PROPERTY
@given(
    st.lists(
        st.builds(
            FrameTransform,
            st.text(min_size=1),
            st.text(min_size=1),
            TRANSFORMS,
            st.none() | st.integers(0, 2**62),
        )
    )
)
def test_sample_has_all_that_was_put_into_it(given_ones: list[FrameTransform]):
    value, metadata = encode(given_ones)

    found = decode(value, metadata)

    assert [(one.parent, one.child, one.time_ns) for one in found] == [
        (one.parent, one.child, one.time_ns) for one in given_ones
    ]
    pairs = zip(found, given_ones, strict=True)
    assert all(one.transform.is_close(other.transform) for one, other in pairs)


@pytest.mark.parametrize(
    ("value", "metadata"),
    [
        (b"bytes", {}),
        (np.zeros((1, 6)), {"parents": ["a"], "children": ["b"], "times_ns": [1]}),
        (np.zeros((2, 7)), {"parents": ["a"], "children": ["b"], "times_ns": [1]}),
        (np.zeros((1, 7)), {"parents": "a", "children": ["b"], "times_ns": [1]}),
        (np.zeros((1, 7)), {}),
        (np.zeros((1, 7)), {"parents": ["a"], "children": ["b"], "times_ns": [1]}),
    ],
)
def test_sample_that_is_none_of_transforms_is_refused(value: Any, metadata: dict[str, Any]):
    with pytest.raises(TransformError):
        decode(value, metadata)
