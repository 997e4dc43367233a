"""The status of a dataflow on all of its machines, asked for on one of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any

from dora_rt.errors import VersionMismatchError
from dora_rt.network.network_status import MachineState
from dora_rt.run_status import EdgeStatus, OutputStatus, RunStatus, owner_of
from dora_rt.runs import Connection, RefusedError

_ANSWER_S = 2.0
_REACHABLE = (MachineState.CONNECTED, MachineState.READY)


def ask_far_statuses(connection: Connection, status: RunStatus) -> dict[str, RunStatus]:
    """Ask the runs on all other machines for their status; those that answer, by machine."""
    found = {}
    for answer in _ask_far(connection, status, "status"):
        try:
            far = RunStatus.from_json(answer)
        except (VersionMismatchError, KeyError, TypeError, ValueError):
            continue
        if far.network is not None:
            found[far.network.machine] = far
    return found


def ask_far_parameters(connection: Connection, status: RunStatus) -> list[dict[str, Any]]:
    """Ask the runs on all other machines for the parameters of their nodes."""
    answers = _ask_far(connection, status, "parameters")
    return [one for answer in answers for one in answer.get("parameters", ())]


def _ask_far(connection: Connection, status: RunStatus, request: str) -> list[dict[str, Any]]:
    """Return the answers that come in time; machines that refuse are left out."""
    if status.network is None:
        return []
    names = [one.name for one in status.network.machines if one.state in _REACHABLE]
    # A connection of its own: an answer that comes too late is not taken for the next one.
    another = connection.open_another() if names else None
    if another is None:
        return []
    found = []
    with another:
        for name in names:
            another.send(request, machine=name)
        deadline = time.monotonic() + _ANSWER_S
        for _ in names:
            try:
                found.append(another.receive(max(deadline - time.monotonic(), 0.001))[0])
            except RefusedError:
                continue
            except (OSError, ValueError):
                break
    return found


def merge(own: RunStatus, far: dict[str, RunStatus]) -> RunStatus:
    """Put the statuses of one dataflow together: each process, output and edge once."""
    others = list(far.values())
    if not others:
        return own
    return dataclasses.replace(
        own,
        processes=(*own.processes, *(one for other in others for one in other.processes)),
        outputs=tuple(_outputs(own, others)),
        edges=tuple(_edges(own, others)),
        inputs=(*own.inputs, *(one for other in others for one in other.inputs)),
    )


def _outputs(own: RunStatus, others: Sequence[RunStatus]) -> Iterable[OutputStatus]:
    # What has come from another machine has there what was sent in all.
    found: dict[str, OutputStatus] = {}
    for status in (own, *others):
        names = {node for process in status.processes for node in process.nodes}
        for output in status.outputs:
            if owner_of(output.source) in names or output.source not in found:
                found[output.source] = output
    return found.values()


def _edges(own: RunStatus, others: Sequence[RunStatus]) -> Iterable[EdgeStatus]:
    # The reader of an edge that crosses knows how old its samples are.
    found: dict[tuple[str, str], EdgeStatus] = {}
    for status in (own, *others):
        machine = None if status.network is None else status.network.machine
        for edge in status.edges:
            is_reader = edge.machines is None or edge.machines[1] == machine
            if is_reader or (edge.source, edge.target) not in found:
                found[edge.source, edge.target] = edge
    return found.values()
