"""Choose where the picture is shown: a window, a web page, a file only, or nowhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import cv2

_PROBE = "import cv2; cv2.namedWindow('dora_rt'); cv2.waitKey(1); cv2.destroyAllWindows()"
_PROBE_TIMEOUT_S = 15.0


class Output(Enum):
    """Where the picture is shown; AUTO is decided at the start."""

    AUTO = "auto"
    WINDOW = "window"
    WEB = "web"
    FILE = "file"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Choice:
    """The output that was decided on, and why, where that may surprise."""

    output: Output
    reason: str = ""


def choose_output(
    wanted: Output,
    environ: Mapping[str, str],
    *,
    has_gui: bool,
    can_open_window: Callable[[], bool],
) -> Choice:
    """Decide on an output that works here; a window that cannot be becomes a web page.

    Args:
        wanted: the choice of the user.
        environ: DISPLAY, WAYLAND_DISPLAY and CI are looked at.
        has_gui: whether this OpenCV can make windows.
        can_open_window: tries it; called only if all else speaks for a window.
    """
    if wanted not in (Output.AUTO, Output.WINDOW):
        return Choice(wanted)
    if environ.get("CI", "").lower() == "true":
        return Choice(Output.WEB, "CI=true")
    if not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return Choice(Output.WEB, "there is no display")
    if not has_gui:
        return Choice(Output.WEB, "this OpenCV has no windows (opencv-python-headless?)")
    if not can_open_window():
        return Choice(Output.WEB, "the display does not answer")
    return Choice(Output.WINDOW)


def opencv_has_gui() -> bool:
    """Return whether this OpenCV was built with windows."""
    try:
        return bool(cv2.currentUIFramework())
    except (AttributeError, cv2.error):
        # The headless wheels have no such function.
        return False


def can_open_window() -> bool:
    """Try to open a window, in a process of its own: Qt aborts the one in which it fails."""
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0
