"""The values of all parameters of a run: kept here, and in a file for each process.

A process that is started again, or attaches later, reads the file as it is then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dora_rt.errors import LaunchError, ParameterRefusedError
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.node_parameters import (
    NodeParameters,
    encode_values,
    same,
    values_path,
)
from dora_rt.plan.plan import ProcessPlan
from dora_rt.spelling import closest


class ParameterStore:
    """The parameters of the nodes of a run; of the thread of the supervisor's loop."""

    def __init__(
        self, processes: Sequence[ProcessPlan], memory: RunMemory, description_path: str
    ) -> None:
        """Take the values of the plan.

        Args:
            processes: the processes of the plan.
            memory: tells a process that it must look.
            description_path: a file in the run directory.
        """
        self._processes = processes
        self._memory = memory
        self._description_path = description_path
        self._versions = [0] * len(processes)
        self._of_node = {
            named.node: (process.config.number, named)
            for process in processes
            for named in process.parameters
        }
        self._values = {node: named.initial() for node, (_, named) in self._of_node.items()}

    def begin(self) -> None:
        """Let each process find its first values; before the first one starts.

        Raises:
            LaunchError: they cannot be written into the run directory.
        """
        for process in self._processes:
            if any(self._values[named.node] for named in process.parameters):
                try:
                    self._publish(process.config.number)
                except OSError as error:
                    raise LaunchError(
                        f"the parameters of {process.name} cannot be written: {error.strerror}"
                    ) from error

    def find(self, node: str) -> NodeParameters:
        """Return what a node declares.

        Raises:
            ParameterRefusedError: there is no such node.
        """
        if node not in self._of_node:
            match = closest(node, self._of_node)
            known = ", ".join(self._of_node)
            hint = f"did you mean {match!r}?" if match else f"there are: {known}"
            raise ParameterRefusedError(f"there is no node {node!r}; {hint}")
        return self._of_node[node][1]

    def nodes(self) -> tuple[str, ...]:
        """Return the names of all nodes."""
        return tuple(self._of_node)

    def values(self, node: str) -> dict[str, Any]:
        """Return the present values of a node that there is."""
        return self._values[node]

    def set(self, node: str, name: str, value: Any) -> bool:
        """Set a value that was accepted; return whether that changes anything.

        Raises:
            OSError: it cannot be written; the node keeps what it had.
        """
        return bool(self.set_all(node, {name: value}))

    def set_all(self, node: str, values: Mapping[str, Any]) -> list[str]:
        """Set values that were accepted, all at once; return the names of those that change.

        Raises:
            OSError: they cannot be written; the node keeps what it had.
        """
        before = self._values[node]
        changed = [
            name
            for name, value in values.items()
            if name not in before or not same(before[name], value)
        ]
        if changed:
            self._put(node, {**before, **{name: values[name] for name in changed}})
        return changed

    def delete(self, node: str, name: str) -> None:
        """Take back what was set: the value in the file holds again, if there is one.

        Raises:
            OSError: it cannot be written; the node keeps what it had.
        """
        of_file = self.find(node).of_file()
        left = {key: value for key, value in self._values[node].items() if key != name}
        self._put(node, {**left, **{name: of_file[name]}} if name in of_file else left)

    def _put(self, node: str, values: dict[str, Any]) -> None:
        before = self._values[node]
        self._values[node] = values
        try:
            self._publish(self._of_node[node][0])
        except OSError:
            self._values[node] = before
            raise

    def _publish(self, number: int) -> None:
        version = self._versions[number] + 1
        named = self._processes[number].parameters
        text = encode_values(version, {one.node: self._values[one.node] for one in named})
        _replace(values_path(self._description_path, number), text)
        self._versions[number] = version
        self._memory.tell_parameters(number, version)


def _replace(path: Path, text: str) -> None:
    """Write a file that others see as it was or as it is, never half of it."""
    unfinished = path.with_suffix(".new")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()  # of a full disk: what does fit would be read as a whole
        raise
