"""The inbox of a node: waits at the doorbell, and takes from the inputs in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from dora_rt.compiled import InboxCore, prefer_compiled
from dora_rt.errors import NodeClosedError
from dora_rt.event import Change, Event, InputClosed, InputRecovered, SourceRestarted
from dora_rt.node_config import InputConfig, NodeConfig
from dora_rt.transport.board import Board
from dora_rt.transport.clock import Clock
from dora_rt.transport.input.parameter_values import ParameterValues
from dora_rt.transport.input.subscriber import Subscriber
from dora_rt.transport.input.timers import ClockTimer, InputTimeout, Timer
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.doorbell import Doorbell
from dora_rt.transport.primitives.fence import Fence
from dora_rt.transport.primitives.noted_operations import locking
from dora_rt.transport.primitives.polling import Spin
from dora_rt.transport.primitives.shm import attach_words
from dora_rt.transport.ring import protocol
from dora_rt.transport.values.source_life import split_life

# How often a thread that wants to send looks for the start while another one waits for inputs.
_START_SLICE_S = 0.02

_Wide = tuple[list[Any], list[Timer], dict[str, InputTimeout], bool, int]


@prefer_compiled
class Inbox(InboxCore):
    """All inputs of one node. Threads may take turns in waiting, and close it meanwhile."""

    def __init__(self, config: NodeConfig, board: Board, clock: Clock | None = None) -> None:
        """Attach to what the launcher made; `clock` is that of the dataflow, if it has one."""
        self.was_told_to_stop = False
        self.has_ended = False
        self._config = config
        self._board = board
        self._news_view = board.news_view(config.number)
        self._heard = 0
        self._is_stopped = False
        self.parameters = ParameterValues(config, board)
        """The parameters of this process."""
        self.publishers: tuple[Publisher, ...] = ()
        """Publishers of this process: they learn here of readers that come and go between sends."""
        self._start_ns = 0  # as soon as it is known
        self._spin = Spin(config.spin_ns)
        self._doorbell = Doorbell(object_names.doorbell(config.run, config.number), self._spin)
        self._ports = [_attach(config, entry, board, clock) for entry in config.inputs]
        self._timers = [port for port in self._ports if isinstance(port, Timer)]
        # The process that sets the clock rings for these.
        self._clock_timers = [port for port in self._ports if isinstance(port, ClockTimer)]
        # Samples that a node sends to itself do not keep it alive.
        self._countable = {
            entry.id
            for entry in config.inputs
            if entry.edge is not None and entry.edge.writer != config.number and entry.keeps_alive
        }
        self._open = set(self._countable)
        # The ends of these are told, though the node does not go on for them.
        self._answers = {
            one.port(part)
            for one in config.calls
            if not one.is_server
            for part in ("response", "result")
        } & {entry.id for entry in config.inputs}
        self._open_answers = set(self._answers)
        self._has_sources = bool(self._open)
        self._timeouts = {
            entry.id: InputTimeout(entry.timeout_ns)
            for entry in config.inputs
            if entry.timeout_ns is not None
        }
        self._lives: dict[str, bytes] = {entry.id: b"" for entry in config.inputs if entry.is_far}
        self._recovered: Event | None = None
        self._pulse = _attach_pulse(config)
        self._wakes_itself = bool(self._timers or self._timeouts or self._pulse is not None)
        # In a runtime each operator comes to its own end.
        self.ends_by_itself = not config.operators
        self._turn = 0
        self._wide: _Wide | None = None  # what `narrow` has put aside
        self._narrow_turn = 0
        self._closed_ids: set[str] = set()
        self._held: dict[str, Subscriber] = {}
        self._receiving = threading.Lock()
        self._is_closed = False
        self._is_woken = False
        # True if the next loop must check `_is_closed`, `_is_woken`, the heartbeat or what of the
        # parameters the program was not told yet; and always, if only Python knows the timers.
        self._has_pending_calls = self._pulse is not None or bool(self._clock_timers)

    @property
    def is_empty(self) -> bool:
        """Whether no sample and no tick of a timer can come any more."""
        return not self._open and not self._timers and not self._clock_timers

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Return the next event; None at the end.

        Args:
            deadline_ns: of `time.monotonic_ns()`, or None to wait as long as it takes.

        Raises:
            TimeoutError: the deadline passed, or another thread called `wake`.
            NodeClosedError: the inbox was closed.
        """
        if deadline_ns is None:
            with self._receiving:
                return self._wait(None)
        has_turn: list[bool] = []
        try:
            locking(self._receiving, has_turn, max(deadline_ns - time.monotonic_ns(), 0) / 1e9)
            if not has_turn[0]:
                raise self._timed_out()
            return self._wait(deadline_ns)
        finally:
            if True in has_turn:
                self._receiving.release()

    def sleep(self, deadline_ns: int) -> None:
        """Sleep until something rings: a sample, also of a held input, news, or `wake`.

        For the thread that waits. What rang before its last look in vain does not wake it.
        """
        self._doorbell.wait(deadline_ns)

    def wait_for_start(self) -> None:
        """Wait until inputs may flow, or the node is told to stop, or it is closed."""
        while not self._may_go_on():
            # The start rings once. A thread that waits for an input may have heard it; else we do.
            has_turn: list[bool] = []
            try:
                locking(self._receiving, has_turn, _START_SLICE_S)
                if has_turn[0] and not self._may_go_on():
                    self._doorbell.wait(None)
            finally:
                if True in has_turn:
                    self._receiving.release()

    def beat(self) -> None:
        """Show the launcher that this process is alive, if the dataflow file asks for it."""
        if self._pulse is not None:
            self._pulse[0] = time.monotonic_ns()

    @property
    def pulse(self) -> Callable[[], int] | None:
        """Writes the heartbeat and returns when the next is due; None without a heartbeat."""
        heartbeat_ns = self._config.heartbeat_ns
        if heartbeat_ns is None:
            return None
        between_ns = heartbeat_ns // 3

        def beat() -> int:
            self.beat()
            return time.monotonic_ns() + between_ns

        return beat

    def wake(self) -> None:
        """Raise TimeoutError in a thread that waits, as if its time were over."""
        self._is_woken = self._has_pending_calls = True
        self._doorbell.ring()

    def hold(self, input_id: str) -> Subscriber:
        """Take nothing from an input for now: what comes waits in its ring, by its policy.

        For the thread that waits. Its changes, such as its end, wait as well.

        Returns:
            The input, of which this thread may take by itself.
        """
        for port in self._ports:
            if port.input_id == input_id and isinstance(port, Subscriber):
                self._held[input_id] = port
        self._ports = [port for port in self._ports if port.input_id not in self._held]
        return self._held[input_id]

    def resume(self, input_id: str) -> None:
        """Take from a held input again; for the thread that waits."""
        held = self._held.pop(input_id, None)
        if held is not None:
            self._ports = [*self._ports, held]

    def narrow(self, input_ids: Collection[str]) -> None:
        """Take only from these inputs for now; the others wait in their rings, by their policies.

        For the thread that waits, until it calls `widen`. The end of all inputs ends no such wait.
        """
        self.widen()
        # First: an exception of a signal handler may come before the last step.
        self._wide = self._ports, self._timers, self._timeouts, self.ends_by_itself, self._turn
        self.ends_by_itself = False
        # What cannot be taken must not wake it either.
        self._timers = []
        self._timeouts = {name: one for name, one in self._timeouts.items() if name in input_ids}
        self._ports = [port for port in self._ports if port.input_id in input_ids]
        # A turn of its own: a node that narrows between any two events would begin each time
        # behind these inputs, and a fast one there would starve the others.
        self._turn = self._narrow_turn

    def widen(self) -> None:
        """Take from all inputs again."""
        if self._wide is None:
            return
        ports, timers, timeouts, self.ends_by_itself, turn = self._wide
        closed = self._closed_ids
        # In their old order: the turn goes on where it was. Those of `narrow` may be successors.
        present = {port.input_id: port for port in (*ports, *self._ports)}
        self._ports = [present[port.input_id] for port in ports if port.input_id not in closed]
        self._timers = [one for one in timers if one.input_id not in closed]
        self._timeouts = {name: one for name, one in timeouts.items() if name not in closed}
        self._turn, self._narrow_turn = turn, self._turn
        self._wide = None

    def close_input(self, input_id: str) -> None:
        """Take no more from one input, for good; its writer stops feeding it."""
        self.resume(input_id)
        # First: a thread that is just moving on to a restarted writer looks here afterwards.
        self._closed_ids.add(input_id)
        for port in self._ports:
            if port.input_id == input_id and isinstance(port, Subscriber):
                port.close(protocol.CLOSED_FOR_GOOD)
        self._open.discard(input_id)
        self._timeouts.pop(input_id, None)
        self._ports = [port for port in self._ports if port.input_id != input_id]
        self._timers = [timer for timer in self._timers if timer.input_id != input_id]
        self._clock_timers = [one for one in self._clock_timers if one.input_id != input_id]

    def close(self) -> None:
        """Take no more from any input; a thread that waits gets a NodeClosedError."""
        self._is_closed = self._has_pending_calls = True
        for port in (*self._ports, *self._held.values()):
            if isinstance(port, Subscriber):
                port.close(self.closing())
        self._doorbell.ring()

    def closing(self) -> int:
        """Return the closing that this process writes for its peers when it ends."""
        comes_back = self._board.comes_back(self._config.number)
        return protocol.CLOSED_FOR_NOW if comes_back else protocol.CLOSED

    def _may_go_on(self) -> bool:
        board, number = self._board, self._config.number
        return bool(board.start_ns) or board.is_stopped(number) or self._is_closed

    def _wait(self, deadline_ns: int | None, has_waited: bool = False) -> Event | Change | None:
        while True:
            if self._has_pending_calls:
                self._answer_calls()
                if self.parameters.has_untold:
                    change = self.parameters.take_change()
                    if change is not None:
                        return change
            if self._news_view[0] != self._heard:
                self.hear_news()
                if self.parameters.has_untold:
                    continue
            if self._is_stopped:
                self.was_told_to_stop = self.has_ended = True
                return None
            wake_ns = deadline_ns
            start_ns = self._start_ns or self._find_start()
            if start_ns:
                event = self._take(start_ns)
                if event is not None:
                    if has_waited and self._spin.is_learning:
                        self._learn_from(event)
                    return event
                if not self._open and self._is_over():
                    self.has_ended = True
                    return None
                if self._wakes_itself:
                    wake_ns = self._next_wake_ns(start_ns, deadline_ns)
            has_waited = self._doorbell.wait(wake_ns)
            if not has_waited and wake_ns == deadline_ns:
                raise self._timed_out()
            self._doorbell.silence()

    def hear_news(self) -> None:
        """Read the board's words about this process and its peers, if they have changed."""
        heard = self._news_view[0]
        if heard == self._heard:
            return
        Fence().pass_through()
        if self._board.is_stopped(self._config.number):
            self._is_stopped = True
        for publisher in self.publishers:
            publisher.notice_readers()
        if self.parameters.refresh():
            self._has_pending_calls = True
        self._heard = heard

    def tell_all_parameters(self) -> None:
        """Let the values that all parameters have come as changes first, as in dora."""
        self.parameters.forget_told()
        self._has_pending_calls = True

    def _answer_calls(self) -> None:
        # Before the looks, so that no call that comes between two of them is forgotten.
        self._has_pending_calls = (
            self._pulse is not None or self.parameters.has_untold or bool(self._clock_timers)
        )
        if self._is_closed:
            self._has_pending_calls = True
            raise NodeClosedError(f"node {self._config.node!r}: closed, no more inputs")
        self.beat()
        if self._is_woken:
            self._is_woken = False
            raise self._timed_out()

    def _find_start(self) -> int:
        self._start_ns = self._board.start_ns
        return self._start_ns

    def _learn_from(self, event: Event | Change) -> None:
        if self._doorbell.has_slept and isinstance(event, Event):
            self._spin.learn(time.monotonic_ns() - event.sent_ns)

    def _next_wake_ns(self, start_ns: int, deadline_ns: int | None) -> int | None:
        times_ns = [timer.due_ns(start_ns) for timer in self._timers]
        times_ns += [
            timeout.due_ns for timeout in self._timeouts.values() if timeout.due_ns is not None
        ]
        if self._config.heartbeat_ns is not None:
            times_ns.append(time.monotonic_ns() + self._config.heartbeat_ns // 3)
        if deadline_ns is not None:
            times_ns.append(deadline_ns)
        return min(times_ns, default=None)

    def _take(self, start_ns: int) -> Event | Change | None:
        if self._recovered is not None:
            recovered, self._recovered = self._recovered, None
            return self._note(recovered)
        # In turn, so that a fast input does not starve the others.
        ports, turn = self._ports, self._turn
        for _ in ports:
            if turn >= len(ports):
                turn = 0
            port = ports[turn]
            turn += 1
            event: Event | None
            if type(port) is Subscriber:
                event = port.take()
                if event is None:
                    if port.is_ended or port.writer_changed() or self._timeouts:
                        change = self._look_for_change(port)
                        if change is not None:
                            return change
                    continue
                self._turn = turn
                return self._note(event) if self._timeouts or self._lives else event
            if self._is_over():
                continue  # only samples from the node itself can still come
            event = port.take(start_ns, time.monotonic_ns())
            if event is not None:
                self._turn = turn
                return event
        return None

    def _look_for_change(self, subscriber: Subscriber) -> Change | None:
        input_id = subscriber.input_id
        if subscriber.is_ended:
            successor = subscriber.successor()
            if successor is not None:
                self._ports = [successor if port is subscriber else port for port in self._ports]
                if input_id in self._closed_ids:
                    self.close_input(input_id)
                    return None
                # A dynamic node may come back after its end.
                self._open |= self._countable & {input_id}
                self._open_answers |= self._answers & {input_id}
                if input_id in self._lives:
                    # The gateway was started again, and not the node; the wait that follows
                    # returns at once.
                    self._doorbell.ring()
                    return None
                return SourceRestarted(input_id)
            if input_id in self._open or input_id in self._open_answers:
                self._open.discard(input_id)
                self._open_answers.discard(input_id)
                self._timeouts.pop(input_id, None)
                return InputClosed(input_id, is_final=True)
        elif subscriber.notice_end():
            # The wait that follows returns at once, through the doorbell's semaphore.
            self._doorbell.ring()
        timeout = self._timeouts.get(input_id)
        if timeout is not None and timeout.expire(time.monotonic_ns()):
            return InputClosed(input_id, is_final=False)
        return None

    def _note(self, event: Event) -> Event | Change:
        """Return what a sample means for its input, after which it comes; or the sample itself."""
        before = self._lives.get(event.id)
        if before is not None:
            life, metadata_json = split_life(event.metadata_json)
            if life and life != before:
                if before:
                    # With the life still in front: an exception may come in between.
                    self._recovered = event
                self._lives[event.id] = life
                if before:
                    return SourceRestarted(event.id)
            event.metadata_json = metadata_json
        timeout = self._timeouts.get(event.id)
        if timeout is not None and timeout.note_sample(time.monotonic_ns()):
            self._recovered = event
            return InputRecovered(event.id)
        return event

    def _is_over(self) -> bool:
        # Timers do not keep a finished node alive; a node of only timers is a source, and goes on.
        if self._open or not self.ends_by_itself:
            return False
        return self._has_sources or not (self._timers or self._clock_timers)

    def _timed_out(self) -> TimeoutError:
        return TimeoutError(f"node {self._config.node!r}: no input came in time")


def _attach_pulse(config: NodeConfig) -> memoryview | None:
    if config.heartbeat_ns is None:
        return None
    return attach_words(
        object_names.pulse(config.run, config.number), lambda *_: None, writable=True
    )


def _attach(
    config: NodeConfig, entry: InputConfig, board: Board, clock: Clock | None
) -> Subscriber | Timer | ClockTimer:
    if entry.period_ns is not None:
        if clock is not None and entry.follows_clock:
            return ClockTimer(entry.id, entry.period_ns, clock)
        return Timer(entry.id, entry.period_ns)
    return Subscriber(config, entry, board)
