"""The relay: a node that dora-launch adds to send on what the others print.

It follows the lines of the run through its socket, so a flood of them holds up no node: what is too
much for it is left out and counted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dora_rt.log_record import LogLevel, level_of, to_log_message
from dora_rt.node.node import Node
from dora_rt.node.session import Session
from dora_rt.runs import Connection
from dora_rt.units import counted


def main() -> None:
    """Send on lines until the last output has come to its end."""
    with Node() as node:
        config = Session.of(node).config
        run, path = config.run, config.description_path
        connection = Connection.open(Path(path).parent.parent, run)
        if connection is None:
            sys.exit(f"the launcher of run {run} does not listen")
        with connection:
            connection.send("follow", is_relay=True)
            relay = Relay(node, json.loads(sys.argv[1]))
            while not relay.is_over:
                relay.take(connection.receive(timeout_s=None)[0])


class Relay:
    """Knows which line goes to which output."""

    def __init__(self, node: Node, outputs: Iterable[dict[str, Any]]) -> None:
        self._node = node
        self._session = Session.of(node)
        self._run = self._session.config.run
        self._outputs = {output["output"]: output for output in outputs}
        self._until = {name: set(output["until"]) for name, output in self._outputs.items()}
        self._close_ended()

    @property
    def is_over(self) -> bool:
        """Return whether nothing can come any more."""
        return not self._until

    def take(self, told: dict[str, Any]) -> None:
        """Send a line to the outputs that want it, or note that a node is over."""
        if told.get("missed"):
            missed = counted(told["missed"], "line")
            sys.stderr.write(f"left out {missed} of nodes that came too fast\n")
        if "over" in told:
            for left in self._until.values():
                left.discard(told["over"])
            self._close_ended()
            return
        name, line = told["node"], told["line"]
        level = level_of(line)
        for output_id in self._until:
            if self._wants(self._outputs[output_id], name, level, is_kept=told["is_kept"]):
                text = f"{line}\n"
                if self._outputs[output_id]["are_records"]:
                    text = to_log_message(line, node=name, run=self._run)
                self._node.send_output(output_id, text.encode("utf-8", "backslashreplace"))

    def _wants(self, output: dict[str, Any], name: str, level: LogLevel, *, is_kept: bool) -> bool:
        if output["node"] not in (None, name) or name in output["left_out"]:
            return False
        if not output["are_records"]:
            return True
        return is_kept and level.passes(LogLevel(output["level"]))

    def _close_ended(self) -> None:
        for output_id in [one for one, left in self._until.items() if not left]:
            del self._until[output_id]
            self._session.close_output(output_id)


if __name__ == "__main__":
    main()
