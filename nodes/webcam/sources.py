"""Turn the text of `--source` into a source of frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from .camera import Camera
from .capture import (
    CameraFormat,
    CameraUnavailableError,
    Capture,
    grab,
    open_device,
    open_pipeline,
    open_stream,
)
from .frame import FrameSource, SourceError
from .recordings import Pictures, SceneSource, VideoFile
from .scene import SCENE_URL, SceneOptions, parse_scene

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
EXPECTED = (
    "'auto', a camera number (0), a device (/dev/video0, /dev/v4l/by-id/...), a URL (rtsp://..., "
    "http://...), a GStreamer pipeline ('... ! appsink'), a video file, a picture, a folder of "
    f"pictures, or {SCENE_URL}"
)
# Cheap cameras fail their first reads; one that fails more must be named by its user.
_PROBED_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Auto:
    """The first camera that works, else the scene that `fallback` describes."""

    fallback: SceneOptions


@dataclass(frozen=True, slots=True)
class Device:
    """A camera of this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class Stream:
    """A camera in the network."""

    url: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A GStreamer pipeline."""

    description: str


@dataclass(frozen=True, slots=True)
class Video:
    """A video file."""

    path: Path


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """One or more pictures, in the order of their names."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The project's own scene."""

    options: SceneOptions


Source = Auto | Device | Stream | Pipeline | Video | PictureFiles | Synthetic


def parse_source(text: str, fallback: str = SCENE_URL) -> Source:
    """Decide what kind of source `text` names.

    Args:
        text: the user's words.
        fallback: URL of the scene that `auto` shows where there is no camera.

    Raises:
        SourceError: it is none, or names a file or folder that is not there.
    """
    if text == "auto":
        return Auto(_parse_scene("--fallback", fallback))
    if text.isascii() and text.isdigit():
        return Device(Path(f"/dev/video{int(text)}"))
    # Before URLs, since a pipeline may hold one.
    if " ! " in text:
        return Pipeline(text)
    if text.startswith("test://"):
        return Synthetic(_parse_scene("--source", text))
    if text.startswith("/dev/"):
        return Device(Path(text))
    if "://" in text and not text.startswith("file://"):
        return Stream(text)
    return _parse_path(text)


def open_source(
    source: Source, wanted: CameraFormat, *, loop: bool = False, devices: Path = Path("/dev")
) -> FrameSource:
    """Open a source; a live camera is opened by its own thread, and may come later.

    Args:
        source: what to open.
        wanted: size and codec for cameras; its fps is for recordings as well.
        loop: begin a video or pictures again at their end.
        devices: folder in which `auto` looks for video devices.

    Raises:
        SourceError: a recording cannot be opened.
    """
    match source:
        case Auto(fallback):
            paths = sorted(devices.glob("video*"), key=_device_number)
            return open_auto(wanted, paths, fallback)
        case Device(path):
            return _started(Camera(str(path), partial(open_device, path, wanted), wanted))
        case Stream(url):
            return _started(Camera(_without_secret(url), partial(open_stream, url), wanted))
        case Pipeline(description):
            return _started(Camera("pipeline", partial(open_pipeline, description), wanted))
        case Video(path):
            return VideoFile(path, wanted.fps, loop=loop)
        case PictureFiles(paths):
            return Pictures(paths, wanted.fps, loop=loop)
        case Synthetic(options):
            return _open_scene(options, wanted.fps)


def open_auto(
    wanted: CameraFormat,
    devices: Sequence[Path],
    fallback: SceneOptions,
    open_one: Callable[[Path, CameraFormat], Capture] = open_device,
) -> FrameSource:
    """Open the first device that delivers a frame, else the synthetic scene, and log which."""
    reasons: list[str] = []
    for path in devices:
        try:
            capture = open_one(path, wanted)
        except CameraUnavailableError as error:
            reasons.append(f"{path}: {error}")
            continue
        if any(grab(capture) for _ in range(_PROBED_FRAMES)):
            logger.info("source: camera %s", path)
            return _started(Camera(str(path), _opener(capture, path, wanted, open_one), wanted))
        capture.release()
        reasons.append(f"{path}: it opens, but gives no frame")
    why = "; ".join(reasons) or "there is no /dev/video*"
    logger.info("source: no camera (%s), so the synthetic one, %s", why, SCENE_URL)
    scene = replace(
        fallback, width=wanted.width or fallback.width, height=wanted.height or fallback.height
    )
    return _open_scene(scene, wanted.fps)


def _parse_scene(option: str, url: str) -> SceneOptions:
    try:
        return parse_scene(url)
    except ValueError as error:
        raise SourceError(f"{option} {error}") from error


def _parse_path(text: str) -> Source:
    path = Path(text.removeprefix("file://")).expanduser()
    if path.is_dir():
        paths = tuple(
            sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURE_SUFFIXES)
        )
        if not paths:
            raise SourceError(
                f"--source '{text}': the folder {path.absolute()} has no pictures "
                f"({', '.join(sorted(PICTURE_SUFFIXES))})"
            )
        return PictureFiles(paths)
    if not path.is_file():
        raise SourceError(
            f"--source '{text}': there is no file or folder {path.absolute()}; expected {EXPECTED}"
        )
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return PictureFiles((path,))
    return Video(path)


def _opener(
    probed: Capture,
    path: Path,
    wanted: CameraFormat,
    open_one: Callable[[Path, CameraFormat], Capture],
) -> Callable[[], Capture]:
    """Return the capture that is open already first: many cameras bear no quick second opening."""
    first = [probed]
    return lambda: first.pop() if first else open_one(path, wanted)


def _without_secret(url: str) -> str:
    """Return the URL as a log may show it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _started(camera: Camera) -> Camera:
    camera.start()
    return camera


def _open_scene(options: SceneOptions, fps: float | None) -> SceneSource:
    frames = "without end" if options.frames is None else f"{options.frames} frames"
    rate = options.fps if fps is None else fps
    logger.info(
        "scene: %dx%d at %s, seed %d, %d objects, %s",
        *(options.width, options.height, f"{rate:g} fps" if rate else "full speed"),
        *(options.seed, options.objects, frames),
    )
    return SceneSource(options, fps)


def _device_number(path: Path) -> tuple[int, str]:
    digits = path.name.removeprefix("video")
    return (int(digits) if digits.isdigit() else 1_000_000, path.name)
