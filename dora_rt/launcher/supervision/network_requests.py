"""Requests that cross to other machines: of tools here to the runs there, and the other way round.

A tool asks the launcher of its own machine, with `machine` beside the request. The launcher hands
it to its gateway, which is the only one that speaks to other machines, and hands the answer back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dora_rt.launcher.node_output.log_tail import LogPosition, read_on, read_tail
from dora_rt.launcher.requests import Answer, Asker, Requester
from dora_rt.launcher.supervision import parameter_requests, status, stop_restart
from dora_rt.launcher.supervision.run_parts import Run

FarAnswer = Callable[[Asker, dict[str, Any]], None]

_MOST_PENDING = 256
_MOST_LINES = 10_000


class FarAsker:
    """A program on another machine that has asked something; it gets one answer."""

    def __init__(self, machine: str, number: Any, gateway: Requester) -> None:
        self._machine = machine
        self._number = number
        self._gateway = gateway
        self._is_answered = False

    @property
    def who(self) -> str:
        """Say who it is, as in "asked by machine laptop"."""
        return f"machine {self._machine}"

    def reply(self, fields: dict[str, Any], _: Sequence[int] = ()) -> None:
        """Send the answer; descriptors cannot cross."""
        if not self._is_answered:
            self._is_answered = True
            self._gateway.reply({"answer": self._number, "fields": fields, "is_over": True})

    def refuse(self, error: str) -> None:
        """Answer that the request cannot be granted, and why."""
        self.reply({"error": error})


class NetworkRequests:
    """The requests of one run to and from other machines, as long as it has a gateway."""

    def __init__(self, run: Run) -> None:
        """Begin without a gateway."""
        network = run.plan.network
        self._machine = None if network is None else network.plan.machine
        machines = () if network is None else network.plan.machines
        self._others = tuple(one.name for one in machines if one.name != self._machine)
        self._gateway: Requester | None = None
        self._asked = 0
        self._pending: dict[int, tuple[str, Requester]] = {}
        # What another machine of the dataflow may ask of this one; nothing that names a program,
        # a file or a descriptor.
        self._answers: Mapping[str, FarAnswer] = {
            "status": partial(status.status, run),
            "stop": partial(stop_restart.stop, run),
            "restart": partial(stop_restart.restart, run),
            "logs": partial(logs, run),
            "parameters": partial(parameter_requests.list_all, run),
            "set_parameter": partial(parameter_requests.set_value, run),
            "set_parameters": partial(parameter_requests.set_values, run),
            "delete_parameter": partial(parameter_requests.delete, run),
        }

    def routed(self, answers: Mapping[str, Answer]) -> dict[str, Answer]:
        """Return the answers with a way to the other machines in front of each."""
        routed = {name: partial(self._route, answer) for name, answer in answers.items()}
        for name, answer in self._answers.items():
            routed.setdefault(name, partial(self._route, answer))
        # Only the gateway of a machine looks into samples; a tool here attaches to them itself.
        return {**routed, "sample": partial(self._route, _refuse_sample)}

    def hear(self, gateway: Requester, told: Mapping[str, Any]) -> None:
        """Take a line of the gateway: what another machine asks of this one, or has answered."""
        if gateway is not self._gateway:
            # What its predecessor has not answered, nobody answers any more.
            self._refuse_pending()
            self._gateway = gateway
            gateway.on_gone = self._refuse_pending
        if "ask" in told:
            self._take_ask(gateway, told)
        elif "answer" in told:
            self._take_answer(told)

    def _refuse_pending(self) -> None:
        pending, self._pending = self._pending, {}
        for machine, requester in pending.values():
            requester.refuse(f"machine {machine} cannot be asked: the gateway here has ended")

    def _take_ask(self, gateway: Requester, told: Mapping[str, Any]) -> None:
        asker = FarAsker(str(told.get("machine")), told.get("ask"), gateway)
        fields = told.get("fields")
        if not isinstance(fields, dict):
            asker.refuse("expected a request such as {'request': 'status'}")
            return
        answer = self._answers.get(str(fields.get("request")))
        if answer is None:
            known = ", ".join(self._answers)
            asker.refuse(
                f"there is no request {fields.get('request')!r} for other machines; there are: "
                f"{known}"
            )
            return
        answer(asker, fields)

    def _take_answer(self, told: Mapping[str, Any]) -> None:
        number, fields = told.get("answer"), told.get("fields")
        if not isinstance(number, int) or not isinstance(fields, dict):
            return
        _, requester = self._pending.pop(number, (None, None))
        if requester is not None:
            requester.reply(fields)

    def _route(self, answer: Answer, requester: Requester, request: dict[str, Any]) -> None:
        machine = request.get("machine")
        if machine is None or machine == self._machine:
            answer(requester, request)
        elif machine not in self._others:
            known = ", ".join(self._others) or "none"
            requester.refuse(f"this dataflow has no other machine {machine!r}; the others: {known}")
        elif self._gateway is None or self._gateway.is_gone:
            requester.refuse(f"machine {machine} cannot be asked: the gateway here is starting")
        else:
            self._forward(self._gateway, machine, requester, request)

    def _forward(
        self, gateway: Requester, machine: str, requester: Requester, request: dict[str, Any]
    ) -> None:
        self._pending = {
            number: pending for number, pending in self._pending.items() if not pending[1].is_gone
        }
        if len(self._pending) >= _MOST_PENDING:
            requester.refuse(f"machine {machine} has too many requests to answer already")
            return
        self._asked += 1
        self._pending[self._asked] = (machine, requester)
        fields = {name: value for name, value in request.items() if name != "machine"}
        gateway.reply({"ask": self._asked, "machine": machine, "fields": fields})


def logs(run: Run, asker: Asker, request: dict[str, Any]) -> None:
    """Answer with lines of the nodes' logs: the last ones, or those after given positions.

    The request has `lines`, how many at most of each node, or `after`, the `positions` of the last
    answer; and `nodes`, their names, or all.
    """
    after = request.get("after")
    wanted = request.get("nodes")
    most_lines = request.get("lines", _MOST_LINES)
    if not isinstance(most_lines, int) or most_lines < 0:
        asker.refuse(f"'lines' is {most_lines!r}: expected a number of lines")
        return
    folder = run.output.log_folder
    lines, positions = {}, {}
    for node in run.nodes:
        if wanted is not None and (not isinstance(wanted, list) or node.name not in wanted):
            continue
        path = folder / f"{node.name}.log"
        try:
            if isinstance(after, dict):
                found, position = read_on(path, _position(after.get(node.name)))
            else:
                found, position = read_tail(path, min(most_lines, _MOST_LINES))
        except OSError as error:
            asker.refuse(f"{os.fspath(path)} cannot be read: {error.strerror}")
            return
        lines[node.name] = found
        positions[node.name] = None if position is None else [position.inode, position.offset]
    asker.reply({"lines": lines, "positions": positions})


def _position(told: object) -> LogPosition | None:
    match told:
        case [int(inode), int(offset)] if offset >= 0:
            return LogPosition(inode, offset)
    return None


def _refuse_sample(requester: Requester, _: dict[str, Any]) -> None:
    requester.refuse("samples of this machine are in its shared memory: dora_rt.attach shows them")
