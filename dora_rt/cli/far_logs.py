"""What the nodes on another machine have printed, asked for piece by piece."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from dora_rt.runs import Connection, RefusedError

_PAUSE_S = 0.5
Show = Callable[[str, str], str]


class FarLogs:
    """The logs of nodes of one other machine; a machine that cannot be asked has no new lines."""

    def __init__(
        self, connection: Connection, machine: str, nodes: Sequence[str], show: Show
    ) -> None:
        """Take a connection to the run on this machine, which `close` closes.

        Args:
            connection: to that run.
            machine: the other one.
            nodes: whose logs.
            show: makes the name of a node and a line with its time into one line.
        """
        self._connection = connection
        self._machine = machine
        self._nodes = list(nodes)
        self._show = show
        self._positions: dict[str, Any] = {}
        self._ask_at = 0.0
        self._is_told = False

    def old(self, most_lines: int) -> Iterator[str]:
        """Yield lines that are there, the oldest first: the last 256 KiB of each node at most."""
        yield from sorted(self._ask(lines=most_lines))

    def new(self) -> Iterator[str]:
        """Yield the lines since the last call; every now and then."""
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _PAUSE_S
            yield from self._ask(after=self._positions)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _ask(self, **fields: Any) -> Iterable[str]:
        try:
            answer, _ = self._connection.ask(
                "logs", machine=self._machine, nodes=self._nodes, **fields
            )
        except RefusedError as error:
            if not self._is_told:
                self._is_told = True
                print(f"dora-rt: {error}", file=sys.stderr)
            return []
        except OSError:
            return []  # the run here has ended: who follows notices
        self._is_told = False
        self._positions = answer["positions"]
        return [self._show(node, line) for node, lines in answer["lines"].items() for line in lines]
