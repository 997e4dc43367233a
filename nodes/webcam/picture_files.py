"""Picture files, one after the other, and which of a folder's files are pictures."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dora_rt.picture_size import MAX_PIXELS, read_size

from .capture import as_bgr
from .frame import Frame, Image, SourceError
from .recordings import Recording

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
PICTURES_FPS = 10.0
# Pictures that people have, and that OpenCV's wheels cannot read; and what makes JPEGs of them.
UNREADABLE_PICTURES = {
    **dict.fromkeys((".heic", ".heif"), "heif-convert IN.HEIC OUT.jpg"),
    **dict.fromkeys((".avif", ".gif", ".jxl", ".svg", ".psd"), "magick IN OUT.jpg"),
    **dict.fromkeys(
        (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "darktable-cli IN OUT.jpg"
    ),
}
VIDEO_SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".mts", ".ts", ".webm"))


@dataclass(frozen=True, slots=True)
class Listing:
    """The pictures of a folder in their natural order, and words about what is left out."""

    pictures: tuple[Path, ...]
    left_out: str


def list_pictures(folder: Path) -> Listing:
    """List the pictures of a folder: frame2 comes before frame10, hidden files are none.

    Raises:
        OSError: the folder cannot be read.
    """
    # What macOS writes beside each file (`._IMG_1.jpg`) has the name of a picture, and is none.
    visible = [one for one in folder.iterdir() if not one.name.startswith(".")]
    pictures = [
        one for one in visible if one.suffix.lower() in PICTURE_SUFFIXES and not one.is_dir()
    ]
    others = Counter(
        one.suffix.lower()
        for one in visible
        if one.suffix.lower() in UNREADABLE_PICTURES.keys() | VIDEO_SUFFIXES and one.is_file()
    )
    return Listing(tuple(sorted(pictures, key=natural_order)), _describe_left_out(others))


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by their value."""
    parts = re.findall(r"(\d+)|(\D+)", path.name.lower())
    key = [(0, int(digits), "") if digits else (1, 0, text) for digits, text in parts]
    return [*key, (2, 0, path.name)]


def advise_conversion(suffix: str) -> str:
    """Return how to make a picture of this kind one that can be read."""
    return f"make JPEGs of them first, such as by `{UNREADABLE_PICTURES[suffix]}`"


class Pictures(Recording):
    """Picture files one after the other; none is skipped, however slowly they are asked for.

    One that cannot be read costs that picture, and is told. If none of them can be read, that is
    an error.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        fps: float | None = None,
        *,
        loop: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._paths = list(paths)
        self._loop = loop
        self._shown: tuple[Path, Image] | None = None
        self._unreadable: set[Path] = set()
        self._skipped = 0
        rate = PICTURES_FPS if fps is None else fps
        super().__init__(rate, clock=clock, sleep=sleep)
        if len(self._paths) == 1:
            logger.info("one picture, %s%s", paths[0], _at(rate) if loop else "")
        else:
            logger.info(
                "%d pictures, from %s to %s%s", len(paths), paths[0], paths[-1].name, _at(rate)
            )

    def _may_skip(self) -> bool:
        return False

    def _seek(self, number: int) -> bool:
        while True:
            position = number + self._skipped
            if position >= len(self._paths) and not self._loop:
                return False
            path = self._paths[position % len(self._paths)]
            if path not in self._unreadable and self._read(path):
                return True
            self._skipped += 1

    def _read(self, path: Path) -> bool:
        # One picture shown again and again is read once.
        if self._shown is not None and self._shown[0] == path:
            return True
        try:
            self._shown = (path, read_picture(path))
        except SourceError as error:
            self._unreadable.add(path)
            if len(self._unreadable) == len(self._paths):
                raise
            logger.warning("%s; it is left out", error)
            return False
        return True

    def _make_frame(self, number: int) -> Frame:
        assert self._shown is not None
        path, image = self._shown
        height, width, _ = image.shape
        return Frame(
            number=number + self._skipped,
            captured_ns=self._clock(),
            shape=(height, width, 3),
            fill=lambda out: np.copyto(out, image),
            metadata={"file": path.name},
        )


def read_picture(path: Path) -> Image:
    """Read one picture file as uint8 BGR.

    Raises:
        SourceError: it cannot be read, or is absurdly large.
    """
    # Only a file: a fifo and the like can block without end.
    is_file = path.is_file()
    try:
        size = read_size(path) if is_file else None
    except OSError as error:
        raise SourceError(f"--source: '{path}' cannot be read: {error.strerror}") from error
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise SourceError(
            f"--source: '{path}' has {size[0]} x {size[1]} pixels, more than "
            f"{MAX_PIXELS // 10**6} million; make it smaller"
        )
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR) if is_file else None
    except cv2.error:
        image = None  # such as one whose size only OpenCV knows, and finds too large
    if image is None:
        raise SourceError(f"--source: '{path}' cannot be read as a picture; repair or remove it")
    return as_bgr(image)


def _describe_left_out(others: Counter[str]) -> str:
    texts = []
    for suffix, count in sorted(others.items()):
        if suffix in VIDEO_SUFFIXES:
            advice = "name a video itself as --source"
        else:
            advice = f"OpenCV cannot read them, {advise_conversion(suffix)}"
        texts.append(f"{count} {suffix} file{'s' * (count > 1)} ({advice})")
    return ", ".join(texts)


def _at(fps: float) -> str:
    return f", at {fps:g} a second" if fps > 0 else ", at full speed"
