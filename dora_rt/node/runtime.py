"""The runtime: one process, one thread and one GIL for any number of operators.

Between operators of one runtime values go by reference: no semaphore, no copy, no shared memory.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dora_rt.errors import NodeClosedError, OperatorError, UnknownOutputError
from dora_rt.event import (
    CLOCK_KEY,
    TELEMETRY_KEY,
    Change,
    DoraStatus,
    Event,
    InputClosed,
    ParameterChanged,
    encode_clock,
)
from dora_rt.node.dora_events import (
    change_event,
    import_arrow,
    input_event,
    parameter_event,
    passed_event,
    stop_event,
    with_shape,
)
from dora_rt.node.node import Node
from dora_rt.node.operator import LoadedOperator
from dora_rt.node.operator_modules import OperatorModules
from dora_rt.node.session import Session
from dora_rt.node_config import NodeConfig, OperatorConfig, Route
from dora_rt.transport.operator_link import Link, Passed
from dora_rt.transport.values.sendable import sendable


def main() -> None:
    """Run the operators that the launcher describes in the environment."""
    with Node() as node:
        try:
            Runtime(node).run()
        except OperatorError as error:
            _show(error)
            sys.exit(1)


def _show(error: OperatorError) -> None:
    # The user's own frames and the one sentence, not the way through ours: these lines are what
    # the launcher shows of a node that failed.
    if error.__cause__ is not None:
        cause = error.__cause__.with_traceback(
            error.__cause__.__traceback__ and error.__cause__.__traceback__.tb_next
        )
        traceback.print_exception(cause)
    sys.stderr.write(f"{error}\n")


_BURST = 8  # values passed on between two looks at what comes from outside


class _Running:
    """An operator at work: its instance, where its outputs go, and what may still reach it."""

    def __init__(self, operator: LoadedOperator, config: OperatorConfig, node: NodeConfig) -> None:
        self.operator = operator
        self.ports = {port_id for port_id, _ in config.inputs}
        self.routes = {route.output_id: route for route in config.routes}
        self.open_ports = {
            entry.id
            for entry in node.inputs
            if entry.id in self.ports and entry.edge is not None and entry.keeps_alive
        }
        self.has_timer = any(
            entry.id in self.ports and entry.period_ns is not None for entry in node.inputs
        )
        self.feeders: set[int] = set()
        self.has_sources = bool(self.open_ports)


class Runtime:
    """Delivers inputs to operators, one at a time, until each of them has come to its end."""

    def __init__(self, node: Node) -> None:
        """Load every operator.

        Raises:
            OperatorError: one of them cannot be loaded.
        """
        self._node = node
        self._session = session = Session.of(node)
        config = session.config
        self._running: dict[int, _Running] = {}
        self._port_owner: dict[str, tuple[int, str]] = {}
        self._links: dict[int, Link] = {}
        self._turns: deque[Link] = deque()
        self._is_ending = False
        self._thread = threading.get_ident()
        self._inputs = {entry.id: entry for entry in config.inputs}
        paths = [operator.path for operator in config.operators if operator.path is not None]
        OperatorModules(str(Path(path).resolve().parent) for path in paths).install()
        for index, operator_config in enumerate(config.operators):
            operator = LoadedOperator.load(operator_config, config.description_path)
            self._running[index] = _Running(operator, operator_config, config)
            for port_id, input_id in operator_config.inputs:
                self._port_owner[port_id] = (index, input_id)
        if any(running.operator.uses_event_dicts for running in self._running.values()):
            import_arrow()
            session.follow_rules_of_dora()
        self._senders = {
            index: partial(self._send_output, index) for index in range(len(config.operators))
        }
        for index, operator_config in enumerate(config.operators):
            for route in operator_config.routes:
                for link in route.links:
                    self._links[link.number] = session.ports.link(link)
                    # What an operator sends to itself does not keep it alive.
                    if link.operator != index:
                        reader = self._running[link.operator]
                        reader.has_sources = True
                        reader.feeders.add(index)

    def run(self) -> None:
        """Work until all operators have ended, or the node is told to stop.

        Raises:
            OperatorError: an operator broke its contract; the others were dropped.
        """
        self._thread = threading.get_ident()
        try:
            self._end_finished()
            while self._running and self._work():
                pass
            # Told to stop: what operators have sent each other until now still arrives.
            for _ in range(len(self._turns)):
                self._deliver_next()
            for index in list(self._running):
                self._say_stop(index)
        except BaseException:
            # Also a KeyboardInterrupt: what an operator has switched on, it switches off in
            # `drop_operator`.
            for error in self._drop_all():
                _show(error)
            raise
        else:
            errors = self._drop_all()
            for error in errors[1:]:
                _show(error)
            if errors:
                raise errors[0]
        finally:
            for link in self._links.values():
                self._session.report_link(link.counters())

    def _work(self) -> bool:
        self._deliver_passed()
        if not self._running:
            return False
        if not self._turns and self._session.inbox.is_empty:
            return False  # a circle of operators in which nothing moves any more
        try:
            event = self._session.wait_intact(0 if self._turns else None)
        except TimeoutError:
            return True
        if event is None:
            return False
        if isinstance(event, Event):
            self._deliver(event)
        else:
            self._tell(event)
        return True

    def _deliver(self, event: Event) -> None:
        index, input_id = self._port_owner[event.id]
        running = self._running.get(index)
        if running is None:
            return
        if running.operator.uses_event_dicts:
            self._call(index, input_event(event, self._inputs[event.id], input_id))
        else:
            data, metadata = event.value, event.metadata
            self._call(index, {"id": input_id, "data": data, "metadata": metadata})

    def _tell(self, change: Change) -> None:
        if isinstance(change, ParameterChanged):
            self._tell_parameter(change)
            return
        index, input_id = self._port_owner[change.id]
        running = self._running.get(index)
        if running is not None and running.operator.uses_event_dicts:
            self._call(index, change_event(change, self._inputs[change.id], input_id))
        if isinstance(change, InputClosed) and change.is_final:
            if running is not None:
                running.open_ports.discard(change.id)
            self._is_ending = True
            self._end_finished()

    def _tell_parameter(self, change: ParameterChanged) -> None:
        """Tell the operators of the node; each may end with it, and others with that one."""
        for index, running in list(self._running.items()):
            owner = running.operator.name.partition("/")[0]
            is_there = index in self._running and running.operator.uses_event_dicts
            if is_there and owner == change.node:
                self._call(index, parameter_event(change))

    def _deliver_passed(self) -> None:
        # A few at a time, so that a circle of operators cannot shut out the other inputs.
        for _ in range(_BURST):
            if not self._turns:
                return
            self._deliver_next()

    def _deliver_next(self) -> None:
        link = self._turns.popleft()
        index = link.config.operator
        if not link.queue or index not in self._running:
            return
        passed = link.pop()
        context = passed.metadata[TELEMETRY_KEY]
        input_id, value, metadata = link.config.input_id, passed.value, passed.metadata
        clock_ns = metadata.get(CLOCK_KEY)
        clock_json = encode_clock(clock_ns) if type(clock_ns) is int else b""
        self._session.origins.cause = passed.origin_ns, clock_json, context
        if self._running[index].operator.uses_event_dicts:
            self._call(index, passed_event(input_id, value, metadata, passed.sent_ns))
        else:
            self._call(index, {"id": input_id, "data": value, "metadata": metadata})
        if self._is_ending:
            self._end_finished()

    def _call(self, index: int, argument: dict[str, Any]) -> None:
        status = self._running[index].operator.call(argument, self._senders[index])
        if status is DoraStatus.STOP_ALL:
            self._node.stop_dataflow()
        if status is not DoraStatus.CONTINUE:
            self._end(index)
            self._end_finished()

    def _send_output(
        self, index: int, output_id: str, data: Any, metadata: dict[str, Any] | None = None
    ) -> None:
        running = self._running.get(index)
        if running is None:
            raise NodeClosedError(f"output {output_id!r}: this operator has ended")
        route = running.routes.get(output_id)
        if route is None:
            who = f"operator {running.operator.name!r}"
            raise UnknownOutputError.of(who, output_id, running.routes)
        if running.operator.uses_event_dicts:
            data = with_shape(data, metadata)
        if route.external_id is not None:
            self._node.send_output(route.external_id, data, metadata)
        elif not route.links:
            sendable(data, f"operator {running.operator.name!r}, output {output_id!r}")
        if route.links:
            self._pass_on(route, running.operator.name, data, metadata)

    def _pass_on(self, route: Route, name: str, data: Any, metadata: dict[str, Any] | None) -> None:
        value = sendable(data, f"operator {name!r}, output {route.output_id!r}")
        if isinstance(value, np.ndarray):
            value = value.view()
            value.flags.writeable = False
        elif isinstance(value, (bytes, bytearray, memoryview)):
            value = bytes(value)
        else:
            value = value.array
        inherited, _, origin_ns = self._session.origins.inherit(metadata, None)
        sent_ns = time.monotonic_ns()
        for config in route.links:
            if config.operator in self._running:
                link = self._links[config.number]
                own_metadata = {TELEMETRY_KEY: "", **(inherited or {})}
                link.push(Passed(value, own_metadata, sent_ns, origin_ns))
                self._turns.append(link)
        if threading.get_ident() != self._thread:
            # The loop may be asleep: an operator sends from a thread of its own.
            self._session.inbox.wake()

    def _end_finished(self) -> None:
        """End the operators to which nothing can come any more; that may end others."""
        while finished := [
            index for index, running in self._running.items() if self._is_over(index, running)
        ]:
            for index in finished:
                self._say_stop(index)
                self._end(index)

    def _is_over(self, index: int, running: _Running) -> bool:
        if running.open_ports or running.feeders:
            return False
        if any(link.queue and link.config.operator == index for link in self._links.values()):
            return False
        return running.has_sources or not running.has_timer

    def _say_stop(self, index: int) -> None:
        operator = self._running[index].operator
        if operator.uses_event_dicts:
            event = stop_event(was_told=self._session.inbox.was_told_to_stop)
            operator.call(event, self._senders[index])

    def _end(self, index: int) -> None:
        """End an operator to which nothing can come, or that has had enough, with its ports."""
        running = self._running[index]
        for other in self._running.values():
            other.feeders.discard(index)
        for port_id in running.ports:
            self._session.close_input(port_id)
        try:
            self._drop(index)
        finally:
            for route in running.routes.values():
                if route.external_id is not None:
                    self._session.close_output(route.external_id)

    def _drop(self, index: int) -> None:
        self._is_ending = True
        running = self._running.pop(index)
        for link in self._links.values():
            if link.config.operator == index:
                link.clear()
        running.operator.drop()

    def _drop_all(self) -> list[OperatorError]:
        """Drop what still runs, each whatever the others do; give what went wrong.

        Inputs and outputs stay: the process ends, and may be started again.
        """
        errors = []
        while self._running:
            try:
                self._drop(next(iter(self._running)))
            except OperatorError as error:
                errors.append(error)
        return errors


if __name__ == "__main__":
    main()
