"""Nodes and operators without a dataflow, for tests: inputs from a list, outputs into a list."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dora_rt.errors import UnknownOutputError
from dora_rt.event import DoraStatus, Event
from dora_rt.node.dora_events import import_arrow, input_event, stop_event, with_shape
from dora_rt.node.operator import LoadedOperator
from dora_rt.node_config import InputConfig
from dora_rt.transport.output.origin import Causes, make_stamp
from dora_rt.transport.primitives.doorbell import deadline_after
from dora_rt.transport.values.sendable import check_loan, sendable


@dataclass(frozen=True, slots=True)
class Sent:
    """One sample that the loop under test sent."""

    output_id: str
    value: Any
    metadata: dict[str, Any]
    captured_ns: int | None


def make_event(
    input_id: str,
    value: Any = b"",
    metadata: dict[str, Any] | None = None,
    *,
    seq: int = 0,
    dropped: int = 0,
    origin_ns: int = 0,
) -> Event:
    """Make what a node or an operator receives: bytes, or an array that nobody may write to.

    Raises:
        UnsupportedValueError: no node could have sent this value, or these metadata.
    """
    where = f"input {input_id!r}"
    sent = sendable(value, where)
    received: Any
    if isinstance(sent, np.ndarray):
        received = sent.copy()
        received.flags.writeable = False
    elif isinstance(sent, (bytes, bytearray, memoryview)):
        received = bytes(sent)
    else:
        received = sent.array  # of Arrow
    stamp = make_stamp(Causes(), where, metadata, None, None)
    return Event(
        input_id, received, stamp.metadata_json, seq=seq, dropped=dropped, origin_ns=origin_ns
    )


class FakeNode:
    """Give `events` to a loop and keep what it sends in `sent`; the stream ends after the last.

    What a real node refuses to send, this one refuses as well, and with the same error.
    """

    def __init__(
        self,
        events: Iterable[Event] = (),
        *,
        input_ids: tuple[str, ...] | None = None,
        output_ids: tuple[str, ...] | None = None,
    ) -> None:
        """Prepare the events; outputs are checked by name if `output_ids` are given."""
        self._events = deque(events)
        self._input_ids = input_ids
        self._output_ids = output_ids
        self._causes = Causes()
        self.stopped = False
        self.sent: list[Sent] = []
        self.dataflow_stopped = False

    def next(self, timeout: float | None = None) -> Event | None:
        """Give the next prepared event, or None when there is none left."""
        return self._events.popleft() if self._events else None

    def try_next(self) -> Event | None:
        """Give the next prepared event, or None when there is none left."""
        return self.next()

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def send_output(
        self,
        output_id: str,
        data: Any,
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Keep a copy of the sample in `sent`.

        Raises:
            UnknownOutputError, UnsupportedValueError, ValueError: as for `Node.send_output`.
        """
        where = self._check(output_id, timeout)
        value = sendable(data, where)
        make_stamp(self._causes, where, metadata, captured_ns, None)
        copy: Any
        if isinstance(value, np.ndarray):
            copy = value.copy()
        elif isinstance(value, (bytes, bytearray, memoryview)):
            copy = bytes(value)
        else:
            copy = value.array  # of Arrow, which nobody can change
        self.sent.append(Sent(output_id, copy, dict(metadata or {}), captured_ns))

    @contextmanager
    def loan(
        self,
        output_id: str,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "uint8",
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[NDArray[Any]]:
        """Give an array to fill; it is in `sent` after the block, unless the block raised.

        Raises:
            UnknownOutputError, UnsupportedValueError, ValueError: as for `Node.loan`.
        """
        where = self._check(output_id, timeout)
        check_loan((shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype), where)
        array = np.empty(shape, dtype)
        yield array
        make_stamp(self._causes, where, metadata, captured_ns, None)
        self.sent.append(Sent(output_id, array, dict(metadata or {}), captured_ns))

    def input_ids(self) -> tuple[str, ...]:
        """Name the inputs given at construction, else those of the prepared events."""
        if self._input_ids is not None:
            return self._input_ids
        return tuple(dict.fromkeys(event.id for event in self._events))

    def is_stopped(self) -> bool:
        """Tell whether the test set `stopped`, or the loop asked for the end."""
        return self.stopped or self.dataflow_stopped

    def stop_dataflow(self) -> None:
        """Remember that the loop asked for the end."""
        self.dataflow_stopped = True

    def _check(self, output_id: str, timeout: float | None) -> str:
        deadline_after(timeout)
        if self._output_ids is not None and output_id not in self._output_ids:
            raise UnknownOutputError(
                f"this node has no output {output_id!r}; "
                f"its outputs: {', '.join(self._output_ids) or 'none'}"
            )
        return f"output {output_id!r}"


@dataclass(frozen=True, slots=True)
class OperatorRun:
    """What an operator did: all that it sent, and the status that it returned last."""

    sent: list[Sent]
    status: DoraStatus


def run_operator(
    operator: Any, events: Iterable[Event], *, output_ids: tuple[str, ...] | None = None
) -> OperatorRun:
    """Give `events` to an operator as its runtime does, until it returns STOP or STOP_ALL.

    An operator with `on_event` gets them in the form of dora 1.x, with a STOP behind them.
    `drop_operator` is called at the end.

    Args:
        operator: an instance of the class.
        events: its inputs; `make_event` makes them.
        output_ids: if given, other outputs are errors, as in a dataflow.

    Raises:
        OperatorError: it raised, or returned no status.
    """
    node = FakeNode(output_ids=output_ids)
    loaded = LoadedOperator.of(operator)
    if loaded.takes_events:
        import_arrow()

    def send_output(output_id: str, data: Any, metadata: dict[str, Any] | None = None) -> None:
        if loaded.takes_events:
            data = with_shape(data, metadata)
        node.send_output(output_id, data, metadata)

    status = DoraStatus.CONTINUE
    for event in events:
        argument = (
            input_event(event, InputConfig(event.id))
            if loaded.takes_events
            else {"id": event.id, "data": event.value, "metadata": event.metadata}
        )
        status = loaded.call(argument, send_output)
        if status is not DoraStatus.CONTINUE:
            break
    else:
        if loaded.takes_events:
            loaded.call(stop_event(was_told=False), send_output)
    loaded.drop()
    return OperatorRun(node.sent, status)
