"""Asks a run for its status twice a second, and keeps the history that the page shows."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dora_rt.dashboard.picture_feed import Pictures
from dora_rt.live.attach import LiveOutput
from dora_rt.live.rates import EdgeRate, ProcessRate, measure
from dora_rt.live.whole_status import ask_far_parameters, ask_far_statuses, merge
from dora_rt.node_config import to_fields
from dora_rt.run_status import EdgeStatus, ProcessStatus, RunStatus
from dora_rt.runs import Connection, RefusedError

logger = logging.getLogger(__name__)

PERIOD_S = 0.5
_WINDOW = 4  # periods over which rates are measured
POINTS = 240
_JOIN_S = 6.0
_FAR_PARAMETERS_PERIODS = 4  # they change seldom, and the way to them may be slow
_MOST_POSITIONS = 256


class FarPositions:
    """Positions in logs of other machines, under numbers: the page has only those."""

    def __init__(self) -> None:
        self._positions: dict[tuple[Any, ...], Any] = {}
        self._number = 0

    def put(self, node: tuple[Any, ...], position: Any) -> int:
        """Keep a position; return its number, from 1."""
        found = self._positions.get((*node, self._number))
        if found == position and found is not None:
            return self._number
        self._number += 1
        key = (*node, self._number)
        self._positions[key] = position
        if len(self._positions) > _MOST_POSITIONS:
            del self._positions[next(iter(self._positions))]
        return self._number

    def get(self, node: tuple[Any, ...], number: int) -> Any:
        """Return a position; None: the log is read from its last lines."""
        return self._positions.get((*node, number))


class RunWatch:
    """One run, polled by a thread of its own until it ends; the last answer is kept."""

    def __init__(
        self, connection: Connection, status: RunStatus, parameters: list[dict[str, Any]]
    ) -> None:
        self.run = connection.run
        self.pictures = Pictures(connection.run)
        self.far_positions = FarPositions()
        self._connection = connection
        self._lock = threading.Lock()
        self._answers = deque([status], maxlen=_WINDOW + 1)
        self._points: deque[list[Any]] = deque(maxlen=POINTS)
        self._count = 0
        self._parameters = parameters
        self._rates = measure(status, status)
        self._has_ended = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name=f"watch {self.run}", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, base: Path, run: str) -> RunWatch | None:
        """Begin to poll a run; None if it has ended or cannot be read."""
        connection = Connection.open(base, run)
        if connection is None:
            return None
        try:
            status, parameters = connection.status(), connection.parameters()
        except (OSError, RefusedError) as error:
            logger.debug("run %s cannot be shown: %s", run, error)
            connection.close()
            return None
        return cls(connection, status, parameters)

    @property
    def has_ended(self) -> bool:
        """Whether the run has stopped answering."""
        return self._has_ended

    @property
    def status(self) -> RunStatus:
        """Return the last answer to `status`, with the nodes of all machines in it."""
        with self._lock:
            return self._answers[-1]

    def find_process(self, shown: str) -> ProcessStatus | None:
        """Return the process that the page shows under a name."""
        processes = self.status.processes
        names = _shown_names(processes)
        return next(
            (one for one, name in zip(processes, names, strict=True) if name == shown), None
        )

    def page_status(self, since: int) -> dict[str, Any]:
        """Return the values on the page; `points` has the history after point number `since`."""
        with self._lock:
            status, rates, count = self._answers[-1], self._rates, self._count
            fresh = min(max(count - since, 0), len(self._points))
            points = list(self._points)[len(self._points) - fresh :]
            parameters = self._parameters
        return {
            "run": self.run,
            "file": status.file,
            "state": "ended" if self._has_ended else status.state.value,
            "running_s": status.running_s,
            "processes": [
                _page_process(*each)
                for each in zip(
                    status.processes, rates.processes, _shown_names(status.processes), strict=True
                )
            ],
            "edges": [_page_edge(*each) for each in zip(status.edges, rates.edges, strict=True)],
            "pictures": self.pictures.sources(),
            "parameters": parameters,
            "at": count,
            "points": points,
        }

    def close(self) -> None:
        """Stop polling."""
        self._closing.set()
        self.pictures.close()
        self._thread.join(_JOIN_S)

    def _ask_on(self) -> None:
        far_parameters: list[dict[str, Any]] = []
        with self._connection:
            while not self._closing.wait(PERIOD_S):
                try:
                    own = self._connection.status()
                    far = ask_far_statuses(self._connection, own)
                    parameters = self._connection.parameters()
                    if far and self._count % _FAR_PARAMETERS_PERIODS == 0:
                        far_parameters = ask_far_parameters(self._connection, own)
                except (OSError, RefusedError) as error:
                    logger.debug("run %s answers no more: %s", self.run, error)
                    break
                self._take(merge(own, far), [*parameters, *(far_parameters if far else ())])
                self.pictures.follow(own.outputs, own.edges)
                self.pictures.follow_far(
                    [
                        LiveOutput(self.run, own.file, output.source, output.config, machine)
                        for machine, status in far.items()
                        for output in status.outputs
                    ]
                )
        self._has_ended = True

    def _take(self, status: RunStatus, parameters: list[dict[str, Any]]) -> None:
        with self._lock:
            self._parameters = parameters
            self._answers.append(status)
            self._rates = measure(self._answers[0], status)
            self._points.append([_point(edge) for edge in self._rates.edges])
            self._count += 1


def _shown_names(processes: Sequence[ProcessStatus]) -> list[str]:
    """Return a name for each process; of those that each machine has, with the machine's."""
    names: list[str] = []
    for process in processes:
        is_twin = process.name in names
        names.append(f"{process.name} ({process.machine})" if is_twin else process.name)
    return names


def _page_process(process: ProcessStatus, rate: ProcessRate, name: str) -> dict[str, Any]:
    return {**to_fields(process), "name": name, "cpu_percent": rate.cpu_percent}


def _page_edge(edge: EdgeStatus, rate: EdgeRate) -> dict[str, Any]:
    return {
        "source": edge.source,
        "target": edge.target,
        "queue_size": edge.queue_size,
        "queue_policy": edge.queue_policy.value,
        "is_local": edge.is_local,
        "waiting": rate.waiting,
        "dropped": rate.dropped,
        "rate_hz": rate.rate_hz,
        "dropped_hz": rate.drops_hz,
        "p50_ns": rate.p50_ns,
        "p99_ns": rate.p99_ns,
        "age_p50_ns": rate.age_p50_ns,
        "age_p99_ns": rate.age_p99_ns,
    }


def _point(edge: EdgeRate) -> list[float | None]:
    return [edge.rate_hz, edge.p50_ns, edge.p99_ns]
