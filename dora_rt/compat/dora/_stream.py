"""The events of a node of dora 1.x: one after the other, in a loop, by polling, or with asyncio."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dora_rt.event import (
    Change,
    Event,
    InputClosed,
    MatchedEvents,
    ParameterChanged,
    SourceRestarted,
)
from dora_rt.node.dora_events import (
    change_event,
    input_event,
    parameter_event,
    stop_event,
    timeout_event,
)
from dora_rt.node.session import Session
from dora_rt.transport.primitives.doorbell import deadline_after

from ._failures import Failures

if TYPE_CHECKING:
    from ._ros2_ends import Ros2Subscription

# How long a thread that waits for a coroutine goes on after the coroutine was cancelled.
_SLICE_NS = 100_000_000


class EventStream:
    """Gives event dicts. Threads take turns; what one of them took too early goes to the next."""

    def __init__(self, session: Session) -> None:
        """Read a node's inputs."""
        self._session = session
        self._inputs = {entry.id: entry for entry in session.config.inputs}
        self._turn = threading.Lock()
        # Events taken by `is_empty`, or for a coroutine that was cancelled meanwhile.
        self._ahead: deque[dict[str, Any]] = deque()
        self._failures = Failures(session.config)
        self._has_ended = False
        self._merged: deque[Ros2Subscription] = deque()
        self._is_turn_of_merged = True

    def merge(self, subscription: Ros2Subscription) -> None:
        """Give the messages of a topic of ROS 2 as events, too."""
        subscription.merge(self._session.inbox.wake)
        self._merged.append(subscription)
        # A message may have come before it was in the list.
        self._session.inbox.wake()

    def next(self, timeout: float | None) -> dict[str, Any] | None:
        """Wait for an event; an ERROR event after `timeout` seconds, None after the STOP event."""
        deadline_ns = None if timeout is None else _deadline_after(timeout)
        if deadline_ns is None:
            with self._turn:
                return self._ahead.popleft() if self._ahead else self._take(None)
        try:
            return self._wait(deadline_ns)
        except TimeoutError:
            return timeout_event()

    def poll(self) -> dict[str, Any] | None:
        """Return an event that is there; None if there is none, and at the end."""
        try:
            return self._wait(0)
        except TimeoutError:
            return None

    def drain(self) -> list[dict[str, Any]]:
        """Return all events that are there.

        Raises:
            RuntimeError: the STOP event was given before, so none will ever come.
        """
        events = []
        while (event := self.poll()) is not None:
            events.append(event)
        if not events and self._has_ended:
            raise RuntimeError("Could not drain events: the stream has ended")
        return events

    def is_empty(self) -> bool:
        """Return whether no event is there."""
        try:
            with self._turn_until(0):
                if not self._ahead and (event := self._take(0)) is not None:
                    self._ahead.appendleft(event)
                return not self._ahead
        except TimeoutError:
            return True

    async def receive(self, timeout: float | None) -> dict[str, Any] | None:
        """Do what `next` does; other tasks go on meanwhile. A cancelled wait loses no event."""
        # Large: only programs that use it load it.
        import asyncio

        deadline_ns = _deadline_after(timeout)
        loop = asyncio.get_running_loop()
        is_cancelled = threading.Event()
        # Before anything is taken: a loop over events that are all there must let others work.
        await asyncio.sleep(0)
        while True:
            event = self.poll()
            if event is not None or self._has_ended:
                return event
            if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                return timeout_event()
            try:
                await loop.run_in_executor(None, self._look_ahead, deadline_ns, is_cancelled)
            except asyncio.CancelledError:
                is_cancelled.set()
                raise

    def _look_ahead(self, deadline_ns: int | None, is_cancelled: threading.Event) -> None:
        """Wait in a thread for a coroutine, which may be cancelled; leave it to take the event."""
        while not is_cancelled.is_set():
            until_ns = time.monotonic_ns() + _SLICE_NS
            if deadline_ns is not None:
                until_ns = min(until_ns, deadline_ns)
            try:
                with self._turn_until(until_ns):
                    if not self._ahead and (event := self._take(until_ns)) is not None:
                        self._ahead.appendleft(event)
                return
            except TimeoutError:
                if until_ns == deadline_ns:
                    return

    def _wait(self, deadline_ns: int) -> dict[str, Any] | None:
        with self._turn_until(deadline_ns):
            return self._ahead.popleft() if self._ahead else self._take(deadline_ns)

    @contextmanager
    def _turn_until(self, deadline_ns: int) -> Iterator[None]:
        if not self._turn.acquire(timeout=_seconds_until(deadline_ns)):
            raise TimeoutError
        try:
            yield
        finally:
            self._turn.release()

    def _take(self, deadline_ns: int | None) -> dict[str, Any] | None:
        if self._has_ended:
            return None
        event = self._next_event(deadline_ns)
        if isinstance(event, dict):
            return event
        if isinstance(event, MatchedEvents):
            # One after the other, as dora's nodes know inputs; nothing comes between them.
            first, *others = (
                input_event(one, self._inputs[one.id]) for one in event.value.values()
            )
            self._ahead.extend(others)
            return first
        if isinstance(event, Event):
            return input_event(event, self._inputs[event.id])
        if event is None:
            self._has_ended = True
            return stop_event(was_told=self._session.inbox.was_told_to_stop)
        if isinstance(event, ParameterChanged):
            return parameter_event(event)
        entry = self._inputs[event.id]
        if isinstance(event, InputClosed) and event.is_final:
            self._failures.suspect(entry)
        elif isinstance(event, SourceRestarted):
            self._failures.forget(entry)
        return change_event(event, entry)

    def _next_event(self, deadline_ns: int | None) -> Event | Change | dict[str, Any] | None:
        """Wait for what comes next: from the inputs, or from a topic of ROS 2."""
        if not self._merged:
            return self._next_of_inputs(deadline_ns)
        while True:
            # In turns, so that neither holds up the other.
            if self._is_turn_of_merged and (event := self._take_merged()) is not None:
                self._is_turn_of_merged = False
                return event
            self._is_turn_of_merged = True
            try:
                return self._next_of_inputs(0 if self._has_merged() else deadline_ns)
            except TimeoutError:
                is_over = deadline_ns is not None and time.monotonic_ns() >= deadline_ns
                if is_over and not self._has_merged():
                    raise

    def _has_merged(self) -> bool:
        return any(one.has_messages() for one in self._merged)

    def _take_merged(self) -> dict[str, Any] | None:
        for _ in range(len(self._merged)):
            self._merged.rotate(-1)
            message = self._merged[-1].take()
            if message is not None:
                return {"kind": "external", "value": message}
        return None

    def _next_of_inputs(self, deadline_ns: int | None) -> Event | Change | dict[str, Any] | None:
        """Wait for an event of the inputs, or for the news that the source of one failed."""
        failures = self._failures
        while failures.are_possible:
            if (failure := failures.take()) is not None:
                return failure
            # In slices: nothing rings when the launcher has seen the end of a process.
            until_ns = failures.next_look_ns
            if deadline_ns is not None:
                until_ns = min(until_ns, deadline_ns)
            try:
                return self._session.wait_intact(until_ns)
            except TimeoutError:
                # Or woken: a message of ROS 2 has come.
                if until_ns == deadline_ns or self._has_merged():
                    raise
        return self._session.wait_intact(deadline_ns)


def _deadline_after(timeout: float | None) -> int | None:
    if timeout is not None and math.isnan(timeout):
        raise ValueError("invalid timeout: not a number")
    return deadline_after(timeout)


def _seconds_until(deadline_ns: int) -> float:
    return max(deadline_ns - time.monotonic_ns(), 0) / 1e9
