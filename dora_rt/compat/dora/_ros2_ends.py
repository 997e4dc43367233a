"""What a program for dora has of topics, services and actions of ROS 2; on the ready node `ros2`.

The exchanges of that node are fed with samples by the program itself, and what they send on goes
into queues that the program looks into.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dora_rt.errors import DoraRtError
from dora_rt.nodes.ros2.action_exchange import (
    GOAL_ID,
    GOAL_STATUS,
    WORDS,
    ActionPort,
    ServedAction,
    port_of_action,
)
from dora_rt.nodes.ros2.bridge import Exchange, Outlet, Transport
from dora_rt.nodes.ros2.cdr import CdrError
from dora_rt.nodes.ros2.native_values import FRAME_ID, STAMP_NS, Values
from dora_rt.nodes.ros2.ros_entities import Endpoint
from dora_rt.nodes.ros2.service_exchange import ERROR, REQUEST_ID, CalledService, ServedService
from dora_rt.nodes.ros2.topic_exchange import Publication, Subscription

if TYPE_CHECKING:
    from dora_rt.event import Event
    from dora_rt.interface import NodeLike

_logger = logging.getLogger("dora")

_SERVER_S = 10.0
_LOOK_AGAIN_S = 0.02
_CALL_S, _GOAL_S, _RESULT_S, _CANCEL_S, _POLL_S = 30.0, 30.0, 300.0, 10.0, 1.0
_MOST_WAITING = 10_000
_CALLS = ("send_goal", "get_result", "cancel_goal")
_ENDINGS = ("succeeded", "canceled")
PORT = "port"
"""Of the exchanges: a program has no ports that somebody would call by their names."""
_GOAL_PORT, _CANCEL_PORT = port_of_action(PORT, "goal"), port_of_action(PORT, "cancel")
ACTION_PORTS = tuple(port_of_action(PORT, one) for one in ("goal", "cancel", "feedback", "result"))


class Ros2Error(DoraRtError):
    """What ROS was asked for has failed: nobody answers in time, or there is no such goal."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What an exchange has sent on: a value of Arrow, and its metadata."""

    value: Any
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a program gives to an exchange; it has of an event what exchanges look at."""

    id: str
    value: Any
    metadata: Mapping[str, Any]
    origin_ns: int = 0


class Ends:
    """One exchange of a program, in the place of the node `ros2`.

    Args:
        exchange: which it is.
        transport: an open one.
        depth: how many samples of each port wait; the oldest go.
    """

    def __init__(
        self, exchange: Exchange, transport: Transport, depth: int = _MOST_WAITING
    ) -> None:
        self._exchange = exchange
        self._depth = depth
        self._waiting: dict[str, deque[Sent]] = {}
        self._news = threading.Condition()
        self.on_arrival: Callable[[], None] | None = None
        # An exchange sends to a node; it needs nothing else of one.
        self._outlet = Outlet(cast("NodeLike", self))
        exchange.begin(transport, self._outlet)

    def send_output(
        self,
        output_id: str,
        value: Any,
        metadata: Mapping[str, Any],
        *,
        captured_ns: int | None = None,
    ) -> None:
        """Keep a sample of the exchange; in a thread of the transport."""
        with self._news:
            self._port(output_id).append(Sent(value, metadata))
            self._news.notify_all()
        if self.on_arrival is not None:
            self.on_arrival()

    def give(self, input_id: str, value: Any, **metadata: Any) -> bool:
        """Give a sample to the exchange; return whether it went out.

        Raises:
            NoConnectionError, ValueMismatchError, CdrError: it cannot.
        """
        self._outlet.check()
        # dora leaves headers as they are: what is not given is empty.
        told = {STAMP_NS: 0, FRAME_ID: "", **metadata}
        sample = _Sample(input_id, as_array(value), told)
        return bool(self._exchange.take(cast("Event", sample)))

    def has_any(self, output_id: str) -> bool:
        """Whether a sample of a port waits."""
        return bool(self._port(output_id))

    def take(
        self, output_id: str, timeout_s: float, fits: Callable[[Sent], bool] = lambda _: True
    ) -> Sent | None:
        """Return the first sample of a port that fits; None if none comes in time."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                self._outlet.check()
                waiting = self._port(output_id)
                for one in waiting:
                    if fits(one):
                        waiting.remove(one)
                        return one
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._news.wait(left)

    def _port(self, output_id: str) -> deque[Sent]:
        return self._waiting.setdefault(output_id, deque(maxlen=self._depth))


def as_array(value: Any) -> Any:
    """Return what a program sends as an array of Arrow: dora takes a dict and a struct as well."""
    import pyarrow

    if isinstance(value, dict):
        return pyarrow.array([value])
    if isinstance(value, pyarrow.StructScalar):
        return pyarrow.array([value.as_py()], value.type)
    return value


class Ros2Publisher:
    """A topic that the program publishes."""

    def __init__(self, publication: Publication, transport: Transport) -> None:
        self._ends = Ends(publication, transport)

    def publish(self, data: Any) -> None:
        """Publish a message: a struct of Arrow, or a dict.

        Raises:
            ValueMismatchError, CdrError: it does not fit the type of the topic (a RuntimeError).
        """
        self._ends.give(PORT, data)


class Ros2Subscription:
    """A topic that the program subscribes to."""

    def __init__(self, subscription: Subscription, transport: Transport, depth: int) -> None:
        self._ends = Ends(subscription, transport, depth)
        self._is_merged = False

    def next(self) -> Any:
        """Return a message that is there, as an array of Arrow; else None.

        Raises:
            Ros2Error: the messages come as events of the node.
        """
        self._check()
        return self.take()

    def take(self) -> Any:
        """Return a message that is there; else None."""
        found = self._ends.take(PORT, 0)
        return None if found is None else found.value

    def merge(self, wake: Callable[[], None]) -> None:
        """Call `wake` for each message, from another thread; from now on `take` gives them.

        Raises:
            Ros2Error: they come as events of a node already.
        """
        self._check()
        self._is_merged = True
        self._ends.on_arrival = wake
        wake()

    def has_messages(self) -> bool:
        """Whether a message is there."""
        return self._ends.has_any(PORT)

    def _check(self) -> None:
        if self._is_merged:
            raise Ros2Error("subscription was already used: its messages are events of the node")


class Ros2ServiceClient:
    """A service that the program calls."""

    def __init__(self, service: CalledService, transport: Transport) -> None:
        self._ends = Ends(service, transport)
        self._numbers = itertools.count()
        (endpoint,) = service.endpoints
        self._name = endpoint.name
        if not is_served(transport, endpoint, _SERVER_S):
            raise Ros2Error(f"{self._name}: nobody serves it within {_SERVER_S:g} s")

    def call(self, request: Any, timeout_s: float | None = None) -> Any:
        """Send a request, and wait for the response; 30 s unless told otherwise.

        Raises:
            Ros2Error: none comes in time (a RuntimeError).
            ValueMismatchError, CdrError: it is no request of this service.
        """
        limit_s = _CALL_S if timeout_s is None else timeout_s
        request_id = f"{next(self._numbers)}"
        self._ends.give(PORT, request, **{REQUEST_ID: request_id})
        found = self._ends.take(PORT, limit_s, lambda one: one.metadata[REQUEST_ID] == request_id)
        if found is None:
            raise Ros2Error(f"{self._name}: no response within {limit_s:g} s")
        if ERROR in found.metadata:
            raise Ros2Error(str(found.metadata[ERROR]))
        return found.value


class Ros2ServiceServer:
    """A service that the program serves."""

    def __init__(self, service: ServedService, transport: Transport) -> None:
        self._ends = Ends(service, transport)
        self._numbers = itertools.count(1)
        self._asked: dict[int, str] = {}

    def take_request(self, timeout_s: float | None = None) -> tuple[int, Any] | None:
        """Wait for the next request, a second unless told otherwise; None if none comes."""
        found = self._ends.take(PORT, _POLL_S if timeout_s is None else timeout_s)
        if found is None:
            return None
        while len(self._asked) >= _MOST_WAITING:
            del self._asked[next(iter(self._asked))]
        number = next(self._numbers)
        self._asked[number] = found.metadata[REQUEST_ID]
        return number, found.value

    def send_response(self, request_id: int, response: Any) -> None:
        """Answer a request.

        Raises:
            Ros2Error: there is no such request, or it was answered (a RuntimeError).
            ValueMismatchError, CdrError: it is no response of this service.
        """
        if request_id not in self._asked:
            raise Ros2Error(f"no request {request_id!r} waits for a response")
        self._ends.give(PORT, response, **{REQUEST_ID: self._asked[request_id]})
        del self._asked[request_id]


class Ros2ActionClient:
    """An action whose goals others reach."""

    def __init__(self, action: ActionPort, transport: Transport) -> None:
        self._action = action
        self._transport = transport
        self._clients = {name: transport.call(action.endpoints[name]) for name in _CALLS}
        self._feedback: deque[tuple[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._news = threading.Condition()
        transport.subscribe(action.endpoints["feedback"], self._keep_feedback)

    def send_goal(self, goal: Any, timeout_s: float | None = None) -> str | None:
        """Send a goal; return its id once it is accepted, None if it is rejected.

        Raises:
            Ros2Error: nobody answers in time, 30 s unless told otherwise (a RuntimeError).
            ValueMismatchError, CdrError: it is no goal of this action.
        """
        limit_s = _GOAL_S if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s
        goal_id = str(uuid.uuid4())
        fields = self._action.goal.to_message(as_array(goal), {}, {})
        endpoint = self._action.endpoints["send_goal"]
        answer = None
        if is_served(self._transport, endpoint, limit_s):
            left_s = max(deadline - time.monotonic(), _LOOK_AGAIN_S)
            answer = self._ask("send_goal", {GOAL_ID: _wire(goal_id), "goal": fields}, left_s)
        if answer is None:
            raise Ros2Error(f"{endpoint.name}: no answer within {limit_s:g} s")
        return goal_id if answer["accepted"] else None

    def take_feedback(self, goal_id: str, timeout_s: float | None = None) -> Any:
        """Wait for feedback on a goal, a second unless told otherwise; None if none comes."""
        deadline = time.monotonic() + (_POLL_S if timeout_s is None else timeout_s)
        with self._news:
            while True:
                for one in self._feedback:
                    if one[0] == goal_id:
                        self._feedback.remove(one)
                        return self._action.feedback.to_native(one[1]).value
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return None
                self._news.wait(left_s)

    def take_result(self, goal_id: str, timeout_s: float | None = None) -> tuple[str, Any] | None:
        """Wait for the end of a goal, 300 s unless told otherwise; return how, and the result.

        Returns:
            `succeeded`, `canceled` or `aborted`, and the result; None if the time was too short, or
            the server went away.

        Raises:
            Ros2Error: this is no id of a goal, or the server has no such goal (a RuntimeError).
        """
        limit_s = _RESULT_S if timeout_s is None else timeout_s
        answer = self._ask("get_result", {GOAL_ID: _wire(goal_id)}, limit_s)
        if answer is None:
            return None
        if answer["status"] not in WORDS:
            raise Ros2Error(f"goal {goal_id} has no end: its status is {answer['status']}")
        return WORDS[answer["status"]], self._action.result.to_native(answer["result"]).value

    def cancel(self, goal_id: str | None = None, timeout_s: float | None = None) -> int:
        """Cancel a goal, or all; return the code of the answer, 0: it is being cancelled.

        Raises:
            Ros2Error: nobody answers in time, 10 s unless told otherwise (a RuntimeError).
        """
        limit_s = _CANCEL_S if timeout_s is None else timeout_s
        wire_id = {"uuid": bytes(16)} if goal_id is None else _wire(goal_id)
        answer = self._ask("cancel_goal", {"goal_info": {GOAL_ID: wire_id}}, limit_s)
        if answer is None:
            name = self._action.endpoints["cancel_goal"].name
            raise Ros2Error(f"{name}: no answer within {limit_s:g} s")
        return int(answer["return_code"])

    def _ask(self, name: str, values: Values, timeout_s: float) -> Values | None:
        answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        request = self._action.encode(f"{name}_request", values)
        self._clients[name].call(request, answers.put, timeout_s)
        # The transport keeps the time, and says so itself.
        content = answers.get()
        return None if content is None else self._action.codecs[f"{name}_response"].decode(content)

    def _keep_feedback(self, content: bytes) -> None:
        try:
            found = self._action.codecs["feedback"].decode(content)
        except CdrError as error:
            _logger.warning("%s is left out: %s", self._action.endpoints["feedback"].name, error)
            return
        with self._news:
            goal_id = str(uuid.UUID(bytes=found[GOAL_ID]["uuid"].tobytes()))
            self._feedback.append((goal_id, found["feedback"]))
            self._news.notify_all()


class Ros2ActionServer:
    """An action whose goals the program reaches."""

    def __init__(self, action: ServedAction, transport: Transport) -> None:
        self._action = action
        self._ends = Ends(action, transport)

    def take_goal(self, timeout_s: float | None = None) -> tuple[str, Any] | None:
        """Wait for the next goal, a second unless told otherwise; None if none comes."""
        found = self._ends.take(_GOAL_PORT, _POLL_S if timeout_s is None else timeout_s)
        return None if found is None else (found.metadata[GOAL_ID], found.value)

    def send_feedback(self, goal_id: str, feedback: Any) -> None:
        """Publish feedback on a goal.

        Raises:
            ValueMismatchError, CdrError: there is no such goal, or it is no feedback of this
                action (a RuntimeError).
        """
        self._ends.give(port_of_action(PORT, "feedback"), feedback, **{GOAL_ID: goal_id})

    def send_result(
        self,
        goal_id: str,
        result: Any,
        status: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """End a goal, and wait until its client has the result, 300 s unless told otherwise.

        Args:
            goal_id: which goal.
            result: of it.
            status: `succeeded`, `canceled`; all else is `aborted`.
            timeout_s: how long to wait at most; the result can still be fetched later.

        Raises:
            ValueMismatchError, CdrError: there is no such goal, or it is no result of this
                action (a RuntimeError).
        """
        word = "succeeded" if status is None else status
        told = {GOAL_ID: goal_id, GOAL_STATUS: word if word in _ENDINGS else "aborted"}
        self._ends.give(port_of_action(PORT, "result"), result, **told)
        deadline = time.monotonic() + (_RESULT_S if timeout_s is None else timeout_s)
        while not self._action.was_fetched(goal_id) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)

    def take_cancel(self, timeout_s: float | None = None) -> list[str] | None:
        """Wait for goals to cancel, a second unless told otherwise; None if none come."""
        found = self._ends.take(_CANCEL_PORT, _POLL_S if timeout_s is None else timeout_s)
        goals = []
        while found is not None:
            goals.append(str(found.metadata[GOAL_ID]))
            found = self._ends.take(_CANCEL_PORT, 0)
        return goals or None


def is_served(transport: Transport, endpoint: Endpoint, timeout_s: float) -> bool:
    """Wait until somebody serves a service; return whether somebody does in time."""
    deadline = time.monotonic() + timeout_s
    wanted = (endpoint.role.counterpart, endpoint.name, endpoint.type_name, endpoint.type_hash)
    while True:
        for one in transport.remote_endpoints() or ():
            if (one.role, one.name, one.type_name, one.type_hash) == wanted:
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_AGAIN_S)


def _wire(goal_id: str) -> Values:
    """Return the id of a goal as messages have it.

    Raises:
        Ros2Error: it is none.
    """
    try:
        return {"uuid": uuid.UUID(goal_id).bytes}
    except (ValueError, TypeError, AttributeError) as error:
        raise Ros2Error(f"{goal_id!r} is no id of a goal") from error
