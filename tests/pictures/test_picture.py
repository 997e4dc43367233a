"""One place says what a picture is: every form that people send, and everything that is none."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import pyarrow
import pytest

from dora_rt.picture import NoPictureError, PictureFile, Pixels, picture_of, read_picture
from tests.pictures.no_pictures import NO_PICTURES, png_claiming

BGR = np.zeros((20, 30, 3), np.uint8)
BGR[:] = (10, 120, 250)
RGB = np.ascontiguousarray(BGR[..., ::-1])
BGRA = cv2.cvtColor(BGR, cv2.COLOR_BGR2BGRA)
RGBA = cv2.cvtColor(BGR, cv2.COLOR_BGR2RGBA)
GREY = np.full((20, 30), 77, np.uint8)
SIZE = {"width": 30, "height": 20}


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        *((BGR, word) for word in ("bgr8", "BGR8", "bgr", "Bgr8", "8UC3", "", None)),
        *((RGB, word) for word in ("rgb8", "RGB8", "rgb", "Rgb", "rgba8")),
        *((BGRA, word) for word in ("bgra8", "BGRA8", "bgra", None, "bgr8")),
        *((RGBA, word) for word in ("rgba8", "RGBA8", "RGBA", "rgb8")),
        # A node decoded it, and passed on the metadata of the file.
        (BGR, "jpeg"),
    ],
)
def test_colours_mean_the_same_whatever_their_order_and_its_name(
    value: np.ndarray[Any, Any], encoding: str | None
):
    picture = picture_of(value, {} if encoding is None else {"encoding": encoding})

    assert (picture.shape, picture.dtype) == ((20, 30, 3), np.uint8)
    assert (picture == BGR).all()


@pytest.mark.parametrize("encoding", ["mono8", "MONO8", "mono", "gray", "bgr8", None])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1)])
def test_grey_is_grey_also_where_the_metadata_are_those_of_a_coloured_one(
    shape: tuple[int, ...], encoding: str | None
):
    picture = picture_of(GREY.reshape(shape), {"encoding": encoding})

    assert picture.shape == (20, 30, 3)
    assert (picture == 77).all()


@pytest.mark.parametrize(
    ("value", "encoding"),
    [(BGR, "bgr8"), (BGR, None), (RGB, "RGB8"), (BGRA, "bgra8"), (RGBA, "rgba8"), (BGRA, "BGRA")],
)
@pytest.mark.parametrize("form", ["array", "bytes", "arrow"])
def test_flat_pixels_get_their_shape_from_width_and_height(
    value: np.ndarray[Any, Any], encoding: str | None, form: str
):
    flat: Any = value.reshape(-1)
    flat = {"array": flat, "bytes": flat.tobytes(), "arrow": pyarrow.array(flat)}[form]

    assert (picture_of(flat, {"encoding": encoding, **SIZE}) == BGR).all()


def test_flat_grey_pixels_are_known_by_their_number():
    assert (picture_of(GREY.reshape(-1), SIZE) == 77).all()
    assert (picture_of(GREY.reshape(-1), {"encoding": "mono8", **SIZE}) == 77).all()


def test_upper_bits_of_sixteen_are_taken():
    deep = np.full((20, 30), 77 * 256 + 200, np.uint16)

    for value in (deep, deep.reshape(-1), deep.tobytes()):
        assert (picture_of(value, {"encoding": "mono16", **SIZE}) == 77).all()


def test_bgr_is_the_memory_itself():
    assert picture_of(BGR, {"encoding": "BGR8"}) is BGR


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize("form", ["bytes", "array", "arrow"])
@pytest.mark.parametrize("encoding", ["jpeg", "PNG", "bgr8", None])
def test_files_are_decoded_whatever_the_metadata_say(suffix: str, form: str, encoding: str | None):
    file = cv2.imencode(suffix, np.full((20, 30, 3), 120, np.uint8))[1].reshape(-1)
    value = {"bytes": file.tobytes(), "array": file, "arrow": pyarrow.array(file)}[form]

    picture = picture_of(value, {"encoding": encoding, **SIZE})

    assert (abs(picture.astype(int) - 120) <= 3).all()


def test_picture_is_told_as_it_was_sent():
    jpeg = cv2.imencode(".jpg", BGR)[1].tobytes()

    file = read_picture(jpeg, {})
    pixels = read_picture(RGBA.reshape(-1), {"encoding": "RGBA8", **SIZE})

    assert isinstance(file, PictureFile)
    assert (file.kind, file.size, file.content) == ("jpeg", (30, 20), jpeg)
    assert isinstance(pixels, Pixels)
    assert (pixels.encoding, pixels.size, pixels.array.shape) == ("rgba8", (30, 20), (20, 30, 4))


@pytest.mark.parametrize("value", NO_PICTURES.values(), ids=NO_PICTURES)
@pytest.mark.parametrize("encoding", ["jpeg", "bgr8", None])
def test_what_is_no_picture_is_one_error(value: Any, encoding: str | None):
    with pytest.raises(NoPictureError):
        picture_of(value, {"encoding": encoding})


@pytest.mark.parametrize(
    "metadata",
    [
        {"encoding": "bgr8", "width": 31, "height": 20},
        {"encoding": "bgr8", "width": -30, "height": -20},
        {"encoding": "bgr8", "width": 30.0, "height": 20},
        {"encoding": "bgr8", "width": "30", "height": "20"},
        {"encoding": "rgba8", **SIZE},
        {"encoding": "bgr8", "width": 10**3000, "height": 10**3000},
        {"encoding": "yuv422", **SIZE},
        {"encoding": ["bgr8"], **SIZE},
        {},
    ],
)
def test_flat_pixels_whose_metadata_do_not_fit_are_no_picture(metadata: dict[str, Any]):
    with pytest.raises(NoPictureError):
        picture_of(BGR.reshape(-1), metadata)


def test_error_says_what_came_and_what_was_expected():
    with pytest.raises(NoPictureError, match=r"^float32 \(4, 5, 3\) is no picture; expected uint8"):
        picture_of(np.zeros((4, 5, 3), np.float32), {})
    with pytest.raises(NoPictureError, match=r"encoding 'YUV422'; expected bgr8, rgb8"):
        picture_of(BGR, {"encoding": "YUV422"})
    with pytest.raises(NoPictureError, match=r"5 bytes that begin with b'hello', and the encoding"):
        picture_of(b"hello", {"encoding": "jpeg"})
    with pytest.raises(NoPictureError, match="60000 x 60000 pixels; at most"):
        picture_of(png_claiming(60_000, 60_000), {})
    with pytest.raises(NoPictureError, match="an array of Arrow of string is no picture"):
        picture_of(pyarrow.array(["a"]), {})


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("orientation", "is_turned"), [(1, False), (3, True), (6, True)])
def test_photo_says_whether_it_is_to_be_turned(order: str, orientation: int, is_turned: bool):
    name = b"II" if order == "<" else b"MM"
    exif = b"Exif\0\0" + name + struct.pack(f"{order}HIH", 42, 8, 1)
    exif += struct.pack(f"{order}HHIHHI", 0x0112, 3, 1, orientation, 0, 0)
    jpeg = cv2.imencode(".jpg", BGR)[1].tobytes()
    photo = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]

    found = read_picture(photo, {})

    assert isinstance(found, PictureFile)
    assert found.is_turned == is_turned
    assert (picture_of(photo, {}).shape == (30, 20, 3)) == (orientation == 6)


def test_file_in_every_second_byte_of_an_array_is_a_picture():
    jpeg = np.frombuffer(cv2.imencode(".jpg", BGR)[1].tobytes(), np.uint8)

    assert picture_of(np.repeat(jpeg, 2)[::2], {}).shape == (20, 30, 3)


def test_sizes_of_numpy_do_not_overflow():
    metadata = {"width": np.int32(65_536), "height": np.int32(65_536), "encoding": "mono8"}

    with pytest.raises(NoPictureError, match="has 4294967296 numbers"):
        picture_of(np.zeros(0, np.uint8), metadata)
