"""The goals of a node: those that it gave to others, and those that it works on itself."""

from __future__ import annotations

import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, final

from dora_rt.errors import NodeClosedError, NotARequestError
from dora_rt.event import (
    GOAL_ID,
    GOAL_STATUS,
    Change,
    Event,
    Feedback,
    GoalRequest,
    InputClosed,
    Result,
    SourceRestarted,
)
from dora_rt.metadata import new_id
from dora_rt.node_config import CallConfig, ServiceKind
from dora_rt.transport.primitives.doorbell import deadline_after
from dora_rt.transport.values.sendable import encode_metadata

if TYPE_CHECKING:
    from dora_rt.node.calls import Calls

STATUSES = ("succeeded", "aborted", "canceled")
# With feedback: which one it is of this life of its server. With a result: the last one before it.
# The beginning of that life goes before, so that these only grow.
_PROGRESS = "goal_progress"
_Progress = tuple[int, int]
_MAX_EARLY = 64  # cancels that came before their goals
# How long a result waits for the feedback before it. A link that breaks, or a gateway that dies,
# may lose that for good: feedback is not repeated, results are.
_HOLD_NS = 1_000_000_000
_EARLY_NS = 10_000_000


class GoalKeeper(Protocol):
    """What a goal belongs to: the goals of a node, or of a test."""

    def cancel(self, goal: Goal) -> None:
        """Ask for the end of a goal."""

    def next_of(
        self, goal: Goal, has_told: bool, deadline_ns: int | None
    ) -> Feedback | Result | None:
        """Wait for what comes next of one goal."""


@final
class Goal:
    """A goal that another node works on; a loop over it gives its `Feedback`, then its `Result`.

    Attributes:
        id: its `goal_id`.
        name: the name in `calls:` of this node.
        status: None as long as it is at work; then that of its result.
    """

    def __init__(self, goals: GoalKeeper, name: str, goal_id: str) -> None:
        self.id = goal_id
        self.name = name
        self.status: str | None = None
        self._goals = goals
        self._has_told = False

    def cancel(self) -> None:
        """Ask the server to give it up; its result says whether it did. Behind its end: nothing."""
        if self.status is None:
            self._goals.cancel(self)

    def next(self, timeout: float | None = None) -> Feedback | Result | None:
        """Wait for the next feedback, or for the result; None behind that.

        Raises:
            TimeoutError: neither came in time.
            ServerGone: the dataflow is being stopped.
        """
        event = self._goals.next_of(self, self._has_told, deadline_after(timeout))
        self._has_told = self._has_told or isinstance(event, Result)
        return event

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the result, and leave out the feedback before it.

        Raises:
            TimeoutError: it did not come in time.
            ServerGone: the dataflow is being stopped.
            NotARequestError: the loop over this goal, or that of the node, had it before.
        """
        deadline_ns = deadline_after(timeout)
        while not self._has_told:
            event = self._goals.next_of(self, False, deadline_ns)
            if event is None:
                break
            if isinstance(event, Result):
                self._has_told = True
                return event
        raise NotARequestError(f"goal {self.name!r}: its result was given before")

    def __iter__(self) -> Iterator[Feedback | Result]:
        while (event := self.next()) is not None:
            yield event

    def __repr__(self) -> str:
        return f"Goal({self.name!r}, status={self.status!r})"


class Goals:
    """Sorts what comes in for goals, and sends what goes out for them."""

    def __init__(self, calls: Calls) -> None:
        """Take part in the calls of a node."""
        # Weak: a node that its program has left frees its memory at once, without a collection.
        self._calls_or_gone = weakref.ref(calls)
        self._where = calls.where
        # Those that this node gave, until their result has come.
        self._given: dict[str, Goal] = {}
        self._seen: dict[str, _Progress] = {}
        self._held: dict[str, list[tuple[_Progress, Result]]] = {}
        self._held_until_ns: dict[str, int] = {}
        # Those that this node works on.
        self._taken: dict[tuple[str, str, str], GoalRequest] = {}
        self._early: deque[tuple[str, str, str]] = deque(maxlen=_MAX_EARLY)
        self._sent: Counter[str] = Counter()
        self._began_ns = time.monotonic_ns()

    def give(
        self, name: str, value: Any, metadata: dict[str, Any] | None, timeout: float | None
    ) -> Goal:
        """Give a goal to its server; see `Node.send_goal`."""
        calls = self._calls
        end = calls.client(name, ServiceKind.GOAL)
        calls.look()
        calls.refuse_gone(name)
        goal = Goal(self, name, new_id())
        self._given[goal.id] = goal
        given = {**(metadata or {}), GOAL_ID: goal.id}
        try:
            calls.ask(end, "goal", value, given, deadline_after(timeout))
        except BaseException:
            self._given.pop(goal.id, None)
            raise
        return goal

    def cancel(self, goal: Goal) -> None:
        """Ask for the end of a goal."""
        port = self._calls.client(goal.name, ServiceKind.GOAL).port("cancel")
        self._calls.send(port, b"", {GOAL_ID: goal.id}, None)

    def next_of(
        self, goal: Goal, has_told: bool, deadline_ns: int | None
    ) -> Feedback | Result | None:
        """Wait for what comes next of one goal."""
        calls = self._calls
        end = calls.client(goal.name, ServiceKind.GOAL)
        calls.begin_waiting(goal.id, end)
        try:
            return self._wait_for(goal, has_told, deadline_ns)
        except TimeoutError:
            what = (
                f"{self._where}: nothing of goal {goal.name!r} came in time from node {end.peer!r}"
            )
            raise TimeoutError(what) from None
        finally:
            calls.end_waiting(goal.id)

    def _wait_for(
        self, goal: Goal, has_told: bool, deadline_ns: int | None
    ) -> Feedback | Result | None:
        calls = self._calls
        while True:
            with calls.turn_until(deadline_ns):
                for position, event in enumerate(calls.kept):
                    if isinstance(event, (Feedback, Result)) and event.goal is goal:
                        del calls.kept[position]
                        calls.note_cause(event)
                        return event
                if goal.status is not None or has_told:
                    return None
                calls.refuse_after_stop(goal.name)
                try:
                    calls.pump(deadline_ns)
                except TimeoutError:
                    if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                        raise

    def feedback(self, event: Event, value: Any, metadata: dict[str, Any] | None) -> None:
        """Tell the client of a goal how far it is; see `Node.feedback`."""
        request = self._unfinished(event)
        port = f"{request.service}.feedback/{request.client}"
        given = {
            **(metadata or {}),
            GOAL_ID: request.goal_id,
            _PROGRESS: [self._began_ns, self._sent[port] + 1],
        }
        with self._calls.session.origins.answering(request):
            self._calls.send(port, value, given, None)
        self._sent[port] += 1

    def finish(
        self, event: Event, value: Any, status: str, metadata: dict[str, Any] | None
    ) -> None:
        """Send the result of a goal; see `Node.finish`."""
        request = self._unfinished(event)
        if status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}, got {status!r}")
        count = self._sent[f"{request.service}.feedback/{request.client}"]
        given = {
            **(metadata or {}),
            GOAL_ID: request.goal_id,
            GOAL_STATUS: status,
            _PROGRESS: [self._began_ns, count],
        }
        with self._calls.session.origins.answering(request):
            port = f"{request.service}.result/{request.client}"
            self._calls.send(port, value, given, None)
        request.is_finished = True
        self._taken.pop((request.service, request.client, request.goal_id), None)

    def is_cancelled(self, event: Event) -> bool:
        """Look whether the client of a goal has given it up; see `Node.is_cancelled`."""
        request = self._unfinished(event)
        self._calls.look()
        return request.wants_cancel or self._calls.session.look_for_stop()

    def take(self, end: CallConfig, part: str, event: Event) -> list[Event | Change]:
        """Return what a sample of an input for goals is for the loop."""
        goal_id = str(event.metadata.get(GOAL_ID, ""))
        key = end.name, end.peer, goal_id
        if part == "cancel":
            if key in self._taken:
                self._taken[key].wants_cancel = True
            else:
                self._early.append(key)
            return []
        if part == "goal":
            request = GoalRequest(event, end.name, end.peer)
            if key in self._early:
                self._early.remove(key)
                request.wants_cancel = True
            self._taken[key] = request
            return [request]
        return self._take_answer(end, part, event, self._given.get(goal_id))

    def note_change(self, end: CallConfig, part: str, change: Change) -> list[Event | Change]:
        """Return what a change of an input for goals is for the loop, in its order."""
        is_end = isinstance(change, SourceRestarted) or (
            isinstance(change, InputClosed) and change.is_final
        )
        if not is_end:
            return [change]
        if part == "goal":
            for (name, client, _), request in self._taken.items():
                if (name, client) == (end.name, end.peer):
                    request.wants_cancel = True
            # The goals of its next life have other ids, and nobody asks for these any more.
            self._taken = {
                key: one for key, one in self._taken.items() if key[:2] != (end.name, end.peer)
            }
        elif part == "feedback":
            is_over = isinstance(change, InputClosed)
            return [*self._release(end.name, is_all=is_over), change]
        elif part == "result":
            return [*self._abort(end), change]
        return [change]

    def _take_answer(
        self, end: CallConfig, part: str, event: Event, goal: Goal | None
    ) -> list[Event | Change]:
        if part == "feedback":
            self._seen[end.name] = _progress(event)
            shown = [] if goal is None else [Feedback(event, goal)]
            return [*shown, *self._release(end.name)]
        if goal is None:
            return []  # an earlier life of this node had given it
        self._held.setdefault(end.name, []).append((_progress(event), Result(event, goal)))
        self._held_until_ns[end.name] = time.monotonic_ns() + _HOLD_NS
        return [*self._release(end.name)]

    def _release(self, name: str, *, is_all: bool = False) -> list[Event | Change]:
        """Return the results before which all feedback has come: two inputs have no order."""
        held = self._held.pop(name, [])
        seen = self._seen.get(name, (0, 0))
        ready = [one for last, one in held if is_all or not last[1] or last <= seen]
        for one in ready:
            one.goal.status = one.status
            self._given.pop(one.goal.id, None)
        still = [entry for entry in held if entry[-1] not in ready]
        if still:
            self._held[name] = still
        return [*ready]

    def wait(
        self, wait: Callable[[int | None], Event | Change | None], deadline_ns: int | None
    ) -> Event | Change | None:
        """Wait for what comes in, or for a result that no longer waits for its feedback."""
        times_ns = [self._held_until_ns[name] for name in self._held]
        if deadline_ns is not None:
            times_ns.append(deadline_ns)
        try:
            return wait(min(times_ns, default=None))
        except TimeoutError:
            # A wait may end a moment early: a loop without a deadline must not see this error.
            now_ns = time.monotonic_ns() + _EARLY_NS
            names = [name for name in self._held if self._held_until_ns[name] <= now_ns]
            late = [result for name in names for result in self._release(name, is_all=True)]
            if not late:
                raise
        *before, last = late
        self._calls.kept += before
        return last

    def _abort(self, end: CallConfig) -> list[Event | Change]:
        aborted: list[Event | Change] = []
        done = [result.goal for _, result in self._held.get(end.name, [])]
        goals = [one for one in self._given.values() if one.name == end.name and one not in done]
        for goal in goals:
            del self._given[goal.id]
            goal.status = "aborted"
            metadata = {GOAL_ID: goal.id, GOAL_STATUS: "aborted"}
            aborted.append(Result(Event(end.port("result"), b"", encode_metadata(metadata)), goal))
        return aborted

    @property
    def _calls(self) -> Calls:
        calls = self._calls_or_gone()
        if calls is None:
            raise NodeClosedError(f"{self._where}: the node of this goal is gone; keep it as long")
        return calls

    def _unfinished(self, event: Event) -> GoalRequest:
        if not isinstance(event, GoalRequest):
            what = f"{self._where}: {event!r} is no goal of a client"
            raise NotARequestError(f"{what}; work on events that are dora_rt.GoalRequest")
        if event.is_finished:
            what = f"{self._where}: this goal of node {event.client!r} has its result already"
            raise NotARequestError(what)
        return event


def _progress(event: Event) -> _Progress:
    """Return how far a server was; it is (0, 0) for those of dora, which do not say."""
    given = event.metadata.get(_PROGRESS)
    if isinstance(given, list) and len(given) == 2 and all(isinstance(one, int) for one in given):
        return given[0], given[1]
    return 0, 0
