"""Turn the text of `--source` into a source of frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from dora_rt.redaction import without_secrets

from .camera import Camera
from .capture import (
    CameraFormat,
    CameraUnavailableError,
    Capture,
    grab,
    open_device,
    open_pipeline,
)
from .frame import FrameSource, SourceError
from .picture_files import (
    PICTURE_SUFFIXES,
    UNREADABLE_PICTURES,
    Pictures,
    advise_conversion,
    list_pictures,
)
from .played_video import PlayedVideo
from .recordings import SceneSource
from .resizing import ResizedSource
from .scene import SCENE_URL, SceneOptions, parse_scene

logger = logging.getLogger(__name__)

EXPECTED = (
    "'auto', a camera number (0), a device (/dev/video0, /dev/v4l/by-id/...), a URL (rtsp://..., "
    "http://...), a GStreamer pipeline ('... ! appsink'), a video file, a picture, a folder of "
    f"pictures, or {SCENE_URL}"
)
_COMMON_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp")
_SCHEMES_OF_HOSTS = (*_COMMON_SCHEMES, "rtmps", "ftp", "sftp")
# And the others that FFmpeg may know: https://ffmpeg.org/ffmpeg-protocols.html
_SCHEMES = (
    *_SCHEMES_OF_HOSTS,
    *("rtmpe", "rtmpt", "rtmpte", "rtmpts", "rtp", "srtp", "srt", "rist", "udp", "udplite"),
    *("tcp", "tls", "unix", "mms", "mmsh", "mmst", "hls", "gopher", "gophers", "sctp"),
    *("zmq", "amqp", "ipfs", "ipns", "icecast", "smb", "rtspu", "rtspt"),
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
    """A camera, video or picture in the network."""

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
    if not text.strip():
        # The folder in which the node runs is hardly meant.
        raise SourceError(f"--source is empty; expected {EXPECTED}")
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
        return Stream(_checked_url(text))
    return _parse_path(text)


def _checked_url(url: str) -> str:
    """Return a URL that may lead to something; what cannot would be tried again for ever."""
    scheme, _, rest = url.partition("://")
    kind = scheme.lower().rpartition("+")[2]
    if kind not in _SCHEMES:
        near = get_close_matches(kind, _COMMON_SCHEMES, 1)
        hint = f"; did you mean {near[0]}://?" if near else f"; expected {EXPECTED}"
        raise SourceError(f"--source {without_secrets(url)}: nothing can read {scheme}://{hint}")
    authority = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    if kind in _SCHEMES_OF_HOSTS and not authority.partition(":")[0]:
        raise SourceError(
            f"--source {without_secrets(url)}: it names no host; expected {kind}://HOST/..."
        )
    return url


def open_source(
    source: Source, wanted: CameraFormat, *, loop: bool = False, devices: Path = Path("/dev")
) -> FrameSource:
    """Open a source; a live camera is opened by its own thread, and may come later.

    Args:
        source: what to open.
        wanted: what to ask a camera for; recordings are played at its fps, and resized to its size.
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
            # With it come Python's modules of HTTP, which other sources do without.
            from .network import NetworkSource

            return NetworkSource(url, wanted, loop=loop)
        case Pipeline(description):
            return _started(Camera("pipeline", partial(open_pipeline, description), wanted))
        case Video(path):
            _tell_unused(wanted)
            video = PlayedVideo(path, wanted.fps, loop=loop)
            return ResizedSource(video, wanted.width, wanted.height)
        case PictureFiles(paths):
            _tell_unused(wanted)
            pictures = Pictures(paths, wanted.fps, loop=loop)
            return ResizedSource(pictures, wanted.width, wanted.height)
        case Synthetic(options):
            _tell_unused(wanted)
            return _open_scene(options, wanted)


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
    return _open_scene(fallback, wanted)


def _parse_scene(option: str, url: str) -> SceneOptions:
    try:
        return parse_scene(url)
    except ValueError as error:
        raise SourceError(f"{option} {error}") from error


def _parse_path(text: str) -> Source:
    shown = without_secrets(text)
    path = Path(text.removeprefix("file://")).expanduser()
    if text.startswith("file://") and not path.exists():
        path = Path(unquote(str(path)))
    if path.is_dir():
        return _parse_folder(shown, path)
    if path.exists() and not path.is_file():
        raise SourceError(
            f"--source '{shown}': it is neither a file nor a folder; expected {EXPECTED}"
        )
    if not path.is_file():
        place = without_secrets(str(Path(shown.removeprefix("file://")).expanduser().absolute()))
        raise SourceError(
            f"--source '{shown}': there is no file or folder {place}; expected {EXPECTED}"
        )
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return PictureFiles((path,))
    # GIFs are videos to FFmpeg, which shows all their pictures.
    if suffix in UNREADABLE_PICTURES and suffix != ".gif":
        raise SourceError(
            f"--source '{shown}': OpenCV cannot read {suffix} pictures; {advise_conversion(suffix)}"
        )
    return Video(path)


def _parse_folder(shown: str, folder: Path) -> PictureFiles:
    try:
        listing = list_pictures(folder)
    except OSError as error:
        raise SourceError(
            f"--source '{shown}': the folder {folder.absolute()} cannot be read: {error.strerror}"
        ) from error
    if not listing.pictures:
        besides = f", but {listing.left_out}" if listing.left_out else ""
        raise SourceError(
            f"--source '{shown}': the folder {folder.absolute()} has no pictures "
            f"({', '.join(sorted(PICTURE_SUFFIXES))}){besides}"
        )
    if listing.left_out:
        logger.warning("%s: left out: %s", folder, listing.left_out)
    return PictureFiles(listing.pictures)


def _opener(
    probed: Capture,
    path: Path,
    wanted: CameraFormat,
    open_one: Callable[[Path, CameraFormat], Capture],
) -> Callable[[], Capture]:
    """Return the capture that is open already first: many cameras bear no quick second opening."""
    first = [probed]
    return lambda: first.pop() if first else open_one(path, wanted)


def _started(camera: Camera) -> Camera:
    camera.start()
    return camera


def _tell_unused(wanted: CameraFormat) -> None:
    if wanted.fourcc is not None:
        logger.warning("--fourcc %s changes nothing: it is asked of cameras only", wanted.fourcc)


def _open_scene(options: SceneOptions, wanted: CameraFormat) -> SceneSource:
    width, height = wanted.width, wanted.height
    # With one of both, the proportions stay, as those of a video do.
    options = replace(
        options,
        width=width
        or (round(options.width * height / options.height) if height else options.width),
        height=height
        or (round(options.height * width / options.width) if width else options.height),
    )
    frames = "without end" if options.frames is None else f"{options.frames} frames"
    rate = options.fps if wanted.fps is None else wanted.fps
    logger.info(
        "scene: %dx%d at %s, seed %d, %d objects, %s",
        *(options.width, options.height, f"{rate:g} fps" if rate else "full speed"),
        *(options.seed, options.objects, frames),
    )
    return SceneSource(options, wanted.fps)


def _device_number(path: Path) -> tuple[int, str]:
    digits = path.name.removeprefix("video")
    return (int(digits) if digits.isdigit() else 1_000_000, path.name)
