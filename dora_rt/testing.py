"""Nodes and operators without a dataflow, for tests: inputs from a list, outputs into a list."""

from __future__ import annotations

import mmap
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dora_rt import fake_calls
from dora_rt.errors import NodeClosedError, SentAfterStopError, UnknownOutputError
from dora_rt.event import Change, DoraStatus, Event, GoalRequest, ParameterChanged, Request
from dora_rt.fake_calls import Answers, FakeCalls
from dora_rt.node.dora_events import (
    import_arrow,
    input_event,
    parameter_event,
    stop_event,
    with_shape,
)
from dora_rt.node.operator import LoadedOperator
from dora_rt.node_config import InputConfig
from dora_rt.node_parameters import REQUIRED, check_size, copy_of, default_or_raise
from dora_rt.transport.output.loan import Loan, LoanBook
from dora_rt.transport.output.origin import Origins, Stamp, make_stamp
from dora_rt.transport.primitives.doorbell import deadline_after
from dora_rt.transport.ring.pool import SlotMemory
from dora_rt.transport.values.header import HEADER_NBYTES
from dora_rt.transport.values.sendable import sendable

if TYPE_CHECKING:
    from dora_rt.transport.values.arrow import ArrowSample


@dataclass(frozen=True, slots=True)
class Sent:
    """One sample that the loop under test sent.

    Attributes:
        output_id: name of the output.
        value: bytes, a read-only array of the test's own, or an array of Arrow.
        metadata: a copy of the dict that the loop gave, without what a real node inherits.
        captured_ns: what the loop gave.
    """

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
    latched: bool = False,
) -> Event:
    """Make what a node or an operator receives: bytes, or an array that nobody may write to.

    Args:
        input_id: name of the input.
        value: what the sender sends, as for `Node.send_output`; it is copied.
        metadata: as for `Node.send_output`.
        seq: number of the sample at its sender.
        dropped: samples of this input that were lost before this one.
        origin_ns: when the sample at the start of the chain was captured, `time.monotonic_ns()`.
        latched: whether it was sent before the node was there, by a latched output.

    Raises:
        UnsupportedValueError: no node could have sent this value, or these metadata.
        ExtraMissingError: an array of Arrow, and the extra `arrow` is not installed.
    """
    where = f"input {input_id!r}"
    received = _received(sendable(value, where))
    stamp = make_stamp(Origins(), where, metadata, None, None)
    return Event(
        input_id,
        received,
        stamp.metadata_json,
        seq=seq,
        dropped=dropped,
        origin_ns=origin_ns,
        copied=latched,
        latched=latched,
    )


def make_request(
    service: str,
    value: Any = b"",
    metadata: dict[str, Any] | None = None,
    *,
    client: str = "client",
) -> Request:
    """Make what a server receives when a client calls it.

    Args:
        service: the name in `serves:`.
        value: as for `make_event`.
        metadata: as for `make_event`.
        client: the id of the node that asks.
    """
    return fake_calls.make_request(make_event, service, value, metadata, client)


def make_goal_request(
    service: str,
    value: Any = b"",
    metadata: dict[str, Any] | None = None,
    *,
    client: str = "client",
) -> GoalRequest:
    """Make what a server receives when a client gives it a goal; arguments as `make_request`."""
    return fake_calls.make_goal_request(make_event, service, value, metadata, client)


class FakeNode(FakeCalls):
    """A node without a dataflow: it gives `events` to a loop, and keeps what the loop sends.

    It refuses what a `Node` refuses, with the same exceptions. It never waits, so it
    raises no TimeoutError. After the last event it ends, or by `stopped` or `stop_dataflow`.

    Attributes:
        sent: what the loop sent, in its order, as `Sent`.
        stopped: False; set it to stop the node.
        dataflow_stopped: whether the loop called `stop_dataflow`.
        now_ns: what `now` returns; None: `time.monotonic_ns()`. Set it to turn the clock.
    """

    def __init__(
        self,
        events: Iterable[Event | Change] = (),
        *,
        node_id: str = "node",
        input_ids: tuple[str, ...] | None = None,
        output_ids: tuple[str, ...] | None = None,
        parameters: Mapping[str, Any] | None = None,
        now_ns: int | None = None,
        answers: Answers | None = None,
        goals: Answers | None = None,
    ) -> None:
        """Prepare the events.

        Args:
            events: what comes, in its order: `make_event` makes events. `InputClosed`,
                `InputRecovered` and `SourceRestarted` are seen by `next_event` only, and
                `ParameterChanged` as well: it changes the parameter in any case.
            node_id: what `id` returns.
            input_ids: what `input_ids` returns; None: the inputs of the events.
            output_ids: the outputs that the dataflow file declares; None: any.
            parameters: the values of the parameters at the beginning, by their names.
            now_ns: what `now` returns at the beginning.
            answers: what `call` gets, by the names in `calls:`: values in their order, or
                exceptions to raise, such as `ServerGone("...")`.
            goals: what becomes of goals, by the names in `calls:`: for each goal the values of its
                feedback, the value of its result, and its status.

        Raises:
            ParameterRefusedError: no parameter can have such a value.
            ValueError: no goal can become what was prepared.
        """
        self._events = deque(events)
        self._node_id = node_id
        self._input_ids = input_ids
        self._output_ids = output_ids
        self._parameters = dict(parameters or {})
        for value in self._parameters.values():
            check_size(value)
        self._where = f"node {node_id!r}"
        self._prepare(answers, goals)
        self._origins = Origins()
        self._has_ended = self._is_closed = self._saw_stop = False
        self.stopped = False
        self.now_ns = now_ns
        self.sent: list[Sent] = []
        self.dataflow_stopped = False

    def id(self) -> str:
        """Return the id given at construction."""
        return self._node_id

    def input_ids(self) -> tuple[str, ...]:
        """Return the names given at construction, else those of the events that are left."""
        if self._input_ids is not None:
            return self._input_ids
        inputs = (one.id for one in self._events if not isinstance(one, ParameterChanged))
        return tuple(dict.fromkeys(inputs))

    def output_ids(self) -> tuple[str, ...]:
        """Return the names given at construction, else those of the outputs sent on so far."""
        if self._output_ids is not None:
            return self._output_ids
        return tuple(dict.fromkeys(sent.output_id for sent in self.sent))

    def parameter(self, name: str, default: Any = REQUIRED) -> Any:
        """Return the value given at construction, or that of the last `ParameterChanged`.

        Raises:
            UnknownParameterError: it has no value, and there is no default.
        """
        if name in self._parameters:
            return copy_of(self._parameters[name])
        return default_or_raise(default, f"node {self._node_id!r}", name, self._parameters)

    def parameters(self) -> dict[str, Any]:
        """Return the values of all parameters by their names."""
        return {name: copy_of(value) for name, value in self._parameters.items()}

    def now(self) -> int:
        """Return `now_ns`, or `time.monotonic_ns()` if it is None."""
        return time.monotonic_ns() if self.now_ns is None else self.now_ns

    def is_stopped(self) -> bool:
        """Return whether `stopped` is set, the loop asked for the end or saw it, or closed."""
        return self.stopped or self.dataflow_stopped or self._has_ended or self._is_closed

    def next(self, timeout: float | None = None) -> Event | None:
        """Return the next event, or None when there is none left, or the node is stopped.

        Args:
            timeout: checked, and otherwise of no effect.

        Raises:
            ValueError: the time-out is negative or not a number.
            NodeClosedError: the node is closed.
        """
        while True:
            event = self.next_event(timeout)
            if event is None or isinstance(event, Event):
                return event

    def next_event(self, timeout: float | None = None) -> Event | Change | None:
        """Return what `next` returns, or a prepared `InputClosed` or the like; raises as `next`."""
        deadline_after(timeout)
        if self._is_closed:
            raise NodeClosedError(f"node {self._node_id!r}: closed, no more inputs")
        if self.stopped or self.dataflow_stopped:
            self._saw_stop = True
            return None
        if not self._events:
            self._has_ended = True
            return None
        event = self._events.popleft()
        self._note_end(event)
        if self._serve(event):
            return self.next_event(timeout)
        if isinstance(event, ParameterChanged):
            self._parameters.pop(event.name, None)
            if not event.is_deleted:
                self._parameters[event.name] = event.value
        return event

    def try_next(self) -> Event | None:
        """Return what `next` returns.

        Raises:
            NodeClosedError: the node is closed.
        """
        return self.next()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

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

        Args:
            output_id: name of the output.
            data: as for `Node.send_output`.
            metadata: as for `Node.send_output`.
            captured_ns: as for `Node.send_output`.
            timeout: checked, and otherwise of no effect.

        Raises:
            UnknownOutputError: the output is not among the `output_ids` of this node.
            UnsupportedValueError: data, metadata or `captured_ns` cannot be sent.
            ExtraMissingError: an array of Arrow, and the extra `arrow` is not installed.
            NodeClosedError: the node is closed.
            SentAfterStopError: `next` has returned None because the node is stopped.
            ValueError: the time-out is negative or not a number.
        """
        output = self._output(output_id, timeout)
        make_stamp(self._origins, output.where, metadata, captured_ns, None)
        received = _received(sendable(data, output.where))
        output.check_open()
        self.sent.append(Sent(output_id, received, dict(metadata or {}), captured_ns))

    def loan(
        self,
        output_id: str,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "uint8",
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> Loan:
        """Prepare an array to fill; it is in `sent` after the block, unless the block raised.

        Args:
            output_id: name of the output.
            shape: as for `Node.loan`.
            dtype: as for `Node.loan`.
            metadata: as for `Node.loan`.
            captured_ns: as for `Node.loan`.
            timeout: checked, and otherwise of no effect.

        Raises:
            UnknownOutputError: the output is not among the `output_ids` of this node.
            UnsupportedValueError: there are no such arrays of this dtype, or of so many dimensions.
            TypeError: the shape is not of whole numbers, or there is no such dtype.
            ValueError: the shape is negative or too large, or the time-out no time.
            SentAfterStopError: `next` has returned None because the node is stopped.

        The beginning and the end of the block raise what those of `Node.loan` raise.
        """
        output = self._output(output_id, timeout)

        def stamp() -> Stamp:
            # Read when the block has ended, which may have filled the metadata.
            made = make_stamp(self._origins, output.where, metadata, captured_ns, None)
            output.metadata, output.captured_ns = dict(metadata or {}), captured_ns
            return made

        lengths = (shape,) if isinstance(shape, int) else tuple(shape)
        return Loan(output, lengths, np.dtype(dtype), stamp, metadata is not None)

    def stop_dataflow(self) -> None:
        """Set `dataflow_stopped`, and end the loop."""
        self.dataflow_stopped = True

    def close(self) -> None:
        """Send and receive no more; a second time it does nothing."""
        self._is_closed = True

    def __enter__(self) -> FakeNode:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _made(self, port: str, data: Any, metadata: dict[str, Any]) -> Event:
        return make_event(port, data, metadata)

    def _keep(self, port: str, data: Any, metadata: dict[str, Any] | None) -> None:
        declared, self._output_ids = self._output_ids, None
        try:
            self.send_output(port, data, metadata)
        finally:
            self._output_ids = declared

    def _output(self, output_id: str, timeout: float | None) -> _Output:
        deadline_after(timeout)
        if self._output_ids is not None and output_id not in self._output_ids:
            raise UnknownOutputError.of(f"node {self._node_id!r}", output_id, self._output_ids)
        output = _Output(self, output_id)
        if self._saw_stop:
            raise SentAfterStopError(
                f"{output.where}: sent after next() returned None because the node is stopped; "
                "send before the loop ends"
            )
        return output


class _Output:
    """An output of a `FakeNode`, which lends memory for one sample."""

    def __init__(self, node: FakeNode, output_id: str) -> None:
        self.where = f"output {output_id!r}"
        self.loans = LoanBook(set())
        self.metadata: dict[str, Any] = {}
        self.captured_ns: int | None = None
        self._node = node
        self._output_id = output_id

    def check_open(self) -> None:
        """Refuse what a node that is closed refuses.

        Raises:
            NodeClosedError: it is closed.
        """
        if self._node._is_closed:
            raise NodeClosedError(f"{self.where}: closed, nothing can be sent any more")

    def begin_loan(self, nbytes: int, metadata_nbytes: int) -> tuple[int, SlotMemory]:
        """Lend memory."""
        self.check_open()
        room = HEADER_NBYTES + nbytes
        return 0, SlotMemory(mmap.mmap(-1, room), 0, room, 0)

    def finish_loan(self, slot: int, place: SlotMemory, array: NDArray[Any], stamp: Stamp) -> None:
        """Keep what was written."""
        self.check_open()
        self._node.sent.append(Sent(self._output_id, array, self.metadata, self.captured_ns))

    def cancel_loan(self, slot: int) -> None:
        """Keep nothing."""


def _received(value: NDArray[Any] | bytes | bytearray | memoryview | ArrowSample) -> Any:
    """Return a value that `sendable` gave as its receiver gets it."""
    if isinstance(value, np.ndarray):
        received = np.array(value, value.dtype.newbyteorder("="), order="C")
        received.flags.writeable = False
        return received
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return value.array  # of Arrow, which nobody can change


@dataclass(frozen=True, slots=True)
class OperatorRun:
    """What an operator did.

    Attributes:
        sent: all that it sent, in its order.
        status: the status that it returned last.
    """

    sent: list[Sent]
    status: DoraStatus


def run_operator(
    operator: Any,
    events: Iterable[Event | ParameterChanged],
    *,
    output_ids: tuple[str, ...] | None = None,
) -> OperatorRun:
    """Give `events` to an operator as its runtime does, until it returns STOP or STOP_ALL.

    An operator with `on_event` gets them in the form of dora 1.x, with a STOP behind them.
    `drop_operator` is called at the end.

    Args:
        operator: an instance of the class.
        events: its inputs; `make_event` makes them. A `ParameterChanged` is for `on_event` only.
        output_ids: if given, other outputs are errors, as in a dataflow.

    Returns:
        What it sent, and the status that it returned last.

    Raises:
        OperatorError: it has neither `on_input` nor `on_event`, raised (also because
            `send_output` refused what it sent: the cause says so), or returned no status.
        ExtraMissingError: it has `on_event`, and the extra `arrow` is not installed.
    """
    node = FakeNode(output_ids=output_ids)
    loaded = LoadedOperator.of(operator)
    if loaded.uses_event_dicts:
        import_arrow()

    def send_output(output_id: str, data: Any, metadata: dict[str, Any] | None = None) -> None:
        if loaded.uses_event_dicts:
            data = with_shape(data, metadata)
        node.send_output(output_id, data, metadata)

    status = DoraStatus.CONTINUE
    for event in events:
        if isinstance(event, ParameterChanged):
            if not loaded.uses_event_dicts:
                continue
            argument = parameter_event(event)
        else:
            argument = (
                input_event(event, InputConfig(event.id))
                if loaded.uses_event_dicts
                else {"id": event.id, "data": event.value, "metadata": event.metadata}
            )
        status = loaded.call(argument, send_output)
        if status is not DoraStatus.CONTINUE:
            break
    else:
        if loaded.uses_event_dicts:
            loaded.call(stop_event(was_told=False), send_output)
    loaded.drop()
    return OperatorRun(node.sent, status)
