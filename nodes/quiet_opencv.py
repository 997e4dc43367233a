"""Keep OpenCV and FFmpeg from writing lines of their own, where a node says it once and better."""

from __future__ import annotations

from collections.abc import MutableMapping

import cv2


def silence_opencv(environ: MutableMapping[str, str]) -> None:
    """Silence OpenCV and its FFmpeg, unless their own variables say how loud they are."""
    if "OPENCV_LOG_LEVEL" not in environ:
        _silence_own_lines()
    # Read when the first stream is opened; -8 is FFmpeg's level "quiet".
    environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def _silence_own_lines() -> None:
    # `cv2.setLogLevel` until 4.12, and its module `utils.logging` from 4.13 on.
    level = getattr(cv2.utils, "logging", None)
    if level is not None:
        level.setLogLevel(level.LOG_LEVEL_SILENT)
    else:
        cv2.setLogLevel(0)  # type: ignore[attr-defined]
