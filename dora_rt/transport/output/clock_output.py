"""The output that is the clock of the dataflow: each sample sets the time before it is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import UnsupportedValueError
from dora_rt.node_config import NodeConfig, OutputConfig
from dora_rt.transport.board import Board
from dora_rt.transport.clock import MAX_CLOCK_NS, ClockHands
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.ring.pool import SlotMemory
from dora_rt.transport.values.sendable import sendable

_INT64 = np.dtype(np.int64)


class ClockPublisher(Publisher):
    """A publisher whose samples are the time. Whoever gets one sees this time, or a later one."""

    hands: ClockHands

    def send(self, value: Any, stamp: Stamp) -> None:
        """Set the time, and publish it, as `Publisher.send`.

        Raises:
            UnsupportedValueError: the value is no time.
        """
        value = sendable(value, self.where)
        clock_ns = read_clock_ns(value, self.where)
        with self._lock:
            self._set(clock_ns)
            super().send(value, stamp)

    def finish_loan(self, slot: int, memory: SlotMemory, array: NDArray[Any], stamp: Stamp) -> None:
        """Set the time, and publish it, as `Publisher.finish_loan`.

        Raises:
            UnsupportedValueError: the array is no time.
        """
        try:
            clock_ns = read_clock_ns(array, self.where)
        except UnsupportedValueError:
            self.cancel_loan(slot)
            raise
        with self._lock:
            self._set(clock_ns)
            super().finish_loan(slot, memory, array, stamp)

    def _set(self, clock_ns: int) -> None:
        if not self._is_closed:
            self.hands.set(clock_ns)


def read_clock_ns(value: Any, where: str) -> int:
    """Return the time that a sample of the clock is.

    Raises:
        UnsupportedValueError: it is none; names `where` and what it is.
    """
    if not isinstance(value, np.ndarray):
        is_bytes = isinstance(value, (bytes, bytearray, memoryview))
        got = f"{len(value)} bytes" if is_bytes else "an array of Arrow with no plain numbers"
    elif value.dtype != _INT64:
        got = f"{value.dtype} {value.shape}"
    elif value.size != 1:
        got = f"int64 {value.shape}"
    elif value.item() < 0:
        got = str(value.item())
    else:
        return int(value.item())
    raise UnsupportedValueError(
        f"{where}: 'clock' of the dataflow names this output, so a sample is one int64, "
        f"nanoseconds from 0 to {MAX_CLOCK_NS}, such as np.int64(1_500_000_000); got {got}"
    )


def open_publisher(
    config: NodeConfig,
    output: OutputConfig,
    board: Board,
    kinds: tuple[type[Publisher], type[ClockPublisher]] = (Publisher, ClockPublisher),
) -> Publisher:
    """Attach to an output of a process.

    Args:
        config: of the process.
        output: the output.
        board: the board of the run.
        kinds: what to make of an output, and of the one that is the clock.
    """
    clock = config.clock
    is_clock = clock is not None and clock.output == output.id
    kind = kinds[1] if is_clock else kinds[0]
    publisher = kind(config.run, config.node, output, board, spin_ns=config.spin_ns)
    if clock is not None and isinstance(publisher, ClockPublisher):
        publisher.hands = ClockHands.attach(config.run, clock.listeners)
    return publisher
