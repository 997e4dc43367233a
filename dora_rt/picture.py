"""Pictures, as all nodes and tools read them: pixels or a file, in one sample."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError
from dora_rt.picture_size import EXIF_NBYTES, MAX_PIXELS, is_turned, read_size_of

Image = NDArray[np.uint8]

LONGEST_SIDE = 65_500
"""Pixels: a JPEG file has no more, and neither has any picture here."""

# By encoding: character of the dtype, and channels.
_LAYOUTS = {
    "bgr8": ("B", 3),
    "rgb8": ("B", 3),
    "bgra8": ("B", 4),
    "rgba8": ("B", 4),
    "mono8": ("B", 1),
    "mono16": ("H", 1),
}
# Other words for them: without their bits (BGR), and those of OpenCV's and PIL's users.
_WORDS = {
    **{name.rstrip("0123456789"): name for name in ("bgr8", "rgb8", "bgra8", "rgba8", "mono8")},
    **dict.fromkeys(("gray", "grey", "gray8", "grey8", "l", "8uc1"), "mono8"),
    **dict.fromkeys(("gray16", "grey16", "16uc1"), "mono16"),
    "8uc3": "bgr8",
    "8uc4": "bgra8",
    "bgr24": "bgr8",
    "rgb24": "rgb8",
}
_FILE_WORDS = ("jpeg", "jpg", "png", "webp", "bmp")
_ORDERS = {3: ("bgr8", "rgb8"), 4: ("bgra8", "rgba8")}
_FILES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"BM": "bmp",
    b"P5": "pnm",
    b"P6": "pnm",
}
_MOST_LENGTH = 2**40  # no array is longer; JSON may have any number
_EXPECTED = (
    "expected uint8 of H x W x 3 (BGR), H x W or H x W x 4, or the bytes of a JPEG or PNG file"
)


class NoPictureError(DoraRtError, ValueError):
    """A sample is no picture, or an absurd one; the next one may be."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture as it was sent: H x W, H x W x 3 or H x W x 4, and what its numbers mean.

    Attributes:
        array: uint8, of `mono16` uint16; read-only where it is the shared memory itself.
        encoding: bgr8, rgb8, bgra8, rgba8, mono8 or mono16.
    """

    array: NDArray[Any]
    encoding: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.array.shape[1], self.array.shape[0]


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture as the bytes of a file, not decoded; `size` is what its head says.

    Attributes:
        content: the bytes; the shared memory itself where they were sent as an array.
        kind: jpeg, png, webp, bmp or pnm.
        size: width and height in pixels.
    """

    content: bytes | Image
    kind: str
    size: tuple[int, int]

    @property
    def is_turned(self) -> bool:
        """Whether it is a photo to be shown turned, as OpenCV and browsers do, others do not."""
        return self.kind == "jpeg" and is_turned(bytes(self.content[:EXIF_NBYTES]))


def picture_of(value: Any, metadata: Mapping[str, Any]) -> Image:
    """Return the picture of a sample as H x W x 3 uint8 BGR.

    It is read-only where it is the shared memory itself. Of `mono16` the upper eight bits are
    taken, and what is transparent becomes opaque.

    Args:
        value: pixels: an array of uint8, H x W x 3, H x W x 4, H x W, or H x W x 1; or flat, or as
            bytes, where the metadata have `width` and `height`. Or a JPEG, PNG, WebP or BMP file.
        metadata: `encoding`, in any case, says in which order the colours are: bgr8 (which counts
            where there is none), rgb8, bgra8, rgba8; or mono8, mono16. The shape of pixels says
            how many channels they have, since a node may pass on the metadata of what it changed.

    Raises:
        NoPictureError: it is none of these, cannot be decoded, or is too large for any use.
    """
    found = read_picture(value, metadata)
    return _decoded(found) if isinstance(found, PictureFile) else _as_bgr(found)


def read_picture(value: Any, metadata: Mapping[str, Any]) -> Pixels | PictureFile:
    """Return the picture of a sample as it was sent, without decoding it.

    Raises:
        NoPictureError: it is none that `picture_of` knows, or is too large for any use. A file
            may still prove broken when it is decoded.
    """
    encoding = _encoding(metadata)
    array = _numbers(value)
    is_file = encoding in _FILE_WORDS
    if array.ndim == 1:
        array = array if is_file else _shaped(array, encoding, metadata)
        if array.ndim == 1:
            return _file(value, array, metadata)
    return _pixels(array, encoding, metadata)


def _encoding(metadata: Mapping[str, Any]) -> str:
    """Return the encoding in the words of here; empty if there is none."""
    word = metadata.get("encoding")
    text = "" if word is None else str(word).strip().lower()
    return _WORDS.get(text, text)


def _numbers(value: Any) -> NDArray[Any]:
    """Return what a sample holds as an array; bytes become uint8."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return np.frombuffer(value, np.uint8)
    array = value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        array = np.ascontiguousarray(value)
    if hasattr(value, "to_numpy"):
        # An array of Arrow; one of whole numbers may be a picture.
        try:
            array = value.to_numpy(zero_copy_only=False)
        except (NotImplementedError, TypeError, ValueError):
            array = None
    if not isinstance(array, np.ndarray) or array.dtype.char not in "BH" or not array.ndim:
        raise NoPictureError(f"{described(value)} is no picture; {_EXPECTED}")
    return array


def _shaped(array: NDArray[Any], encoding: str, metadata: Mapping[str, Any]) -> NDArray[Any]:
    """Return flat pixels in their shape; as they are where they have none."""
    width, height = metadata.get("width"), metadata.get("height")
    if not _is_length(width) or not _is_length(height):
        return array
    width, height = int(width), int(height)  # those of numpy overflow
    if encoding == "mono16" and array.dtype == np.uint8 and array.size == 2 * width * height:
        array = array.view("<u2")
    named = _LAYOUTS.get(encoding)
    channels = (3, 1, 4) if named is None else (named[1],)
    for count in channels:
        if width * height * count == array.size:
            return array.reshape((height, width) if count == 1 else (height, width, count))
    if named is not None and not _file_kind(array):
        raise NoPictureError(
            f"{array.dtype} {array.shape} is no picture: {encoding} of {width} x {height} pixels "
            f"has {width * height * named[1]} numbers"
        )
    return array


def _pixels(array: NDArray[Any], encoding: str, metadata: Mapping[str, Any]) -> Pixels:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    named = _LAYOUTS.get(encoding, ("B", 0))
    is_deep = array.dtype.char == "H"
    if (
        channels not in (1, 3, 4)
        or not array.size
        or (is_deep and (channels, named[0]) != (1, "H"))
    ):
        raise NoPictureError(f"{described(array)} is no picture; {_EXPECTED}")
    if encoding and encoding not in _LAYOUTS and encoding not in _FILE_WORDS:
        raise NoPictureError(
            f"{described(array)} has the encoding {metadata.get('encoding')!r}; "
            f"expected {', '.join(_LAYOUTS)}"
        )
    check_size(array.shape[1], array.shape[0])
    if channels == 1:
        return Pixels(array, "mono16" if is_deep else "mono8")
    return Pixels(array, _ORDERS[channels][encoding.startswith("rgb")])


def _file(value: Any, array: NDArray[Any], metadata: Mapping[str, Any]) -> PictureFile:
    kind = _file_kind(array)
    is_bytes = array.dtype.char == "B"
    content = value if isinstance(value, bytes) else array.data
    size = read_size_of(io.BytesIO(content)) if kind is not None and is_bytes else None
    if kind is None or size is None:
        begin = f" that begin with {array[:8].tobytes()!r}" if array.size and is_bytes else ""
        said = metadata.get("encoding")
        hint = "" if said is None else f", and the encoding {said!r} in their metadata"
        raise NoPictureError(f"{_amount(array)}{begin}{hint} are no picture; {_EXPECTED}")
    check_size(*size)
    return PictureFile(value if isinstance(value, bytes) else array, kind, size)


def _file_kind(array: NDArray[Any]) -> str | None:
    begin = array[:12].tobytes()
    if begin[:4] == b"RIFF" and begin[8:] == b"WEBP":
        return "webp"
    return next((kind for magic, kind in _FILES.items() if begin.startswith(magic)), None)


def check_size(width: int, height: int) -> None:
    """Refuse a picture that is too large for any use, before memory is spent on it.

    Raises:
        NoPictureError: it is.
    """
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise NoPictureError(
            f"a picture of {width} x {height} pixels; each side has 1 to {LONGEST_SIDE} here"
        )
    if width * height > MAX_PIXELS:
        raise NoPictureError(
            f"a picture of {width} x {height} pixels; at most {MAX_PIXELS} are decoded here"
        )


def _decoded(file: PictureFile) -> Image:
    import cv2

    content = file.content
    array = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else content
    try:
        picture = cv2.imdecode(array, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise NoPictureError(f"a broken {file.kind} file: {error}") from error
    if picture is None:
        raise NoPictureError(f"a {file.kind} file of {array.size} bytes that cannot be decoded")
    return cast(Image, picture)


def _as_bgr(pixels: Pixels) -> Image:
    if pixels.encoding == "bgr8":
        return cast(Image, pixels.array)
    import cv2

    conversions = {
        "rgb8": cv2.COLOR_RGB2BGR,
        "bgra8": cv2.COLOR_BGRA2BGR,
        "rgba8": cv2.COLOR_RGBA2BGR,
    }
    array = pixels.array
    if pixels.encoding == "mono16":
        array = (array >> 8).astype(np.uint8)
    conversion = conversions.get(pixels.encoding, cv2.COLOR_GRAY2BGR)
    return cast(Image, cv2.cvtColor(array, conversion))


def _is_length(value: Any) -> TypeGuard[int]:
    is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return is_number and 0 < value < _MOST_LENGTH


def _amount(array: NDArray[Any]) -> str:
    return f"{array.size} bytes" if array.dtype.char == "B" else f"{array.dtype} {array.shape}"


def described(value: Any) -> str:
    """Return what kind of value a sample has, for messages about it."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    kind = getattr(value, "type", None)
    return f"an array of Arrow of {kind}" if kind is not None else f"a {type(value).__name__}"
