"""The calls and goals of a `FakeNode`: prepared answers, and replies that are kept."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dora_rt.errors import (
    ExtraMissingError,
    NotARequestError,
    UnknownServiceError,
    UnsupportedValueError,
)
from dora_rt.event import (
    GOAL_ID,
    GOAL_STATUS,
    REQUEST_ID,
    Change,
    Event,
    Feedback,
    GoalRequest,
    Request,
    Result,
)
from dora_rt.metadata import new_id
from dora_rt.node.goals import STATUSES, Goal
from dora_rt.transport.primitives.doorbell import deadline_after

_logger = logging.getLogger(__name__)
Answers = Mapping[str, Iterable[Any]]
MakeEvent = Callable[[str, Any, dict[str, Any] | None], Event]


def _goal(name: str, prepared: Any) -> tuple[list[Any], Any, str]:
    if not isinstance(prepared, (tuple, list)) or len(prepared) != 3:
        raise ValueError(
            f"goals[{name!r}]: expected the values of its feedback, of its result, and its status, "
            f'such as ([b"50"], b"done", "succeeded"), got {prepared!r}'
        )
    feedback, value, status = prepared
    if status not in STATUSES:
        raise ValueError(
            f"goals[{name!r}]: the status is one of {', '.join(STATUSES)}, got {status!r}"
        )
    return list(feedback), value, status


class FakeCalls:
    """What `CallMethods` is for a `Node`, with what a test has prepared in place of servers."""

    _where: str
    _events: deque[Event | Change]

    def _prepare(self, answers: Answers | None, goals: Answers | None) -> None:
        """Keep what the servers will say."""
        self._answers = {name: deque(values) for name, values in (answers or {}).items()}
        self._goals = {
            name: deque(_goal(name, value) for value in values)
            for name, values in (goals or {}).items()
        }
        self._services = {one.service for one in self._events if isinstance(one, Request)}
        self._handlers: dict[str, Callable[[Request], Any]] = {}

    def _made(self, port: str, data: Any, metadata: dict[str, Any]) -> Event:
        """Make an event of this node."""
        raise NotImplementedError

    def _keep(self, port: str, data: Any, metadata: dict[str, Any] | None) -> None:
        """Keep what was sent."""
        raise NotImplementedError

    def call(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Event:
        """Return the next of the prepared `answers`, or raise it, if it is an exception.

        Args:
            name: a key of `answers`.
            data: as for `Node.call`; it is in `sent` as what went out on `NAME.request`.
            metadata: as for `Node.call`.
            timeout: checked, and otherwise of no effect.

        Raises:
            UnknownServiceError: the test has prepared no answers by this name.
            TimeoutError: no answer is left.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        deadline_after(timeout)
        if name not in self._answers:
            raise self._unknown("calls no", name, self._answers)
        self._keep(f"{name}.request", data, metadata)
        if not self._answers[name]:
            raise TimeoutError(f"{self._where}: no answer of {name!r} is left")
        answer = self._answers[name].popleft()
        if isinstance(answer, BaseException):
            raise answer
        return self._made(f"{name}.response", answer, {REQUEST_ID: new_id()})

    async def call_async(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Event:
        """Do what `call` does."""
        return self.call(name, data, metadata, timeout=timeout)

    def serve(self, service: str, function: Callable[[Request], Any]) -> None:
        """Let a function answer the requests among the events.

        Raises:
            UnknownServiceError: there was none of this service at the beginning.
        """
        if service not in self._services:
            raise self._unknown("serves no", service, self._services)
        self._handlers[service] = function

    def reply(self, event: Event, data: Any = b"", metadata: dict[str, Any] | None = None) -> None:
        """Keep an answer in `sent`, as what went out on `SERVICE.response/CLIENT`.

        Raises:
            NotARequestError: the event is no request, or was answered before.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        if not isinstance(event, Request) or event.is_answered:
            raise NotARequestError(f"{self._where}: {event!r} is no request without an answer")
        self._keep(f"{event.service}.response/{event.client}", data, metadata)
        event.is_answered = True

    def refuse(self, event: Event, why: str) -> None:
        """Keep an answer in `sent`, with `why` as `call_error` in its metadata.

        Raises:
            NotARequestError: the event is no request, or was answered before.
            NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        self.reply(event, b"", {"call_error": why})

    def send_goal(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Goal:
        """Return a goal that takes the next of the prepared `goals`.

        Its feedback and result come before the other events that are left.

        Raises:
            UnknownServiceError: the test has prepared no goals by this name.
            TimeoutError: none is left.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        deadline_after(timeout)
        if name not in self._goals:
            raise self._unknown("calls no", name, self._goals)
        self._keep(f"{name}.goal", data, metadata)
        if not self._goals[name]:
            raise TimeoutError(f"{self._where}: no goal {name!r} is left")
        progress, value, status = self._goals[name].popleft()
        goal = Goal(_FakeGoals(self), name, new_id())
        told: list[Event] = [
            Feedback(self._made(f"{name}.feedback", one, {GOAL_ID: goal.id}), goal)
            for one in progress
        ]
        metadata = {GOAL_ID: goal.id, GOAL_STATUS: status}
        told.append(Result(self._made(f"{name}.result", value, metadata), goal))
        self._events.extendleft(reversed(told))
        return goal

    def feedback(
        self, event: Event, data: Any = b"", metadata: dict[str, Any] | None = None
    ) -> None:
        """Keep feedback in `sent`, as what went out on `SERVICE.feedback/CLIENT`.

        Raises:
            NotARequestError: the event is no goal, or has its result already.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        request = self._unfinished(event)
        self._keep(f"{request.service}.feedback/{request.client}", data, metadata)

    def finish(
        self,
        event: Event,
        data: Any = b"",
        status: str = "succeeded",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Keep a result in `sent`, with `goal_status` in its metadata.

        Raises:
            NotARequestError: the event is no goal, or has its result already.
            ValueError: there is no such status.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        request = self._unfinished(event)
        if status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}, got {status!r}")
        given = {**(metadata or {}), GOAL_STATUS: status}
        self._keep(f"{request.service}.result/{request.client}", data, given)
        request.is_finished = True

    def is_cancelled(self, event: Event) -> bool:
        """Return `wants_cancel` of the goal, which the test sets, or whether the node must stop.

        Raises:
            NotARequestError: the event is no goal, or has its result already.
        """
        return self._unfinished(event).wants_cancel or self.is_stopped()

    def is_stopped(self) -> bool:
        """Return whether the loop must end."""
        raise NotImplementedError

    def _note_end(self, event: Event | Change) -> None:
        if isinstance(event, Result):
            event.goal.status = event.status

    def _serve(self, event: Event | Change) -> bool:
        """Let the function of its service answer a request; return whether there is one."""
        if not isinstance(event, Request) or event.service not in self._handlers:
            return False
        try:
            answer = self._handlers[event.service](event)
        except Exception as error:
            self._report(event, error)
            return True
        if not event.is_answered:
            try:
                self.reply(event, answer)
            except (UnsupportedValueError, ExtraMissingError) as error:
                self._report(event, error)
        return True

    def _report(self, request: Request, error: Exception) -> None:
        _logger.error(
            "%s: the function that serves %r failed", self._where, request.service, exc_info=error
        )
        if not request.is_answered:
            self.refuse(request, f"{type(error).__name__}: {error}")

    def _unfinished(self, event: Event) -> GoalRequest:
        if not isinstance(event, GoalRequest) or event.is_finished:
            raise NotARequestError(f"{self._where}: {event!r} is no goal without a result")
        return event

    def _unknown(self, what: str, name: str, known: Iterable[str]) -> UnknownServiceError:
        names = ", ".join(sorted(known)) or "none"
        return UnknownServiceError(f"{self._where} {what} {name!r}; the test prepared: {names}")


class _FakeGoals:
    """What the goals of a `FakeNode` ask."""

    def __init__(self, node: FakeCalls) -> None:
        self._node = node

    def cancel(self, goal: Goal) -> None:
        """Keep in `sent` that a goal was cancelled; what was prepared comes all the same."""
        self._node._keep(f"{goal.name}.cancel", b"", None)

    def next_of(
        self, goal: Goal, has_told: bool, deadline_ns: int | None
    ) -> Feedback | Result | None:
        """Return what comes next of one goal."""
        for position, event in enumerate(self._node._events):
            if isinstance(event, (Feedback, Result)) and event.goal is goal:
                del self._node._events[position]
                self._node._note_end(event)
                return event
        return None


def make_request(
    make_event: MakeEvent,
    service: str,
    value: Any,
    metadata: dict[str, Any] | None,
    client: str,
) -> Request:
    """Make the request of a client."""
    given = {**(metadata or {}), REQUEST_ID: new_id()}
    return Request(make_event(f"{service}.request/{client}", value, given), service, client)


def make_goal_request(
    make_event: MakeEvent,
    service: str,
    value: Any,
    metadata: dict[str, Any] | None,
    client: str,
) -> GoalRequest:
    """Make the goal of a client."""
    given = {**(metadata or {}), GOAL_ID: new_id()}
    return GoalRequest(make_event(f"{service}.goal/{client}", value, given), service, client)
