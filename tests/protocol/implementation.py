"""What the scheduler drives: the two ends of an edge, and observers, of any implementation.

An implementation lives on the memory of a schedule (`put_under`), opens the ends of one process at
a time, and is told nothing else. The Python one is the package itself.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from dora_rt.event import Change, Event
from dora_rt.node_config import NodeConfig, OutputConfig
from dora_rt.transport.board import Board
from dora_rt.transport.input.observer import Observer
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.ports import Ports
from dora_rt.transport.primitives import object_names
from tests.protocol import substitutes

_STAMP = Stamp(b"", 1, 1)


class Ends(Protocol):
    """What one process sends and receives through."""

    def send(self, payload: bytes, deadline_ns: int | None) -> None:
        """Send on the process' output.

        Raises:
            TimeoutError: there was no room in time; nothing was sent.
        """

    def loan(self, payload: bytes) -> None:
        """Fill a loan and send it."""

    def cancel_loan(self, payload: bytes) -> None:
        """Fill a loan and give it back."""

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Give what comes next; None at the end.

        Raises:
            TimeoutError: nothing came in time.
        """

    def close_input(self, input_id: str) -> None:
        """Take no more from an input, for good."""

    def close(self) -> None:
        """Receive and send no more."""

    def free_slots(self) -> list[int]:
        """Give the free slots of the output, once all is quiet."""

    def is_fed(self, position: int) -> bool:
        """Tell whether the writer believes the reader of an edge to be there, once all is quiet."""


class Looker(Protocol):
    """An observer of an output."""

    def newest(self) -> Event | None:
        """Copy the newest sample, if there is one since the last call."""

    def following(self) -> Event | None:
        """Copy the oldest sample since the last call, if there is one."""


class Implementation(Protocol):
    """Makes ends on the memory of the schedule that runs."""

    def put_under(self) -> AbstractContextManager[None]:
        """Let the implementation use the memory of `substitutes.here`, until the block ends."""

    def open(self, config: NodeConfig) -> Ends:
        """Attach one process to all that its configuration names."""

    def observe(self, run: str, output: OutputConfig) -> Looker:
        """Look at an output without being noticed."""


class PythonEnds:
    """The package's own ends."""

    def __init__(self, config: NodeConfig, kind: type[Ports] = Ports) -> None:
        name = object_names.board(config.run)
        words: Any = substitutes.here.memory.segment(name).words()
        ports = kind.open(config, Board(words, config.processes, config.edges, name))
        self._ports = ports
        self._inbox = ports.inbox
        self._publishers = list(ports.publishers.values())

    def send(self, payload: bytes, deadline_ns: int | None) -> None:
        """Send on the process' output."""
        if deadline_ns is None:
            self._publishers[0].send(payload, _STAMP)
        else:
            self._publishers[0].send_in_time(payload, Stamp(b"", 1, 1, deadline_ns))

    def loan(self, payload: bytes) -> None:
        """Fill a loan and send it."""
        with self._publishers[0].loan((8,), _BYTE, lambda: _STAMP, has_metadata=False) as array:
            array.fill(payload)

    def cancel_loan(self, payload: bytes) -> None:
        """Fill a loan and give it back."""
        try:
            with self._publishers[0].loan((8,), _BYTE, lambda: _STAMP, has_metadata=False) as array:
                array.fill(payload)
                raise _GiveBack
        except _GiveBack:
            return

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Give what comes next."""
        return self._inbox.wait(deadline_ns)

    def close_input(self, input_id: str) -> None:
        """Take no more from an input, for good."""
        self._inbox.close_input(input_id)

    def close(self) -> None:
        """Receive and send no more."""
        self._ports.close()

    def free_slots(self) -> list[int]:
        """Give the free slots of the output."""
        # As a send does that finds no slot at once.
        writer = self._publishers[0]._ring
        self._publishers[0].loans.collect()
        writer.collect_all()
        writer.find_free()
        return list(writer.free)

    def is_fed(self, position: int) -> bool:
        """Tell whether the writer believes the reader of an edge to be there."""
        return self._publishers[0]._ring.edges[position].state.value == "here"


class PythonLooker:
    """The package's own observer."""

    def __init__(self, run: str, output: OutputConfig) -> None:
        self._observer = Observer(run, output)

    def newest(self) -> Event | None:
        """Copy the newest sample."""
        return self._observer.newest("observed")

    def following(self) -> Event | None:
        """Copy the oldest sample since the last call."""
        return self._observer.following("observed")


class PythonImplementation:
    """The package itself."""

    def put_under(self) -> AbstractContextManager[None]:
        """Replace what the package is built on."""
        return substitutes.put_under()

    def open(self, config: NodeConfig) -> Ends:
        """Attach one process."""
        return PythonEnds(config)

    def observe(self, run: str, output: OutputConfig) -> Looker:
        """Look at an output."""
        return PythonLooker(run, output)


class _GiveBack(Exception):  # noqa: N818
    pass


_BYTE = np.dtype(np.uint8)

__all__ = ["Ends", "Implementation", "Looker", "PythonImplementation"]
