"""Show the picture in a window of the desktop."""

from __future__ import annotations

import cv2

from .drawing import Image

_TITLE = "dora_rt plot (q to stop)"
_LARGEST_WIDTH = 1280
_LARGEST_HEIGHT = 800


class Window:
    """One window; it appears with the first picture, in that picture's size if that fits."""

    def __init__(self) -> None:
        self._is_open = False

    def show(self, image: Image) -> bool:
        """Show a picture; False if the user pressed q or closed the window."""
        if not self._is_open:
            height, width = image.shape[:2]
            shrink = min(1.0, _LARGEST_WIDTH / width, _LARGEST_HEIGHT / height)
            # WINDOW_GUI_NORMAL: no tool bar, which would leave less room for the picture.
            flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(_TITLE, flags)
            cv2.resizeWindow(_TITLE, round(width * shrink), round(height * shrink))
            self._is_open = True
            cv2.imshow(_TITLE, image)
            # Not visible before its first event loop, so `attend` cannot ask for that yet.
            return _pressed_key() != "q"
        cv2.imshow(_TITLE, image)
        return self.attend()

    def attend(self) -> bool:
        """Let the window react to the user; False if the user wants to end."""
        if not self._is_open:
            return True
        if _pressed_key() == "q":
            return False
        return bool(cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1)

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._is_open:
            self._is_open = False
            cv2.destroyAllWindows()


def _pressed_key() -> str:
    key = cv2.waitKey(1)
    return chr(key & 0xFF).lower() if key >= 0 else ""
