"""The six services and the topic by which other nodes of ROS 2 see and set parameters."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dora_rt.errors import ParameterRefusedError
from dora_rt.live.run_parameters import LauncherSilentError, RunParameters

from .bridge import Outlet, Publisher, Request, Transport
from .native_values import Values, from_ns
from .ros_entities import Endpoint, Role
from .ros_parameters import (
    OfferedParameter,
    ParameterSourceError,
    RosType,
    json_value,
    names_under,
)
from .routes import parse_routes
from .service_exchange import ServicePort
from .topic_exchange import Topic
from .topics import Queue, TopicMaker

if TYPE_CHECKING:
    from dora_rt.event import Event

logger = logging.getLogger(__name__)

_LOOK_S = 0.2
_EVENTS = "events=/parameter_events:rcl_interfaces/ParameterEvent,reliable,depth=1000"
_SERVICES = {
    "list_parameters": "ListParameters",
    "get_parameters": "GetParameters",
    "get_parameter_types": "GetParameterTypes",
    "describe_parameters": "DescribeParameters",
    "set_parameters": "SetParameters",
    "set_parameters_atomically": "SetParametersAtomically",
}

Parameters = dict[str, OfferedParameter]


class ParameterSource(Protocol):
    """Who has the values."""

    def read(self) -> list[OfferedParameter]:
        """Return all parameters as they are now.

        Raises:
            ParameterSourceError: they cannot be had now.
        """

    def write(self, values: Mapping[str, Any]) -> None:
        """Set values, all or none.

        Raises:
            ParameterRefusedError: one does not fit; the message is for people.
            ParameterSourceError: they cannot be set now.
        """

    def delete(self, name: str) -> None:
        """Take a value back; raises what `write` raises."""


class ParametersOfNode:
    """The parameters of a node of the dataflow."""

    def __init__(self, run: RunParameters, node: str) -> None:
        self._run = run
        self._node = node

    def read(self) -> list[OfferedParameter]:
        """Return all parameters as they are now.

        Raises:
            ParameterSourceError: the launcher does not answer, or knows no such node.
        """
        try:
            return [OfferedParameter.of_entry(entry) for entry in self._run.read(self._node)]
        except (LauncherSilentError, ParameterRefusedError) as error:
            raise ParameterSourceError(str(error)) from error

    def write(self, values: Mapping[str, Any]) -> None:
        """Set values, all or none.

        Raises:
            ParameterRefusedError: one does not fit.
            ParameterSourceError: the launcher does not answer.
        """
        try:
            self._run.write(self._node, values)
        except LauncherSilentError as error:
            raise ParameterSourceError(str(error)) from error

    def delete(self, name: str) -> None:
        """Take back what was set, to the value of the file; raises what `write` raises."""
        try:
            self._run.delete(self._node, name)
        except LauncherSilentError as error:
            raise ParameterSourceError(str(error)) from error


class ParameterServices:
    """Offer the parameters of one node of ROS, whose transport it is given.

    Args:
        full_name: of the node in ROS.
        maker: makes its services.
        source: has the values.
    """

    # What the user is told of: whether somebody is at the other end matters for none of these.
    endpoints: tuple[Endpoint, ...] = ()
    input_ids: tuple[str, ...] = ()

    def __init__(self, full_name: str, maker: TopicMaker, source: ParameterSource) -> None:
        self._name = full_name
        self._source = source
        self._services = {name: _service(maker, name) for name in _SERVICES}
        (route,) = parse_routes(_EVENTS)
        self._events: Topic = maker.make(route, Role.PUBLISHER, Queue())
        self._publisher: Publisher | None = None
        self._known: Parameters | None = None
        # Of `_known`, and of a change with the look behind it.
        self._lock = threading.Lock()
        self._is_ended = threading.Event()
        self._watcher: threading.Thread | None = None

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Serve, and tell of changes."""
        answers: dict[str, Callable[[Values], Values]] = {
            "list_parameters": self._list,
            "get_parameters": self._get,
            "get_parameter_types": self._get_types,
            "describe_parameters": self._describe,
            "set_parameters": self._set,
            "set_parameters_atomically": self._set_atomically,
        }
        for name, answer in answers.items():
            self._serve(transport, outlet, self._services[name], answer)
        self._publisher = transport.advertise(self._events.endpoint)
        self._is_ended.clear()
        self._watcher = threading.Thread(
            target=lambda: self._watch(outlet), name=f"ros2 {self._name}", daemon=True
        )
        self._watcher.start()

    def end(self) -> None:
        """Serve no more."""
        self._is_ended.set()
        if self._watcher is not None:
            self._watcher.join(_LOOK_S)
        with self._lock:
            self._publisher = None
            self._known = None

    def take(self, event: Event) -> bool:
        """Take nothing: it has no input."""
        return False

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """Do nothing: it has no input."""

    def look(self) -> None:
        """Tell of what has changed since the last look, if somebody listens.

        Raises:
            ParameterSourceError: the values cannot be had now.
        """
        with self._lock:
            self._look()

    def _serve(
        self,
        transport: Transport,
        outlet: Outlet,
        service: ServicePort,
        answer: Callable[[Values], Values],
    ) -> None:
        name = service.endpoint.name

        def reply(request: Request) -> None:
            try:
                values = answer(service.request.codec.decode(request.content))
                request.answer(bytes(service.response.codec.encode(values)))
            except ParameterSourceError as error:
                # The asker's time is up before ours: there is nothing true to answer.
                logger.warning("%s is not answered: %s", name, error)

        transport.serve(
            service.endpoint, lambda request: outlet.guarded(name, lambda: reply(request))
        )

    def _read(self) -> Parameters:
        return {one.name: one for one in self._source.read()}

    def _list(self, request: Values) -> Values:
        names = list(self._read())
        found, prefixes = names_under(names, list(request["prefixes"]), int(request["depth"]))
        return {"result": {"names": found, "prefixes": prefixes}}

    def _get(self, request: Values) -> Values:
        return {"values": [one.ros_value() for one in self._named(request)]}

    def _get_types(self, request: Values) -> Values:
        return {"types": [int(one.type) for one in self._named(request)]}

    def _describe(self, request: Values) -> Values:
        return {"descriptors": [one.descriptor() for one in self._named(request)]}

    def _named(self, request: Values) -> list[OfferedParameter]:
        """Return what is asked for, in its order; what there is not is not set."""
        known = self._read()
        return [
            known.get(name, OfferedParameter(name, None, RosType.NOT_SET))
            for name in request["names"]
        ]

    def _set(self, request: Values) -> Values:
        return {"results": [self._result([one]) for one in request["parameters"]]}

    def _set_atomically(self, request: Values) -> Values:
        return {"result": self._result(request["parameters"])}

    def _result(self, parameters: list[Values]) -> Values:
        try:
            with self._lock:
                if self._is_listened_to() and self._known is None:
                    self._known = self._read()
                self._write(parameters)
                self._look()
        except ParameterRefusedError as error:
            return {"successful": False, "reason": str(error)}
        return {"successful": True}

    def _write(self, parameters: list[Values]) -> None:
        values = {}
        for one in parameters:
            try:
                values[one["name"]] = json_value(one["value"])
            except ParameterRefusedError as error:
                raise ParameterRefusedError(f"parameter {one['name']!r}: {error}") from error
        deleted = [name for name, value in values.items() if value is None]
        if not deleted:
            self._source.write(values)
        elif len(values) == 1:
            self._source.delete(deleted[0])
        else:
            raise ParameterRefusedError(
                f"{deleted[0]!r} cannot be taken back together with others: use set_parameters"
            )

    def _watch(self, outlet: Outlet) -> None:
        was_there = True
        try:
            while not self._is_ended.wait(_LOOK_S):
                try:
                    self.look()
                    was_there = True
                except ParameterSourceError as error:
                    if was_there:
                        logger.warning("changes of %s are not told: %s", self._name, error)
                    was_there = False
        except Exception as error:
            outlet.fail(error)

    def _is_listened_to(self) -> bool:
        return self._publisher is not None and self._publisher.is_wanted()

    def _look(self) -> None:
        if not self._is_listened_to():
            # Who listens later is told of later changes only.
            self._known = None
            return
        before, self._known = self._known, self._read()
        if before is None or self._publisher is None:
            return
        event = _difference(before, self._known)
        if event:
            values = {"stamp": from_ns(time.time_ns()), "node": self._name, **event}
            self._publisher.publish(self._events.codec.encode(values))


def _service(maker: TopicMaker, name: str) -> ServicePort:
    (route,) = parse_routes(f"{name}=~/{name}:rcl_interfaces/{_SERVICES[name]}")
    return maker.make_service(route, Role.SERVER)


def _difference(before: Parameters, now: Parameters) -> Values:
    """Return what an event tells; empty if nothing has changed."""

    def has_value(known: Parameters, name: str) -> bool:
        return name in known and known[name].value is not None

    found: dict[str, list[Values]] = {}
    for name in dict.fromkeys((*before, *now)):
        was, one = before.get(name), now.get(name)
        if one is None or not has_value(now, name):
            if has_value(before, name):
                kind = {"name": name, "value": {"type": int(RosType.NOT_SET)}}
                found.setdefault("deleted_parameters", []).append(kind)
        elif was is None or not has_value(before, name):
            told = {"name": name, "value": one.ros_value()}
            found.setdefault("new_parameters", []).append(told)
        elif was.ros_value() != one.ros_value():
            told = {"name": name, "value": one.ros_value()}
            found.setdefault("changed_parameters", []).append(told)
    return found
