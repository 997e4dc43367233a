"""The loop of the serial node: lines from the device become samples, and samples lines to it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from dora_rt.errors import NodeClosedError

from ..next_event import next_event
from ..odd_samples import FewWarnings
from ..used_ports import singles
from .connection import Connection
from .device_lines import CommandError, DeviceLine, make_command

if TYPE_CHECKING:
    from dora_rt.interface import NodeLike

logger = logging.getLogger(__name__)

_LOOK_UP_S = 0.5
_CLOSING_TIMEOUT_S = 3.0
# So many lines may come before it is told that one of the outputs has had nothing.
_ENOUGH_LINES = 50


class LineSender:
    """Send what a line has for each output of the node."""

    def __init__(self, node: NodeLike) -> None:
        self._node = node
        self._outputs = node.output_ids()
        self._silent = set(self._outputs)
        self._seen: set[str] = set()
        self.lines = 0

    def send(self, text: str, read_ns: int) -> None:
        """Send one line; all that it becomes has one origin.

        Raises:
            NodeClosedError: the dataflow is being stopped.
        """
        line = DeviceLine(text)
        metadata = {"line": self.lines}
        self.lines += 1
        for output_id in self._outputs:
            value = line.for_output(output_id)
            if value is not None:
                self._silent.discard(output_id)
                self._node.send_output(output_id, value, dict(metadata), captured_ns=read_ns)
        if self._silent:
            self._seen.update(list(line.fields())[:20])
            if self.lines == _ENOUGH_LINES:
                self._tell_silent(text)

    def _tell_silent(self, text: str) -> None:
        fields = ", ".join(sorted(self._seen)[:20]) or "none"
        logger.warning(
            "nothing for %s in %d lines; fields in them: %s; the last line: %.80r",
            ", ".join(f"output '{name}'" for name in sorted(self._silent)),
            self.lines,
            fields,
            text,
        )


class _Reader:
    """The thread that reads, and what ended it."""

    def __init__(self, connection: Connection, sender: LineSender) -> None:
        self._connection = connection
        self._sender = sender
        self._failure: Exception | None = None
        # A daemon: a driver that hangs must not keep the process.
        self._thread = threading.Thread(target=self._read, name="serial", daemon=True)

    def __enter__(self) -> _Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._thread.join(_CLOSING_TIMEOUT_S)

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def _read(self) -> None:
        try:
            self._connection.read_lines(self._sender.send)
        except NodeClosedError:
            logger.debug("told to stop while sending")
        except Exception as error:
            # For the main thread, which ends the node by it.
            self._failure = error


def run(node: NodeLike, connection: Connection, form: str) -> None:
    """Send lines and write commands until the node's inputs or the dataflow end.

    Args:
        node: the node; an output is `line`, `json`, `values`, or the name of a field.
        connection: to the device.
        form: how arrays are written, as in `make_command`.

    Raises:
        ExtraMissingError: pyserial is not installed.
    """
    sender = LineSender(node)
    warnings = FewWarnings()
    with _Reader(connection, sender) as reader:
        while True:
            reader.check()
            try:
                event = next_event(node, _LOOK_UP_S)
            except TimeoutError:
                continue
            if event is None:
                break
            for one in singles([event]):
                if isinstance(one.value, bytes) and not one.value:
                    continue  # the tick of a timer
                try:
                    command = make_command(one.id, one.value, form)
                    connection.write(command, is_line=form != "raw")
                except CommandError as error:
                    warnings.warn(str(error))
    lost = connection.summary()
    logger.info("%d lines read%s", sender.lines, f"; {lost}" if lost else "")
