"""Speaks to pyserial: the only module here that imports it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dora_rt.errors import DoraRtError, ExtraMissingError

AUTO = "auto"
_READ_TIMEOUT_S = 0.2
_WRITE_TIMEOUT_S = 1.0
_BY_ID = Path("/dev/serial/by-id")


class PortError(DoraRtError):
    """The port cannot be opened, or is gone; it may be there again later."""


class WriteTimeoutError(DoraRtError):
    """The device takes nothing at the moment."""


@dataclass(frozen=True, slots=True)
class PortSettings:
    """Which port, and how.

    Attributes:
        port: a path, an address of pyserial such as `socket://10.0.0.5:4000`, or `auto`.
        baud: bits a second.
        resets: whether opening sets DTR and RTS, by which boards such as Arduino's start anew.
    """

    port: str
    baud: int
    resets: bool = True


class SerialPort:
    """An open port."""

    def __init__(self, serial: Any, name: str, errors: tuple[type[Exception], ...]) -> None:
        self._serial = serial
        self._errors = errors
        self.name = name

    @classmethod
    def open(cls, settings: PortSettings) -> SerialPort:
        """Open the port.

        Raises:
            PortError: it is not there, or may not be opened.
            ExtraMissingError: pyserial is not installed.
        """
        pyserial = import_pyserial()
        name = find_port() if settings.port == AUTO else settings.port
        # What termios refuses comes as its own error, such as a rate that the driver does not have.
        import termios

        errors = (pyserial.SerialException, OSError, ValueError, termios.error)
        try:
            serial = pyserial.serial_for_url(name, do_not_open=True)
            serial.baudrate = settings.baud
            serial.timeout = _READ_TIMEOUT_S
            serial.write_timeout = _WRITE_TIMEOUT_S
            if "://" not in name:
                # Two readers of one port would each get a part of it.
                serial.exclusive = True
            if not settings.resets:
                serial.dtr = serial.rts = False
            serial.open()
        except errors as error:
            raise PortError(f"{name}: {_reason(error, name)}") from error
        return cls(serial, name, errors)

    def read(self) -> bytes:
        """Return what is there; wait a moment for the first byte, which may bring nothing.

        Raises:
            PortError: the device is gone.
        """
        try:
            found: bytes = self._serial.read(max(1, self._serial.in_waiting))
        except self._errors as error:
            raise PortError(f"{self.name}: {_reason(error, self.name)}") from error
        return found

    def write(self, text: bytes) -> None:
        """Write all of it.

        Raises:
            PortError: the device is gone.
            WriteTimeoutError: it takes nothing.
        """
        import serial

        try:
            self._serial.write(text)
        except serial.SerialTimeoutException as error:
            raise WriteTimeoutError(f"{self.name}: takes nothing since a second") from error
        except self._errors as error:
            raise PortError(f"{self.name}: {_reason(error, self.name)}") from error

    def close(self) -> None:
        """Close it; may be called twice."""
        try:
            self._serial.close()
        except self._errors:
            return  # it is gone already: an unplugged one cannot be drained


def import_pyserial() -> Any:
    """Return the module of pyserial.

    Raises:
        ExtraMissingError: it is not installed.
    """
    try:
        import serial
    except ImportError as error:
        raise ExtraMissingError(
            f"pyserial is needed: pip install 'dora_rt[serial]' ({error})"
        ) from error
    if not hasattr(serial, "serial_for_url"):
        raise ExtraMissingError(
            f"{getattr(serial, '__file__', 'serial')} is not pyserial but another package of the "
            "name serial: pip uninstall serial; pip install 'dora_rt[serial]'"
        )
    return serial


def find_port() -> str:
    """Return the only port that something is plugged into by USB.

    Raises:
        PortError: there is none, or several.
    """
    from serial.tools import list_ports

    found: dict[str, str] = {
        port.device: port.description for port in list_ports.comports() if port.vid
    }
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise PortError("no serial device is plugged in by USB; --port PATH names any other one")
    names = ", ".join(f"{device} ({text})" for device, text in sorted(found.items()))
    hint = f"; names that stay are in {_BY_ID}" if _BY_ID.is_dir() else ""
    raise PortError(f"several serial devices are plugged in: {names}; choose by --port{hint}")


def _reason(error: Exception, name: str) -> str:
    match getattr(error, "errno", None):
        case errno.ENOENT:
            return "there is no such device"
        case errno.EACCES:
            return (
                "this user may not open it: sudo usermod -aG dialout $USER (on Arch: uucp), and "
                "log in again"
            )
        case errno.EAGAIN | errno.EBUSY:
            return "another program has it open: a serial monitor, or ModemManager"
        case errno.EIO:
            return "the device is gone"
    text = str(error).replace(name, "").strip(" :")
    if "returned no data" in text or "disconnected" in text:
        return "the device is gone"
    return text or type(error).__name__
