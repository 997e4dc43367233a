"""Pictures of all shapes are fitted into the input, and nothing else is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from dora_rt.nodes.object_detection.boxes import onto_frame
from dora_rt.nodes.object_detection.errors import FrameError
from dora_rt.nodes.object_detection.letterbox import PADDING, Letterbox
from numpy.typing import NDArray

FLOAT32 = np.dtype(np.float32)


def bgr_letterbox(height: int = 64, width: int = 96) -> Letterbox:
    return Letterbox(height, width, is_rgb=False, scale=1.0, dtype=FLOAT32)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("frame_size", "fitted", "ratio"),
    [
        ((64, 96), (64, 96), 1.0),
        ((480, 640), (64, 85), 64 / 480),
        ((1080, 1920), (54, 96), 96 / 1920),
        ((32, 32), (64, 64), 2.0),
        ((5000, 3), (64, 1), 64 / 5000),
    ],
)
def test_picture_lies_at_the_top_left_and_the_rest_is_padding(
    frame_size: tuple[int, int], fitted: tuple[int, int], ratio: float
) -> None:
    letterbox = bgr_letterbox()

    given = letterbox.fit(np.full((*frame_size, 3), 200, np.uint8))

    expected = np.full((1, 3, 64, 96), PADDING, np.float32)
    expected[:, :, : fitted[0], : fitted[1]] = 200
    assert given == pytest.approx((ratio, ratio))
    np.testing.assert_array_equal(letterbox.blob, expected)


def test_every_width_that_should_fill_the_input_does() -> None:
    letterbox = bgr_letterbox(416, 416)

    for width in range(1, 2000, 7):
        letterbox.fit(np.zeros((1, width, 3), np.uint8))
        assert letterbox.blob[0, 0, 0, -1] == 0, f"a frame {width} wide leaves the last column free"


def test_smaller_picture_leaves_nothing_of_the_one_before() -> None:
    letterbox = bgr_letterbox()
    letterbox.fit(np.full((64, 96, 3), 9, np.uint8))

    letterbox.fit(np.full((64, 30, 3), 9, np.uint8))

    assert (letterbox.blob[..., 30:] == PADDING).all()


def test_blue_comes_first_for_bgr_and_last_for_rgb() -> None:
    blue = np.zeros((64, 96, 3), np.uint8)
    blue[..., 0] = 255
    rgb_letterbox = Letterbox(64, 96, is_rgb=True, scale=1 / 255, dtype=FLOAT32)

    letterbox = bgr_letterbox()
    letterbox.fit(blue)
    rgb_letterbox.fit(blue)

    assert letterbox.blob[0, :, 0, 0].tolist() == [255, 0, 0]
    assert rgb_letterbox.blob[0, :, 0, 0].tolist() == [0, 0, 1]


def test_blob_is_what_opencv_makes_of_the_same_picture() -> None:
    frame = noise(64, 96, 3)
    letterbox = Letterbox(64, 96, is_rgb=True, scale=1 / 255, dtype=FLOAT32)

    letterbox.fit(frame)

    expected = cv2.dnn.blobFromImage(frame, 1 / 255, swapRB=True)
    np.testing.assert_allclose(letterbox.blob, expected, rtol=1e-6)


def test_grey_pictures_are_pictures_with_three_equal_channels() -> None:
    grey = noise(100, 50)
    letterbox = bgr_letterbox()
    blobs = []

    for frame in (np.dstack((grey, grey, grey)), grey, grey[:, :, None]):
        letterbox.fit(frame)
        blobs.append(letterbox.blob.copy())

    np.testing.assert_array_equal(blobs[1], blobs[0])
    np.testing.assert_array_equal(blobs[2], blobs[0])


def test_alpha_is_left_out() -> None:
    bgra = noise(100, 50, 4)
    letterbox = bgr_letterbox()

    letterbox.fit(bgra)
    with_alpha = letterbox.blob.copy()
    letterbox.fit(np.ascontiguousarray(bgra[..., :3]))

    np.testing.assert_array_equal(with_alpha, letterbox.blob)


def test_read_only_and_mirrored_views_can_be_fitted() -> None:
    frame = noise(100, 50, 3)
    frame.flags.writeable = False
    letterbox = bgr_letterbox()

    letterbox.fit(frame[:, ::-1])
    mirrored = letterbox.blob.copy()
    letterbox.fit(np.ascontiguousarray(frame[:, ::-1]))

    np.testing.assert_array_equal(mirrored, letterbox.blob)


def test_buffers_stay_the_same_from_frame_to_frame() -> None:
    letterbox = bgr_letterbox()
    address = letterbox.blob.ctypes.data

    for size in ((480, 640), (100, 100), (480, 640)):
        letterbox.fit(noise(*size, 3))

    assert letterbox.blob.ctypes.data == address


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (300, 451), (7, 2000)])
def test_box_comes_back_to_where_it_was(height: int, width: int) -> None:
    corners = np.array([0.1 * width, 0.2 * height, 0.8 * width, 0.9 * height], np.float32)
    ratios = bgr_letterbox(416, 416).fit(np.zeros((height, width, 3), np.uint8))
    on_input = np.array([[*(corners * ratios[0]), 0.5, 3]], np.float32)

    back = onto_frame(on_input, ratios, height, width)

    np.testing.assert_allclose(back[0, :4], corners, rtol=1e-5)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros(48, np.uint8),
    ],
)
def test_what_is_no_picture_is_refused_with_its_shape_and_type(frame: NDArray[np.uint8]) -> None:
    with pytest.raises(FrameError) as caught:
        bgr_letterbox().fit(frame)

    assert str(frame.shape) in str(caught.value)
    assert str(frame.dtype) in str(caught.value)
