"""Videos that are being written, of plot and of video_writer: the kind that a name asks for."""

from __future__ import annotations

from pathlib import Path

from .segmented_video import CODECS, SegmentedVideo
from .steady_video import SteadyVideo
from .video_file import DiskFullError, VideoFile, VideoFileError, remove_empty, reserve_free

__all__ = [
    "CODECS",
    "VIDEO_SUFFIXES",
    "DiskFullError",
    "VideoFile",
    "VideoFileError",
    "make_folder",
    "open_video_file",
    "remove_empty",
    "reserve_free",
]

VIDEO_SUFFIXES = (".mp4", ".avi")


def open_video_file(path: Path, codec: str = "auto") -> VideoFile:
    """Begin a video; its suffix says which container: .mp4 or .avi (Motion JPEG).

    Args:
        path: the file; one that is there already is replaced with the first picture.
        codec: of MP4: h264, mpeg4, or auto: H.264 where this OpenCV can write it.

    Raises:
        VideoFileError: it is another suffix, or the folder cannot be made.
    """
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise VideoFileError(
            f"{path}: '{path.suffix}' is no video; expected {', '.join(VIDEO_SUFFIXES)}"
        )
    if path.is_dir():
        raise VideoFileError(f"{path}: this is a folder; expected the path of a file")
    make_folder(path)
    if suffix == ".mp4":
        return SegmentedVideo(path, codec)
    return SteadyVideo(path)


def make_folder(path: Path) -> None:
    """Make the folder that the file of this path is in.

    Raises:
        VideoFileError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoFileError(
            f"{path}: the folder {path.parent} cannot be made ({error.strerror})"
        ) from error
