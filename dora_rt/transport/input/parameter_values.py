"""The parameters of a process: the values that it sees, and which changes it was told of.

The launcher writes all values to a file of the run directory, puts it in the place of the one
before, and then counts up a word of the board. So a look at that word tells whether there is
anything to read, and a process that is told late finds the newest values, and only these.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from dora_rt.event import ParameterChanged
from dora_rt.node_config import NodeConfig
from dora_rt.node_parameters import decode_values, same, values_path
from dora_rt.transport.board import Board
from dora_rt.transport.primitives.fence import Fence


class ParameterValues:
    """The parameters of one process, by the ids of its nodes. Any thread may look at them."""

    def __init__(self, config: NodeConfig, board: Board) -> None:
        """Read the values that there are; no change is told of these."""
        self._path = values_path(config.description_path, config.number)
        self._version_view = board.parameters_view(config.number)
        self._lock = threading.RLock()  # a signal handler may look, too
        self._version = self._told_version = 0
        self._values: Mapping[str, Mapping[str, Any]] = {}
        self.refresh()
        self._told = _flat(self._values)
        self._told_version = self._version

    @property
    def has_untold(self) -> bool:
        """Whether there may be changes that `take_change` has not returned yet."""
        return self._told_version != self._version

    def refresh(self) -> bool:
        """Read the values if they have changed; return `has_untold`."""
        if self._version_view[0] != self._version:
            Fence().pass_through()
            # Gone with its run, of which the process sees the end: the last values hold until then.
            with contextlib.suppress(FileNotFoundError):
                version, values = decode_values(self._path.read_text(encoding="utf-8"))
                with self._lock:
                    # Another thread may have read a newer file meanwhile.
                    if version > self._version:
                        self._values, self._version = values, version
        return self.has_untold

    def of(self, node: str) -> Mapping[str, Any]:
        """Return the present values of a node."""
        self.refresh()
        return self._values.get(node, {})

    def take_change(self) -> ParameterChanged | None:
        """Return a change that was not told yet; for the thread that receives.

        Values are compared, and not kept in a queue: whatever breaks off a call loses no change,
        and changes that follow each other quickly are one.
        """
        version, values, told = self._version, _flat(self._values), self._told
        for key, value in values.items():
            if key not in told or not same(told[key], value):
                previous = told.get(key)
                told[key] = value
                return ParameterChanged(key[1], value, previous, node=key[0])
        for key in told.keys() - values.keys():
            previous = told.pop(key)
            return ParameterChanged(key[1], None, previous, is_deleted=True, node=key[0])
        self._told_version = version
        return None

    def forget_told(self) -> None:
        """Tell the present values as changes."""
        self._told, self._told_version = {}, -1


def _flat(values: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
    return {(node, name): value for node, named in values.items() for name, value in named.items()}
