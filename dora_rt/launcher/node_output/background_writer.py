"""Writes to a terminal, pipe or file in a thread of its own: a stuck one holds up no node."""

from __future__ import annotations

import io
import os
import select
import signal
import threading
import time
from collections import deque
from typing import TextIO

from dora_rt.errors import LaunchError

ROOM_NBYTES = 4 * 1024 * 1024
"""How much may wait for a reader; beyond it lines are left out, and counted."""

_SPARE_NBYTES = 1024 * 1024  # beyond that, for what must not be missed


class BackgroundWriter:
    """One stream, for whole lines; from `open` to `close`, which waits for its reader.

    A terminal takes nothing after Ctrl-S, nor does a pipe to `less` that shows its first page. The
    thread that asks for a line to be written must go on all the same: it supervises robots.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._descriptor = _descriptor(stream)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: deque[bytes] = deque()
        self._nbytes = 0
        """Size of the queued text and of the text that the thread is writing."""
        self._missed = 0
        self._is_gone = False
        self._is_closing = False
        self._is_given_up = False

    def open(self) -> None:
        """Start the thread, unless the stream is in memory and cannot be stuck.

        Raises:
            LaunchError: this user may have no more threads.
        """
        if self._descriptor is not None:
            thread = threading.Thread(target=self._work, name="outlet", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise LaunchError(
                    "no thread can be started: this user has as many processes and threads as it "
                    "may have (ulimit -u), or memory is short"
                ) from error
            self._thread = thread

    def write(self, text: str, *, is_vital: bool) -> None:
        """Have whole lines written; while the stream is stuck, only as many as there is room for.

        Args:
            text: the lines.
            is_vital: whether they may also use the room that is spared for such.
        """
        # A terminal of the C locale: rather a code than no line.
        line = text.encode(self._encoding, "backslashreplace")
        if self._thread is None:
            self._stream.write(line.decode(self._encoding))
            return
        with self._changed:
            if self._is_gone:
                return
            room = ROOM_NBYTES + _SPARE_NBYTES if is_vital else ROOM_NBYTES
            # In one piece: lines after a gap wait until the gap was announced.
            is_behind = self._missed > 0 and not is_vital
            if is_behind or self._nbytes + len(line) > room:
                self._missed += text.count("\n")
                return
            self._append(line)
            self._changed.notify_all()

    def drain(self, within_s: float | None = None) -> None:
        """Wait until all was written; after `within_s` seconds give up, once and for all."""
        deadline_s = None if within_s is None else time.monotonic() + within_s
        with self._changed:
            while self._nbytes and not self._is_given_up:
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    self._is_given_up = True
                else:
                    self._changed.wait(left_s)

    def close(self) -> None:
        """Wait like `drain`, and end the thread unless it is stuck."""
        self.drain()
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None and not self._is_given_up:
            self._thread.join()

    def _append(self, line: bytes) -> None:
        self._waiting.append(line)
        self._nbytes += len(line)

    def _work(self) -> None:
        # They are for the main thread, which may wait for this one.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (text := self._next()) is not None:
            try:
                self._put(text)
            except OSError:
                # The reader has left, or the disk is full; the robot goes on.
                self._forget()
                return
            with self._changed:
                self._nbytes -= len(text)
                if self._missed and not self._waiting:
                    self._append(_say_missed(self._missed))
                    self._missed = 0
                self._changed.notify_all()

    def _next(self) -> bytes | None:
        with self._changed:
            while not self._waiting:
                if self._is_closing:
                    return None
                self._changed.wait()
            text = b"".join(self._waiting)
            self._waiting.clear()
            return text

    def _put(self, text: bytes) -> None:
        # Not through the stream: a thread that is stuck inside it would keep the interpreter from
        # ending.
        assert self._descriptor is not None, "else there is no thread"
        left = memoryview(text)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                # Another program with the same terminal open made it so.
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()

    def _forget(self) -> None:
        with self._changed:
            self._is_gone = True
            self._waiting.clear()
            self._nbytes = 0
            self._changed.notify_all()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def _say_missed(count: int) -> bytes:
    lines = "line" if count == 1 else "lines"
    return (
        f"... {count} {lines} not shown: nobody read this output for a while; "
        "the log files have what the nodes printed\n"
    ).encode()
