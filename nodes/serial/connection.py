"""Keep a serial port open: one that is unplugged is waited for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .line_buffer import LineBuffer
from .serial_port import PortError, WriteTimeoutError

logger = logging.getLogger(__name__)

RETRY_S = 0.5
# So many lines in a row that are no text mean another speed, and not a disturbance.
_SUSPICIOUS = 10


class Port(Protocol):
    """An open port; `SerialPort` is the real one."""

    name: str

    def read(self) -> bytes:
        """Return what is there, or nothing after a moment; PortError if the device is gone."""

    def write(self, text: bytes) -> None:
        """Write all; PortError if the device is gone, WriteTimeoutError if it takes nothing."""

    def close(self) -> None:
        """Close it; may be called twice."""


class Connection:
    """A port that is opened again and again, the lines that it gives, and what is written to it.

    One thread reads, and another one may write.

    Args:
        open_port: opens the port, or raises PortError.
        lines: cuts what comes into lines.

    Attributes:
        opened: how often the port was opened.
        unwritten: commands that were not written, because no device was there or took them.
    """

    def __init__(self, open_port: Callable[[], Port], lines: LineBuffer) -> None:
        self._open_port = open_port
        self._lines = lines
        self._port: Port | None = None
        self._is_closing = threading.Event()
        self._told: str | None = None
        self._was_silent_write = False
        self._is_cut = False
        self.opened = 0
        self.unwritten = 0

    def read_lines(self, take: Callable[[str, int], None]) -> None:
        """Hand each line to `take`, with the time when it was read, until `close`.

        Raises:
            ExtraMissingError: pyserial is not installed.
        """
        while not self._is_closing.is_set():
            try:
                port = self._open_port()
            except PortError as error:
                self._tell(f"{error}; trying again until it is there")
                self._is_closing.wait(RETRY_S)
                continue
            self._note_opened(port)
            try:
                self._read_port(port, take)
            except PortError as error:
                self._tell(f"{error}; waiting for it to come back")
                self._is_closing.wait(RETRY_S)
            finally:
                self._port = None
                port.close()

    def write(self, text: bytes, *, is_line: bool = True) -> None:
        """Write a command; what finds no device is counted, and told once.

        Args:
            text: the whole of it.
            is_line: whether the device reads lines. If it took only a part of the one before, a
                line feed keeps that apart: else it would spoil this one, which may be a stop.
        """
        port = self._port
        if port is None:
            self.unwritten += 1
            return
        try:
            port.write(b"\n" + text if is_line and self._is_cut else text)
            self._was_silent_write = self._is_cut = False
        except WriteTimeoutError as error:
            self.unwritten += 1
            self._is_cut = True
            if not self._was_silent_write:
                logger.warning("%s; what comes meanwhile is left out", error)
            self._was_silent_write = True
        except PortError:
            # The thread that reads meets the same, and tells it.
            self.unwritten += 1

    def close(self) -> None:
        """End `read_lines`, within a moment; may be called twice."""
        self._is_closing.set()

    def summary(self) -> str:
        """Return what was lost, in words; empty if nothing was."""
        parts = [
            (self._lines.garbled, "lines were no text"),
            (self._lines.overlong, "lines were too long"),
            (self.unwritten, "commands were not written"),
        ]
        return ", ".join(f"{count} {what}" for count, what in parts if count)

    def _note_opened(self, port: Port) -> None:
        self._lines.restart()
        self.opened += 1
        self._port = port
        self._told = None
        self._is_cut = False
        logger.info("%s: %s", port.name, "open" if self.opened == 1 else "is back")

    def _read_port(self, port: Port, take: Callable[[str, int], None]) -> None:
        garbled_before = self._lines.garbled
        overlong_before = self._lines.overlong
        was_told = False
        while not self._is_closing.is_set():
            piece = port.read()
            if not piece:
                continue
            read_ns = time.monotonic_ns()
            lines = self._lines.feed(piece)
            for line in lines:
                take(line, read_ns)
            if lines:
                garbled_before = self._lines.garbled
            elif self._lines.garbled - garbled_before >= _SUSPICIOUS and not was_told:
                was_told = True
                logger.warning(
                    "%s: the last %d lines are no text; is --baud the speed of the device?",
                    port.name,
                    _SUSPICIOUS,
                )
            if self._lines.overlong > overlong_before and not was_told:
                was_told = True
                logger.warning(
                    "%s: a line is longer than --max-line, and is left out; does the device end "
                    "its lines, and is --baud its speed?",
                    port.name,
                )

    def _tell(self, text: str) -> None:
        if text != self._told:
            logger.warning("%s", text)
        self._told = text
