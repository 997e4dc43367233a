"""Tells systemd how a run fares, as its sd_notify(3) does, if it asked for that (`Type=notify`)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from dora_rt.launcher.processes.environ import NOTIFY_VARIABLE


class Notifier:
    """The way to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get(NOTIFY_VARIABLE, "")
        # `@` stands for the zero byte with which abstract addresses begin.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell_ready(self) -> None:
        """Tell that all nodes are ready, or have failed."""
        self._send("READY=1\nSTATUS=running")

    def tell_stopping(self) -> None:
        """Tell that the run is being stopped."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # Whoever started this may have gone, or the variable may be a left-over: the flow goes on.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link,
        ):
            link.setblocking(False)
            link.sendto(text.encode(), self._address)
