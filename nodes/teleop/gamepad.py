"""Drive by a gamepad, as Linux's joystick interface gives it: /dev/input/js0."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from .pilot import Motion, Pilot

logger = logging.getLogger(__name__)

DEVICE = "gamepad"
AUTO = "auto"
# struct js_event of linux/joystick.h: time, value, type, number.
_EVENT = struct.Struct("<IhBB")
_BUTTON, _AXIS, _INITIAL = 0x01, 0x02, 0x80
_GREATEST = 32767
_FOLDER = Path("/dev/input")
_RETRY_S = 1.0
# A stick that is held still tells nothing, so its motion is renewed; if this thread ends, it ends.
_RENEWAL_S, _HOLD_S = 0.1, 0.35


@dataclass(frozen=True, slots=True)
class Layout:
    """Which axes and button mean what; the numbers are those that `jstest` shows.

    Attributes:
        forward, side, turn: axes.
        enable: the button that must be held.
        dead_zone: part of an axis that counts as nothing.
    """

    forward: int = 1
    side: int = 0
    turn: int = 3
    enable: int = 4
    dead_zone: float = 0.1


class PadState:
    """What is pressed, from the events of a gamepad."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._axes: dict[int, float] = {}
        self._buttons: dict[int, bool] = {}

    def take(self, events: bytes) -> None:
        """Take whole events."""
        for _, value, kind, number in _EVENT.iter_unpack(events):
            # The first ones tell the state at the beginning: a button that is held then counts.
            match kind & ~_INITIAL:
                case 0x01:
                    self._buttons[number] = bool(value)
                case 0x02:
                    self._axes[number] = value / _GREATEST

    def motion(self) -> Motion | None:
        """Return where to; None if the button is not held."""
        layout = self._layout
        if not self._buttons.get(layout.enable, False):
            return None
        # Up and left are negative there.
        return Motion(
            -self._axis(layout.forward), -self._axis(layout.side), -self._axis(layout.turn)
        )

    def _axis(self, number: int) -> float:
        value = self._axes.get(number, 0.0)
        dead = self._layout.dead_zone
        if abs(value) <= dead:
            return 0.0
        return (abs(value) - dead) / (1 - dead) * (1 if value > 0 else -1)


class Gamepad:
    """A gamepad that may be unplugged, read by a thread.

    Args:
        path: of the device, or `auto`: the first one there is.
        layout: of its axes and buttons.
        pilot: is told.
    """

    def __init__(self, path: str, layout: Layout, pilot: Pilot) -> None:
        self._path = path
        self._layout = layout
        self._pilot = pilot
        self._told = ""
        self._wake = os.pipe()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="gamepad", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        os.write(self._wake[1], b"x")
        self._thread.join(1)
        for descriptor in self._wake:
            os.close(descriptor)

    def _work(self) -> None:
        while True:
            path = find_gamepad() if self._path == AUTO else self._path
            if path is not None:
                try:
                    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                except OSError as error:
                    self._tell(f"gamepad {path}: {_reason(error)}; trying again")
                else:
                    self._told = ""
                    logger.info("gamepad %s: hold button %d to drive", path, self._layout.enable)
                    if not self._drive(descriptor, path):
                        return
            if self._was_woken(_RETRY_S):
                return

    def _drive(self, descriptor: int, path: str) -> bool:
        """Drive until the gamepad is gone; return False if it is time to end."""
        state = PadState(self._layout)
        begun = b""
        try:
            while True:
                ready, _, _ = select.select([descriptor, self._wake[0]], [], [], _RENEWAL_S)
                if self._wake[0] in ready:
                    return False
                if descriptor in ready:
                    read = os.read(descriptor, _EVENT.size * 64)
                    if not read:
                        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
                    begun += read
                    whole = len(begun) // _EVENT.size * _EVENT.size
                    state.take(begun[:whole])
                    begun = begun[whole:]
                motion = state.motion()
                if motion is None:
                    self._pilot.release(DEVICE)
                else:
                    self._pilot.steer(DEVICE, motion, _HOLD_S)
        except OSError as error:
            self._pilot.release(DEVICE)
            self._tell(f"gamepad {path}: {_reason(error)}; stopped, waiting for it to come back")
            return True
        finally:
            self._pilot.release(DEVICE)
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _was_woken(self, timeout_s: float) -> bool:
        return bool(select.select([self._wake[0]], [], [], timeout_s)[0])

    def _tell(self, text: str) -> None:
        if text != self._told:
            logger.warning("%s", text)
        self._told = text


def find_gamepad() -> str | None:
    """Return the path of the first gamepad, if there is one."""
    found = sorted(_FOLDER.glob("js[0-9]*"), key=lambda path: (len(path.name), path.name))
    return str(found[0]) if found else None


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.ENODEV:
            return "it is gone"
        case errno.EACCES:
            return "this user may not read it: sudo usermod -aG input $USER, and log in again"
    return error.strerror or str(error)
