"""The inbox of a node: waits at the doorbell, and takes from the inputs in turn."""

from __future__ import annotations

import threading
import time

from dora_rt import names
from dora_rt.board import Board
from dora_rt.contract import InputConfig, NodeConfig
from dora_rt.errors import NodeClosedError
from dora_rt.event import Event, InputClosed
from dora_rt.shm import Doorbell
from dora_rt.subscriber import Subscriber
from dora_rt.timer import Timer


class Inbox:
    """All inputs of one node. Threads may take turns in waiting, and close it meanwhile."""

    def __init__(self, config: NodeConfig, board: Board) -> None:
        """Attach to what the launcher made."""
        self.was_told_to_stop = False
        self._node = config.node
        self._number = config.number
        self._board = board
        self._doorbell = Doorbell(names.doorbell(config.run, config.number))
        self._ports = [_attach(config, entry) for entry in config.inputs]
        self._timers = [port for port in self._ports if isinstance(port, Timer)]
        self._open = {port.input_id: port for port in self._ports if isinstance(port, Subscriber)}
        self._has_sources = bool(self._open)
        # In a runtime each operator comes to its own end.
        self._ends_by_itself = not config.operators
        self._turn = 0
        self._receiving = threading.Lock()
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing can come any more: no sample, and no tick of a timer."""
        return not self._open and not self._timers

    def wait(self, deadline_ns: int | None) -> Event | InputClosed | None:
        """Give the next event; None at the end.

        Args:
            deadline_ns: of `time.monotonic_ns()`, or None to wait as long as it takes.

        Raises:
            TimeoutError: the deadline passed.
            NodeClosedError: the inbox was closed.
        """
        with self._receiving:
            return self._wait(deadline_ns)

    def wait_for_start(self) -> None:
        """Wait until inputs may flow, or the node is told to stop."""
        board = self._board
        while not (board.start_ns or board.is_stopped(self._number) or self._is_closed):
            self._doorbell.wait(None)
        # The ring may have been meant for another thread, which waits for an input.
        self._doorbell.ring()

    def close_input(self, input_id: str) -> None:
        """Take no more from one input; its writer stops feeding it."""
        for port in self._ports:
            if port.input_id == input_id and isinstance(port, Subscriber):
                port.close()
        self._open.pop(input_id, None)
        self._ports = [port for port in self._ports if port.input_id != input_id]
        self._timers = [timer for timer in self._timers if timer.input_id != input_id]

    def close(self) -> None:
        """Take no more from any input; a thread that waits gets a NodeClosedError."""
        self._is_closed = True
        for port in self._ports:
            if isinstance(port, Subscriber):
                port.close()
        self._doorbell.ring()

    def _wait(self, deadline_ns: int | None) -> Event | InputClosed | None:
        board, number = self._board, self._number
        while True:
            if self._is_closed:
                raise NodeClosedError(f"node {self._node!r}: closed, no more inputs")
            if board.is_stopped(number):
                self.was_told_to_stop = True
                return None
            wake_ns = deadline_ns
            if start_ns := board.start_ns:
                event = self._take(start_ns)
                if event is not None:
                    return event
                if self._is_over():
                    return None
                for timer in self._timers:
                    due_ns = timer.due_ns(start_ns)
                    wake_ns = due_ns if wake_ns is None else min(wake_ns, due_ns)
            if not self._doorbell.wait(wake_ns) and wake_ns == deadline_ns:
                raise TimeoutError(f"node {self._node!r}: no input came in time")
            self._doorbell.silence()

    def _take(self, start_ns: int) -> Event | InputClosed | None:
        # In turn, so that a fast input does not starve the others.
        ports = self._ports
        count = len(ports)
        for step in range(count):
            turn = (self._turn + step) % count
            port = ports[turn]
            event = (
                port.take(start_ns, time.monotonic_ns()) if isinstance(port, Timer) else port.take()
            )
            if event is not None:
                self._turn = turn + 1
                return event
        return self._look_for_ends()

    def _look_for_ends(self) -> InputClosed | None:
        for input_id, subscriber in self._open.items():
            if subscriber.is_ended:
                del self._open[input_id]
                return InputClosed(input_id)
            if subscriber.notices_end():
                # The wait that follows returns at once, through the doorbell's semaphore.
                self._doorbell.ring()
        return None

    def _is_over(self) -> bool:
        # Timers do not keep a finished node alive; a node of only timers is a source, and goes on.
        if self._open or not self._ends_by_itself:
            return False
        return self._has_sources or not self._timers


def _attach(config: NodeConfig, entry: InputConfig) -> Subscriber | Timer:
    if entry.period_ns is not None:
        return Timer(entry.id, entry.period_ns)
    assert entry.output is not None, "an input is a timer or an edge"
    assert entry.edge is not None, "an input is a timer or an edge"
    return Subscriber(config.run, config.node, entry.id, entry.output, entry.edge)
