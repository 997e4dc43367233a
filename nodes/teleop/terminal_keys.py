"""Drive by the keys of a terminal, which tells presses and repetitions, but no release."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import sys
import termios
import threading
import time
from collections.abc import Callable

from dora_rt.errors import DoraRtError

from .pilot import Motion, Pilot

logger = logging.getLogger(__name__)

DEVICE = "keyboard"
REPEATED_HOLD_S = 0.25
"""How long a key holds that is repeated; terminals repeat 10 to 30 times a second."""
_FASTER, _SLOWER = 1.25, 0.8
_LEAST_SPEED = 0.05

HELP = "w/s or arrows: forward, back; a/d: turn; q/e: sideways; +/-: speed; space: stop"

KEYS = {
    "w": Motion(forward=1),
    "s": Motion(forward=-1),
    "a": Motion(turn=1),
    "d": Motion(turn=-1),
    "q": Motion(side=1),
    "e": Motion(side=-1),
    "\x1b[A": Motion(forward=1),
    "\x1b[B": Motion(forward=-1),
    "\x1b[D": Motion(turn=1),
    "\x1b[C": Motion(turn=-1),
}
# Arrows, also as some terminals send them (ESC O A), other sequences, and single letters.
_KEY = re.compile(r"\x1b[\[O]([A-D])|\x1b[\[O][0-9;]*[~A-Za-z]|\x1b|[^\x1b]", re.S)


class TerminalError(DoraRtError):
    """There is no terminal whose keys can be read."""


class Keyboard:
    """The keys of one terminal, read by a thread; closing gives the terminal back as it was."""

    def __init__(self, descriptor: int, name: str, pilot: Pilot, hold_s: float) -> None:
        self._descriptor = descriptor
        self._name = name
        self._pilot = pilot
        self._keys = KeyReader(pilot, hold_s)
        self._before = termios.tcgetattr(descriptor)
        self._wake = os.pipe()
        self._is_closed = False
        changed = termios.tcgetattr(descriptor)
        # Each key at once and unseen; Ctrl-C stays what it is.
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        termios.tcsetattr(descriptor, termios.TCSANOW, changed)
        # What was typed before, while the node was not there, was not meant to drive.
        termios.tcflush(descriptor, termios.TCIFLUSH)
        self._thread = threading.Thread(target=self._read, name="keyboard", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, terminal: str | None, pilot: Pilot, hold_s: float) -> Keyboard:
        """Read the keys of a terminal: of this one, or else of the standard input.

        Raises:
            TerminalError: there is none.
        """
        if terminal is None:
            descriptor, name = _standard_input()
        else:
            name = terminal
            try:
                # Not as the terminal that controls this process: that is the launcher's business.
                descriptor = os.open(terminal, os.O_RDONLY | os.O_NOCTTY)
            except OSError as error:
                raise TerminalError(f"--terminal {terminal}: {error.strerror}") from error
        try:
            return cls(descriptor, name, pilot, hold_s)
        except termios.error as error:
            os.close(descriptor)
            raise TerminalError(f"{name} is no terminal: {error}") from error

    def close(self) -> None:
        """Stop reading, and give the terminal back; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        os.write(self._wake[1], b"x")
        self._thread.join(1)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)
        for descriptor in (self._descriptor, *self._wake):
            os.close(descriptor)

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._descriptor, self._wake[0]], [], [])
            if self._wake[0] in ready:
                break
            try:
                typed = os.read(self._descriptor, 1024)
            except OSError:
                typed = b""
            if not typed:
                logger.warning("%s is gone: no keys any more", self._name)
                break
            self._keys.take(typed.decode(errors="replace"))
        self._pilot.release(DEVICE)


class KeyReader:
    """Turn what is typed into motion.

    A key holds for `hold_s`, because a terminal waits so long before it repeats a key; one that is
    repeated holds only until its next repetition is overdue.
    """

    def __init__(
        self, pilot: Pilot, hold_s: float, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._pilot = pilot
        self._hold_s = hold_s
        self._clock = clock
        self._speed = 0.5
        self._last = ("", 0)

    def take(self, typed: str) -> None:
        """Take what was typed, of which the last key counts."""
        keys = [_name(found) for found in _KEY.finditer(typed)]
        if " " in keys:
            self._last = ("", 0)
            self._pilot.halt()
            return
        for key in keys:
            if key in "+=-_" and key:
                factor = _FASTER if key in "+=" else _SLOWER
                self._speed = min(1.0, max(_LEAST_SPEED, self._speed * factor))
                logger.info("speed %.0f %%", self._speed * 100)
        steering = [key for key in keys if key in KEYS]
        if steering:
            self._press(steering[-1])
        elif any(key not in "+=-_" for key in keys):
            # Whoever presses any other key does not mean to drive on.
            self._pilot.release(DEVICE)

    def _press(self, key: str) -> None:
        now_ns = self._clock()
        before, before_ns = self._last
        self._last = key, now_ns
        is_repeated = key == before and now_ns - before_ns < REPEATED_HOLD_S * 1e9
        hold_s = min(REPEATED_HOLD_S, self._hold_s) if is_repeated else self._hold_s
        self._pilot.steer(DEVICE, KEYS[key].scaled(self._speed), hold_s)


def _name(found: re.Match[str]) -> str:
    return f"\x1b[{found[1]}" if found[1] else found[0].lower()


def _standard_input() -> tuple[int, str]:
    if sys.stdin is None or not sys.stdin.isatty():
        raise TerminalError(
            "the node has no terminal; in the dataflow file write at it `stdin: terminal`, or give "
            "it another one by --terminal PATH (the command `tty` shows its path)"
        )
    return os.dup(sys.stdin.fileno()), "the terminal"
