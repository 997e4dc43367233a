"""Actions: goals that others reach, and goals that a node reaches."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .bridge import Client, Outlet, Publisher, Request, Transport, header_of
from .cdr import Codec
from .native_values import Converter, Native, ValueMismatchError, Values, from_ns
from .ros_entities import Endpoint, NoConnectionError
from .service_exchange import ERROR

if TYPE_CHECKING:
    from dora_rt.event import Event

logger = logging.getLogger(__name__)

GOAL_ID = "goal_id"
GOAL_STATUS = "goal_status"
# Of action_msgs/GoalStatus; the words are dora's.
_EXECUTING, _CANCELING = 2, 3
_ENDINGS = {"succeeded": 4, "canceled": 5, "aborted": 6}
WORDS = {number: word for word, number in _ENDINGS.items()}
_NO_GOAL = bytes(16)
_CANCEL_ACCEPTED, _CANCEL_REJECTED, _UNKNOWN_GOAL = 0, 1, 2
_MOST_GOALS = 100
_ANSWER_TIMEOUT_S = 10.0
# A goal may take hours.
_RESULT_TIMEOUT_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class ActionPort:
    """An action, and the ports that belong to it: `PORT_goal`, `PORT_feedback` and so on.

    Attributes:
        port: with which the names of the ports begin.
        ports: those of them that the dataflow file has.
        endpoints: by `send_goal`, `get_result`, `cancel_goal`, `feedback` and `status`.
        codecs: by the same names and `_request` or `_response` for services.
        goal, result, feedback: which values these are.
    """

    port: str
    ports: frozenset[str]
    endpoints: Mapping[str, Endpoint]
    codecs: Mapping[str, Codec]
    goal: Converter
    result: Converter
    feedback: Converter

    def name_of(self, part: str) -> str:
        """Return the name of a port."""
        return port_of_action(self.port, part)

    def has(self, part: str) -> bool:
        """Whether the dataflow file has this port."""
        return self.name_of(part) in self.ports

    def encode(self, part: str, values: Values) -> bytes:
        """Make a message of one of the services or topics."""
        return bytes(self.codecs[part].encode(values))


def port_of_action(port: str, part: str) -> str:
    """Return the name of a port of an action: `.` stands for none before it, as dora has it."""
    return part if port == "." else f"{port}_{part}"


class CalledAction:
    """Let others reach goals: inputs `PORT_goal`, `PORT_cancel`, outputs feedback and result."""

    def __init__(self, action: ActionPort) -> None:
        self._action = action
        self._clients: dict[str, Client] = {}
        self._outlet: Outlet | None = None
        # By the id on the wire, the id that the asker knows.
        self._goals: dict[bytes, str] = {}
        names = ("send_goal", "get_result", "cancel_goal", "feedback")
        self.endpoints: tuple[Endpoint, ...] = tuple(action.endpoints[name] for name in names)
        self.input_ids: tuple[str, ...] = tuple(map(action.name_of, ("goal", "cancel")))

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Become a client."""
        action = self._action
        self._outlet = outlet
        where = action.endpoints["feedback"]
        transport.subscribe(
            where, lambda content: outlet.guarded(where.name, lambda: self._tell(content))
        )
        for name in ("send_goal", "get_result", "cancel_goal"):
            self._clients[name] = transport.call(action.endpoints[name])

    def end(self) -> None:
        """Ask no more."""
        self._clients = {}

    def take(self, event: Event) -> bool:
        """Send a goal, or cancel one.

        Raises:
            NoConnectionError: there is no connection yet.
            ValueMismatchError: it cannot be made a goal, or no such goal is being reached.
            CdrError: it does not fit into the goal.
        """
        if not self._clients:
            raise NoConnectionError("the action is not connected yet")
        if event.id == self._action.name_of("cancel"):
            self._cancel(event)
        else:
            self._send_goal(event)
        return True

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """End a goal that cannot be sent as aborted, with the reason."""
        if event.id == self._action.name_of("goal"):
            told = {GOAL_STATUS: "aborted", ERROR: why}
            if isinstance(goal_id := event.metadata.get(GOAL_ID), str):
                told[GOAL_ID] = goal_id
            outlet.send(self._action.name_of("result"), Native(b""), told)

    def _send_goal(self, event: Event) -> None:
        action = self._action
        text = event.metadata.get(GOAL_ID)
        goal_id = text if isinstance(text, str) else str(uuid.uuid4())
        wire_id = _wire_id(goal_id)
        goal = action.goal.to_message(event.value, event.metadata, header_of(event, None))
        request = action.encode("send_goal_request", {GOAL_ID: _uuid(wire_id), "goal": goal})
        self._goals[wire_id] = goal_id
        self._ask("send_goal", request, lambda answer: self._take_accepted(wire_id, answer))

    def _take_accepted(self, wire_id: bytes, answer: Values | None) -> None:
        if answer is None or not answer["accepted"]:
            why = "nobody serves the action" if answer is None else "the goal was rejected"
            self._finish(wire_id, "aborted", None, why)
            return
        request = self._action.encode("get_result_request", {GOAL_ID: _uuid(wire_id)})
        self._ask("get_result", request, lambda found: self._take_result(wire_id, found))

    def _take_result(self, wire_id: bytes, answer: Values | None) -> None:
        if answer is None:
            # A goal whose server is gone must not stay without an end.
            self._finish(wire_id, "aborted", None, "the server of the action is gone")
            return
        word = WORDS.get(answer["status"])
        result = self._action.result.to_native(answer["result"])
        why = None if word else f"the goal ended with the status {answer['status']}"
        self._finish(wire_id, word or "aborted", result, why)

    def _finish(self, wire_id: bytes, word: str, result: Native | None, why: str | None) -> None:
        goal_id = self._goals.pop(wire_id, None)
        if goal_id is None or self._outlet is None:
            return
        metadata = {GOAL_ID: goal_id, GOAL_STATUS: word, **({ERROR: why} if why else {})}
        self._outlet.send(self._action.name_of("result"), result or Native(b""), metadata)

    def _cancel(self, event: Event) -> None:
        goal_id = event.metadata.get(GOAL_ID)
        wire_id = _wire_id(goal_id) if isinstance(goal_id, str) else _NO_GOAL
        if wire_id not in self._goals:
            raise ValueMismatchError(f"no goal {goal_id!r} is being reached, so none is cancelled")
        information = {GOAL_ID: _uuid(wire_id)}
        request = self._action.encode("cancel_goal_request", {"goal_info": information})

        def take(answer: Values | None) -> None:
            if answer is None or answer["return_code"] != _CANCEL_ACCEPTED:
                logger.warning("goal %s: the server does not cancel it", goal_id)

        self._ask("cancel_goal", request, take)

    def _tell(self, content: bytes) -> None:
        action = self._action
        found = action.codecs["feedback"].decode(content)
        goal_id = self._goals.get(_bytes_of(found[GOAL_ID]))
        if goal_id is not None and action.has("feedback") and self._outlet is not None:
            native = action.feedback.to_native(found["feedback"])
            self._outlet.send(action.name_of("feedback"), native, {GOAL_ID: goal_id})

    def _ask(self, name: str, request: bytes, take: Any) -> None:
        outlet, action = self._outlet, self._action
        client = self._clients.get(name)
        if client is None or outlet is None:
            return
        where = action.endpoints[name].name
        timeout_s = _RESULT_TIMEOUT_S if name == "get_result" else _ANSWER_TIMEOUT_S

        def take_answer(content: bytes | None) -> None:
            outlet.guarded(where, lambda: take(decoded(content)))

        def decoded(content: bytes | None) -> Values | None:
            return None if content is None else action.codecs[f"{name}_response"].decode(content)

        client.call(request, take_answer, timeout_s)


@dataclass(slots=True)
class _Goal:
    """A goal that a node here reaches; `asked` waits for its result."""

    was_fetched: bool = False
    status: int = _EXECUTING
    accepted_ns: int = field(default_factory=time.time_ns)
    result: bytes | None = None
    asked: list[Request] = field(default_factory=list)


class ServedAction:
    """Reach the goals of others: outputs `PORT_goal`, `PORT_cancel`, inputs feedback and result."""

    def __init__(self, action: ActionPort) -> None:
        self._action = action
        self._goals: dict[bytes, _Goal] = {}
        self._publishers: dict[str, Publisher] = {}
        self._lock = threading.RLock()
        self.endpoints: tuple[Endpoint, ...] = tuple(action.endpoints.values())
        self.input_ids: tuple[str, ...] = tuple(map(action.name_of, ("feedback", "result")))

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Become the server."""
        endpoints = self._action.endpoints
        for name in ("feedback", "status"):
            self._publishers[name] = transport.advertise(endpoints[name])
        for name, take in {
            "send_goal": self._accept,
            "get_result": self._ask_result,
            "cancel_goal": self._cancel,
        }.items():
            self._serve(transport, outlet, name, take)

    def end(self) -> None:
        """Serve no more."""
        self._publishers = {}

    def take(self, event: Event) -> bool:
        """Publish feedback, or end a goal.

        Raises:
            NoConnectionError: there is no connection.
            ValueMismatchError: there is no such goal, or it cannot be made a message.
            CdrError: it does not fit into the message.
        """
        if not self._publishers:
            raise NoConnectionError("the action is not connected yet")
        goal_id = event.metadata.get(GOAL_ID)
        wire_id = _wire_id(goal_id) if isinstance(goal_id, str) else _NO_GOAL
        with self._lock:
            goal = self._goals.get(wire_id)
            if goal is None or goal.result is not None:
                raise ValueMismatchError(
                    f"no goal {goal_id!r} is being reached; copy {GOAL_ID} from the goal's metadata"
                )
            if event.id == self._action.name_of("feedback"):
                self._publish_feedback(wire_id, event)
            else:
                self._finish(goal, event)
        return True

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """Do nothing: nobody waits for an answer."""

    def was_fetched(self, goal_id: str) -> bool:
        """Whether somebody has the result of a goal, or the goal is forgotten."""
        with self._lock:
            goal = self._goals.get(_wire_id(goal_id))
            return goal is None or goal.was_fetched

    def _serve(self, transport: Transport, outlet: Outlet, name: str, take: Any) -> None:
        where = self._action.endpoints[name]
        codec = self._action.codecs[f"{name}_request"]

        def take_request(request: Request) -> None:
            def work() -> None:
                take(request, codec.decode(request.content), outlet)

            outlet.guarded(where.name, work)

        transport.serve(where, take_request)

    def _accept(self, request: Request, values: Values, outlet: Outlet) -> None:
        action = self._action
        wire_id = _bytes_of(values[GOAL_ID])
        native = action.goal.to_native(values["goal"])
        with self._lock:
            is_new = wire_id not in self._goals and self._has_room()
            if is_new:
                self._goals[wire_id] = _Goal()
        stamp = from_ns(time.time_ns())
        response = action.encode("send_goal_response", {"accepted": is_new, "stamp": stamp})
        request.answer(response)
        if is_new:
            self._publish_status()
            outlet.send(action.name_of("goal"), native, {GOAL_ID: _text(wire_id)})

    def _has_room(self) -> bool:
        """Forget the oldest results that nobody fetched, if that makes room for one more goal."""
        ended = [one for one, goal in self._goals.items() if goal.result is not None]
        for one in ended[: len(self._goals) - _MOST_GOALS + 1]:
            del self._goals[one]
        return len(self._goals) < _MOST_GOALS

    def _ask_result(self, request: Request, values: Values, outlet: Outlet) -> None:
        with self._lock:
            goal = self._goals.get(_bytes_of(values[GOAL_ID]))
            if goal is not None and goal.result is None:
                goal.asked.append(request)
                return
            if goal is not None:
                goal.was_fetched = True
        unknown = self._action.encode("get_result_response", {"status": 0})
        request.answer(unknown if goal is None or goal.result is None else goal.result)

    def _cancel(self, request: Request, values: Values, outlet: Outlet) -> None:
        action = self._action
        wire_id = _bytes_of(values["goal_info"][GOAL_ID])
        can_cancel = action.has("cancel")
        with self._lock:
            # No id means all of them.
            wanted = [wire_id] if wire_id != _NO_GOAL else list(self._goals)
            running = [
                one for one in wanted if one in self._goals and self._goals[one].result is None
            ]
            for one in running if can_cancel else ():
                self._goals[one].status = _CANCELING
        code = _CANCEL_ACCEPTED if can_cancel and running else _CANCEL_REJECTED
        if not running and wire_id != _NO_GOAL:
            code = _UNKNOWN_GOAL
        canceling = running if code == _CANCEL_ACCEPTED else []
        answer = {
            "return_code": code,
            "goals_canceling": [{GOAL_ID: _uuid(one)} for one in canceling],
        }
        request.answer(action.encode("cancel_goal_response", answer))
        for one in canceling:
            outlet.send(action.name_of("cancel"), Native(b""), {GOAL_ID: _text(one)})
        if canceling:
            self._publish_status()

    def _publish_feedback(self, wire_id: bytes, event: Event) -> None:
        action = self._action
        feedback = action.feedback.to_message(event.value, event.metadata, header_of(event, None))
        values = {GOAL_ID: _uuid(wire_id), "feedback": feedback}
        self._publishers["feedback"].publish(action.encode("feedback", values))

    def _finish(self, goal: _Goal, event: Event) -> None:
        action = self._action
        word = event.metadata.get(GOAL_STATUS, "succeeded")
        if word not in _ENDINGS:
            raise ValueMismatchError(
                f"{GOAL_STATUS} is {word!r}; expected one of {', '.join(_ENDINGS)}"
            )
        values: Values = {"status": _ENDINGS[word]}
        if not (isinstance(event.value, bytes) and not event.value):
            header = header_of(event, None)
            values["result"] = action.result.to_message(event.value, event.metadata, header)
        result = action.encode("get_result_response", values)
        goal.status, goal.result = _ENDINGS[word], result
        for request in goal.asked:
            request.answer(result)
        goal.was_fetched = bool(goal.asked)
        goal.asked.clear()
        self._publish_status()

    def _publish_status(self) -> None:
        with self._lock:
            statuses = [
                {
                    "goal_info": {GOAL_ID: _uuid(one), "stamp": from_ns(goal.accepted_ns)},
                    "status": goal.status,
                }
                for one, goal in self._goals.items()
            ]
        publisher = self._publishers.get("status")
        if publisher is not None:
            publisher.publish(self._action.encode("status", {"status_list": statuses}))


def _wire_id(goal_id: str) -> bytes:
    """Return the id of a goal as ROS has it; any text has one."""
    try:
        return uuid.UUID(goal_id).bytes
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, goal_id).bytes


def _text(wire_id: bytes) -> str:
    return str(uuid.UUID(bytes=wire_id))


def _uuid(wire_id: bytes) -> Values:
    return {"uuid": wire_id}


def _bytes_of(values: Values) -> bytes:
    found: bytes = values["uuid"].tobytes()
    return found
