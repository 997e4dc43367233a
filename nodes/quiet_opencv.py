"""Keep OpenCV and FFmpeg from writing lines of their own, where a node says it once and better."""

from __future__ import annotations

from collections.abc import MutableMapping

import cv2


def silence_opencv(environ: MutableMapping[str, str]) -> None:
    """Silence OpenCV and its FFmpeg, unless their own variables say how loud they are."""
    if "OPENCV_LOG_LEVEL" not in environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # Read when the first stream is opened; -8 is FFmpeg's level "quiet".
    environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
