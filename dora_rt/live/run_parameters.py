"""The parameters of the nodes of a run, asked for and set at its launcher by one of the nodes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dora_rt.errors import DoraRtError, ParameterRefusedError
from dora_rt.live.whole_status import ask_far_statuses
from dora_rt.node.session import Session
from dora_rt.node_parameters import MAX_VALUE_NBYTES, check_size
from dora_rt.runs import Connection, RefusedError

if TYPE_CHECKING:
    from dora_rt.node.node import Node

_MOST_NBYTES = MAX_VALUE_NBYTES + 16 * 1024
"""Of all values that are set together; a request may have 64 KiB."""


class LauncherSilentError(DoraRtError):
    """The launcher does not answer: it is held (Ctrl-Z), or ending."""


class RunParameters:
    """The parameters of the nodes of a run, on whatever machine they are; for any thread.

    Args:
        base: the folder of all runs.
        run: the name of this one.
    """

    def __init__(self, base: Path, run: str) -> None:
        self._base = base
        self._run = run
        self._connection: Connection | None = None
        self._machines: dict[str, str | None] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, node: Node) -> RunParameters:
        """Return those of the run to which a node belongs."""
        config = Session.of(node).config
        return cls(Path(config.description_path).parent.parent, config.run)

    def read(self, node: str) -> list[dict[str, Any]]:
        """Return all parameters of a node: their values, types and limits.

        Raises:
            ParameterRefusedError: there is no such node; or no machine is there that has it.
            LauncherSilentError: the launcher does not answer.
        """
        found: list[dict[str, Any]] = self._ask("parameters", node)["parameters"]
        return found

    def write(self, node: str, values: Mapping[str, Any]) -> None:
        """Set parameters of a node, all or none; raises what `read` raises.

        Raises:
            ParameterRefusedError: one does not fit, or they are too large together.
        """
        for value in values.values():
            check_size(value)
        # A longer request would cost the connection, and leave the asker without a reason.
        nbytes = len(json.dumps(dict(values)))
        if nbytes > _MOST_NBYTES:
            raise ParameterRefusedError(
                f"the values have {nbytes} bytes together, expected at most {_MOST_NBYTES}"
            )
        self._ask("set_parameters", node, values=dict(values))

    def delete(self, node: str, name: str) -> None:
        """Take back what was set, to the value of the file; raises what `write` raises."""
        self._ask("delete_parameter", node, name=name)

    def has_other_machines(self) -> bool:
        """Whether the dataflow has nodes on other machines.

        Raises:
            LauncherSilentError: the launcher does not answer.
        """
        with self._asked() as connection:
            return connection.status().network is not None

    def close(self) -> None:
        """Ask no more; may be called twice."""
        with self._lock:
            self._close()

    def _ask(self, request: str, node: str, **fields: Any) -> dict[str, Any]:
        with self._asked() as connection:
            machine = self._machine_of(connection, node)
            to = {} if machine is None else {"machine": machine}
            return connection.ask(request, node=node, **fields, **to)[0]

    @contextmanager
    def _asked(self) -> Iterator[Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = Connection.open(self._base, self._run)
                if self._connection is None:
                    raise ConnectionRefusedError("it does not listen")
                yield self._connection
            except RefusedError as error:
                raise ParameterRefusedError(str(error)) from error
            except OSError as error:
                # An answer that comes later would be taken for the next one.
                self._close()
                raise LauncherSilentError(f"the launcher does not answer: {error}") from error

    def _machine_of(self, connection: Connection, node: str) -> str | None:
        """Return the other machine that has the node; None: this one, or nobody knows yet."""
        if node not in self._machines:
            status = connection.status()
            if status.network is None or status.find_process(node) is not None:
                self._machines[node] = None
            else:
                for machine, far in ask_far_statuses(connection, status).items():
                    if far.find_process(node) is not None:
                        self._machines[node] = machine
        return self._machines.get(node)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
