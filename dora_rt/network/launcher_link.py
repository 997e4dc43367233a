"""The connection of a gateway to the launcher of its machine: lines of JSON both ways."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dora_rt.errors import LaunchError
from dora_rt.node_config import NodeConfig
from dora_rt.runs import Connection


class LauncherLink:
    """What the launcher tells is heard in a thread; what it is told is sent at once."""

    def __init__(self, connection: Connection) -> None:
        """Take a connection that `open` has opened."""
        self._connection = connection
        self._is_closed = False

    @classmethod
    def open(cls, config: NodeConfig) -> LauncherLink:
        """Connect to the run that a node is part of.

        Raises:
            LaunchError: it does not listen.
        """
        connection = Connection.open(Path(config.description_path).parent.parent, config.run)
        if connection is None:
            raise LaunchError(f"the launcher of run {config.run} does not listen")
        return cls(connection)

    def start(self, hear: Callable[[dict[str, Any]], None]) -> None:
        """Hear the launcher from now on.

        Args:
            hear: is called in a thread with each line.
        """
        threading.Thread(target=self._hear_all, args=(hear,), name="launcher", daemon=True).start()

    def tell(self, **fields: Any) -> None:
        """Send a line; a launcher that is gone does not get it."""
        if not self._is_closed:
            try:
                self._connection.send("network", **fields)
            except OSError:
                # It is killed, and this process will be told so by the board or a signal.
                self._is_closed = True

    def close(self) -> None:
        """End the connection."""
        self._is_closed = True
        self._connection.close()

    def _hear_all(self, hear: Callable[[dict[str, Any]], None]) -> None:
        while not self._is_closed:
            try:
                told, _ = self._connection.receive(timeout_s=None)
            except (OSError, ValueError):
                self._is_closed = True
                return
            hear(told)
