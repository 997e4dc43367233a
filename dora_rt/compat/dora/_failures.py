"""NODE_FAILED events: when an input closes, the launcher is asked whether its source failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dora_rt.node_config import InputConfig, NodeConfig
from dora_rt.run_status import NodeState, ProcessStatus
from dora_rt.runs import Connection, RefusedError

logger = logging.getLogger(__name__)

# An input closes a little before the launcher has seen its process end. A node may also close an
# output and go on for hours: nobody asks that long.
_PATIENCE_NS = 2_000_000_000
_PAUSE_NS = 20_000_000
# A node waits for inputs meanwhile: never long, whatever keeps the launcher.
_ANSWER_S = 0.2


class Failures:
    """Finds the sources that have failed, for a node that goes on with other inputs."""

    def __init__(self, config: NodeConfig) -> None:
        """Prepare for the sources of one node; the launcher is asked after an input has closed."""
        self._config = config
        self._doubtful: dict[str, int] = {}  # nodes that have closed an output: asked until then
        self._told: set[str] = set()
        self._asked_ns = 0

    def suspect(self, entry: InputConfig) -> None:
        """Note that an input has closed."""
        source = entry.source_node
        # Its other inputs may close much later, when what waits in them was read.
        if source and source not in self._told:
            self._doubtful.setdefault(source, time.monotonic_ns() + _PATIENCE_NS)

    def forget(self, entry: InputConfig) -> None:
        """Note that the source of an input has come back."""
        self._told.discard(entry.source_node)
        self._doubtful.pop(entry.source_node, None)

    @property
    def are_possible(self) -> bool:
        """Return whether an input has closed for a reason that is not known yet."""
        return bool(self._doubtful)

    @property
    def next_look_ns(self) -> int:
        """Return when `take` may know more."""
        return self._asked_ns + _PAUSE_NS

    def take(self) -> dict[str, Any] | None:
        """Return the event of a source that has failed for good, once."""
        now_ns = time.monotonic_ns()
        if not self._doubtful or now_ns < self.next_look_ns:
            return None
        processes = self._ask()
        self._asked_ns = time.monotonic_ns()
        for source, until_ns in list(self._doubtful.items()):
            process = next((one for one in processes if one.has_name(source)), None)
            state = None if process is None else process.state
            if state in (NodeState.FAILED, NodeState.ENDED) or now_ns >= until_ns:
                del self._doubtful[source]
            if process is not None and state is NodeState.FAILED:
                self._told.add(source)
                return self._failed(source, str(process.ending))
        return None

    def _failed(self, source: str, ending: str) -> dict[str, Any]:
        affected = [entry.id for entry in self._config.inputs if entry.source_node == source]
        value = {
            "source_node_id": source,
            "error": ending.removeprefix("failed: "),
            "affected_input_ids": affected,
        }
        return {"type": "NODE_FAILED", "id": source, "kind": "dora", "value": value}

    def _ask(self) -> Sequence[ProcessStatus]:
        path = self._config.description_path
        connection = Connection.open(Path(path).parent.parent, self._config.run)
        if connection is None:
            return ()  # the run is ending
        with connection:
            try:
                return connection.status(_ANSWER_S).processes
            except OSError:
                return ()  # the run has just ended, or its dora-launch is held
            except RefusedError as error:
                # Others may just have taken all connections; the next look is soon.
                logger.debug("run %s does not tell how its nodes are: %s", connection.run, error)
                return ()
