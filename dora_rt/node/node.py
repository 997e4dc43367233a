"""`Node`: what a program that dora-launch started uses to receive and to send."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from typing import Any

from numpy.typing import DTypeLike

from dora_rt.errors import CorruptSampleError
from dora_rt.event import Change, Event
from dora_rt.node.call_methods import CallMethods
from dora_rt.node.calls import Calls
from dora_rt.node.session import Session
from dora_rt.node_parameters import REQUIRED, copy_of, default_or_raise
from dora_rt.transport.output.loan import Loan, make_loan
from dora_rt.transport.output.origin import make_stamp
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import forks
from dora_rt.transport.primitives.doorbell import deadline_after


class Node(CallMethods):
    """This process as a node of the dataflow that dora-launch runs.

    One thread may send while another one receives. As a context manager it closes itself; a loop
    over it gives the events until the end, as `next` does.
    """

    def __init__(self, node_id: str | None = None, run: str | None = None) -> None:
        """Attach to the dataflow, as the environment that dora-launch set describes it.

        Args:
            node_id: id of the dynamic node to become, in a process that dora-launch did not start.
            run: the run that has this dynamic node, if several have: its name, a beginning of its
                name, or the name of its dataflow file.

        Raises:
            NotInDataflowError: dora-launch did not start this process, no run has such a dynamic
                node to give, several have it, or this process is a node already.
            VersionMismatchError: the launcher is of another version of dora_rt.
            SharedMemoryError: the dataflow has ended meanwhile.
        """
        self._session = session = Session.attach(node_id, run)
        self._finalizer = weakref.finalize(self, session.close)
        # For each sample: one look less than through the session.
        self._calls = Calls(session)
        self._wait = self._calls.wait if session.config.calls else session.wait
        self._inbox, self._publishers, self._origins = (
            session.inbox,
            session.publishers,
            session.origins,
        )
        clock = session.ports.clock
        self._now = time.monotonic_ns if clock is None else clock.now_ns
        self._has_heartbeat = session.config.heartbeat_ns is not None
        self._has_started = False

    def id(self) -> str:
        """Return the node's id in the dataflow file."""
        return self._session.config.node

    def input_ids(self) -> tuple[str, ...]:
        """Return the names of the inputs that the dataflow file wires to this node, with timers."""
        return tuple(entry.id for entry in self._session.config.inputs)

    def input_sources(self) -> dict[str, str]:
        """Return the output that each input reads, as `NODE/OUTPUT`; timers are left out."""
        sources = {}
        for entry in self._session.config.inputs:
            if entry.output is not None:
                # The outputs of operators have their node's name already. A slash alone says
                # nothing: those of a server, such as `plan.response/planner`, have one as well.
                output_id, node = entry.output.id, f"{entry.source_node}/"
                is_whole = output_id.startswith(node)
                sources[entry.id] = output_id if is_whole else f"{node}{output_id}"
        return sources

    def input_queues(self) -> dict[str, tuple[str, int]]:
        """Return `queue_policy` and `queue_size` of each input; timers are left out."""
        edges = {entry.id: entry.edge for entry in self._session.config.inputs}
        return {
            name: (edge.queue_policy.value, edge.queue_size)
            for name, edge in edges.items()
            if edge is not None
        }

    def latched_inputs(self) -> tuple[str, ...]:
        """Return the names of the inputs that read latched outputs."""
        entries = self._session.config.inputs
        return tuple(one.id for one in entries if one.output is not None and one.output.latched)

    def latched_outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs of which who comes later gets the newest sample."""
        return tuple(one.id for one in self._session.config.outputs if one.latched)

    def output_queues(self) -> dict[str, list[tuple[str, int]]]:
        """Return `queue_policy` and `queue_size` of each input that reads each output."""
        return {
            output.id: [(edge.queue_policy.value, edge.queue_size) for edge in output.edges]
            for output in self._session.config.outputs
        }

    def output_ids(self) -> tuple[str, ...]:
        """Return the names of the outputs that the dataflow file declares for this node."""
        return tuple(self._publishers)

    def parameter(self, name: str, default: Any = REQUIRED) -> Any:
        """Return the present value of a parameter of this node, without a wait.

        Args:
            name: a name from `parameters:` of this node, or one that `dora-rt param set` has set.
            default: what to return if it has no value.

        Raises:
            UnknownParameterError: it has no value, and there is no default.
        """
        values = self._inbox.parameters.of(self._session.config.node)
        if name in values:
            return copy_of(values[name])
        return default_or_raise(default, self._session.where, name, values)

    def parameters(self) -> dict[str, Any]:
        """Return the present values of all parameters of this node by their names."""
        values = self._inbox.parameters.of(self._session.config.node)
        return {name: copy_of(value) for name, value in values.items()}

    def now(self) -> int:
        """Return the time in nanoseconds: of the clock that `clock:` in the dataflow file names.

        Then it is the newest sample of that output, in all nodes, and 0 before the first one.
        Without `clock:` it is `time.monotonic_ns()`, as in `sent_ns` and `origin_ns` of an event.
        """
        return self._now()

    def is_stopped(self) -> bool:
        """Return whether the loop must end: the node is stopped or closed, or its inputs ended.

        For sources, which have no inputs to wait for, loops that use `try_next`, and forks.

        The first call also tells the launcher that this node looks for the stop by itself (else a
        stop is a KeyboardInterrupt), and each call is a sign of life for `heartbeat_timeout`. So it
        does more than look: a source has no other call in which to say so.
        """
        return self._session.look_for_stop() or not self._finalizer.alive

    def next(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event. Samples that were overwritten are passed over, see `errors`.

        Args:
            timeout: seconds to wait at most, 0 or more; None waits as long as it takes.

        Returns:
            The event, or None at the end: all sources of this node are gone and all that they
            sent was delivered, or the dataflow is being stopped.

        Raises:
            TimeoutError: nothing came in time.
            ValueError: the time-out is negative or not a number.
            NodeClosedError: the node is closed, or this process is a fork of it.
            SharedMemoryError: the memory of a source that was started again is gone.
        """
        deadline_ns = None if timeout is None else deadline_after(timeout)
        while True:
            try:
                event = self._wait(deadline_ns)
                if event is None or isinstance(event, Event):
                    return event
            except CorruptSampleError as error:
                self._session.losses.tell(error)

    def next_event(self, timeout: float | None = None) -> Event | Change | None:
        """Wait for the next event, or for something else that happens to an input or the node.

        Args:
            timeout: seconds to wait at most, 0 or more; None waits as long as it takes.

        Returns:
            What `next` returns, or `InputClosed` (the source is gone, or silent for longer than
            `input_timeout`), `InputRecovered`, `SourceRestarted`, or `ParameterChanged`.

        Raises:
            TimeoutError: nothing came in time.
            ValueError: the time-out is negative or not a number.
            CorruptSampleError: a sample was overwritten; the next call goes on behind it.
            NodeClosedError: the node is closed, or this process is a fork of it.
            SharedMemoryError: the memory of a source that was started again is gone.
        """
        return self._wait(deadline_after(timeout))

    def try_next(self) -> Event | None:
        """Return an event that is already there, without waiting.

        Returns:
            The event, or None if there is none, and at the end; `is_stopped` tells which.

        Raises:
            NodeClosedError: the node is closed, or this process is a fork of it.
            SharedMemoryError: the memory of a source that was started again is gone.
        """
        try:
            return self.next(timeout=0)
        except TimeoutError:
            return None

    def __iter__(self) -> Iterator[Event]:
        """Return the node itself: a loop over it raises what `next` without a time-out raises."""
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
        """Send bytes or an array; the receiver gets it with its shape and dtype.

        What is sent in answer to an input inherits that input's `origin_ns` and its
        `open_telemetry_context`. `data` and `metadata` are copied: you may change them afterwards.

        Args:
            output_id: a name from `outputs:` of this node.
            data: bytes, bytearray or memoryview (arrive as bytes); an array or scalar of numpy of
                up to 8 dimensions, bool, integer, float or complex, in any memory layout (arrives
                in C order); or an array of Arrow.
            metadata: what JSON knows, datetimes, and scalars and arrays of numpy, by string keys;
                at most 64 KiB as JSON.
            captured_ns: `time.monotonic_ns()` when a source captured this; begins a new origin. A
                time of another clock, which is in the future by this one, is refused.
            timeout: seconds to wait at most for readers with `queue_policy: block`, 0 or more;
                None waits as long as it takes.

        Raises:
            UnknownOutputError: the dataflow file declares no such output.
            UnsupportedValueError: data, metadata or `captured_ns` cannot be sent.
            ExtraMissingError: an array of Arrow, and the extra `arrow` is not installed.
            NodeClosedError: the node is closed, this process is a fork of it, or the run that a
                dynamic node was attached to has ended.
            SentAfterStopError: `next` has returned None because the dataflow is being stopped.
            SharedMemoryFullError: /dev/shm has no room for the sample.
            SharedMemoryError: an object of a reader cannot be made or mapped.
            TooManyLoansError: all slots of the output are loaned.
            TimeoutError: a blocking reader had no room in time; nothing was sent to any reader.
            ValueError: the time-out is negative or not a number.
            DoraRtError: a signal handler or a destructor sends in the middle of a send.
        """
        deadline_ns = None if timeout is None else deadline_after(timeout)
        publisher = self._publishers.get(output_id) if self._has_started else None
        if publisher is None or self._inbox.was_told_to_stop or forks.is_forked:
            publisher = self._publisher(output_id)
        stamp = make_stamp(self._origins, publisher.where, metadata, captured_ns, deadline_ns)
        if self._has_heartbeat:
            self._inbox.beat()
        if deadline_ns is None:
            publisher.send(data, stamp)
        else:
            publisher.send_in_time(data, stamp)

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
        """Prepare an array in shared memory to write in place; it is sent when the block ends.

        The array of the `with` block is uninitialised, in C order and native byte order. An
        exception inside the block sends nothing. A loan is for one block and one sample.

        Args:
            output_id: a name from `outputs:` of this node.
            shape: of the array, up to 8 dimensions; one number for a vector.
            dtype: bool, integer, float or complex.
            metadata: as for `send_output`; read when the block ends, which may fill it.
            captured_ns: as for `send_output`.
            timeout: as for `send_output`; it begins when the block ends.

        Returns:
            The loan, a context manager. The slot is taken when its block begins.

        Raises:
            UnknownOutputError: the dataflow file declares no such output.
            UnsupportedValueError: there are no such arrays of this dtype, or of so many dimensions.
            TypeError: the shape is not of whole numbers, or there is no such dtype.
            ValueError: the shape is negative or too large, or the time-out no time.
            NodeClosedError: this process is a fork of the node.
            SentAfterStopError: `next` has returned None because the dataflow is being stopped.

        The beginning of the block raises TooManyLoansError, SharedMemoryFullError,
        SharedMemoryError, NodeClosedError, and LoanError for a second block. Its end raises what
        `send_output` raises.
        """
        if timeout is not None:
            deadline_after(timeout)  # refused before the block, and not behind it
        publisher = self._publishers.get(output_id) if self._has_started else None
        if publisher is None or self._inbox.was_told_to_stop or forks.is_forked:
            publisher = self._publisher(output_id)
        return make_loan(publisher, self._origins, shape, dtype, metadata, captured_ns, timeout)

    def stop_dataflow(self) -> None:
        """Ask the launcher to stop the whole dataflow; returns at once.

        Raises:
            NodeClosedError: this process is a fork of the node.
        """
        self._session.stop_dataflow()

    def close(self) -> None:
        """Send and receive no more; the readers of this node's outputs see their end.

        Done by itself when the process ends. A second time it does nothing.
        """
        self._finalizer()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _publisher(self, output_id: str) -> Publisher:
        publisher = self._session.publisher(output_id)
        self._has_started = self._session.has_started
        return publisher
