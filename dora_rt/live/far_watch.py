"""`FarWatch`: the samples of an output on another machine of a dataflow, asked for one by one.

Each is asked for when the one before has come, so a slow network makes it show fewer, and nothing
queues up anywhere. The launcher of this machine hands the question on.
"""

from __future__ import annotations

import os
import time
from typing import Any

from dora_rt.errors import CorruptSampleError, RunNotFoundError
from dora_rt.event import Event
from dora_rt.live.attach import LiveOutput, Watch
from dora_rt.live.far_sample import decode_value
from dora_rt.runs import Connection, RefusedError, base_folder

_WAIT_S = 0.5  # how long the other machine holds an answer back until there is a sample
_GAP_S = 0.1  # between two values: pictures share the link with what the nodes send
_PAUSE_S = 0.5  # before it is asked again after a refusal
_PATIENCE_S = 10.0  # with a machine that does not answer


class FarWatch(Watch):
    """The live samples of one output of another machine; `attach` makes it.

    Pictures come as JPEG. `sent_ns` and `origin_ns` are in the clock of this machine.
    """

    def __init__(
        self, output: LiveOutput, machine: str, connection: Connection, offset_ns: int
    ) -> None:
        """Take the connection to the run on this machine, which the watch closes.

        Args:
            output: the output; its `run` is the one on this machine.
            machine: where it is.
            connection: to that run.
            offset_ns: the clock of that machine minus the clock here.
        """
        self.output = output
        self.dropped = 0
        self.machine = machine
        self._connection = connection
        self._offset_ns = offset_ns
        self._form = "value"
        self._at: Any = None
        self._summary: tuple[dict[str, Any], str] = ({}, "")
        self._is_asked = False
        self._is_closed = False
        self._ask_at = 0.0
        self._answered_at = time.monotonic()
        self._refusal: str | None = None

    @classmethod
    def open(cls, output: LiveOutput, machine: str) -> FarWatch:
        """Watch an output that `find_output` has found on another machine.

        Raises:
            RunNotFoundError: the run on this machine has ended meanwhile.
        """
        connection = Connection.open(base_folder(os.environ), output.run)
        if connection is None:
            raise RunNotFoundError(f"{output} cannot be watched: the run has ended meanwhile")
        offset_ns = 0
        try:
            network = connection.status().network
        except (OSError, RefusedError) as error:
            connection.close()
            raise RunNotFoundError(f"{output} cannot be watched: {error}") from error
        for one in () if network is None else network.machines:
            if one.name == machine:
                offset_ns = one.clock_offset_ns or 0
        return cls(output, machine, connection, offset_ns)

    @property
    def has_ended(self) -> bool:
        """Return whether the run has ended, the machine answers no more, or this was closed."""
        return self._is_closed

    @property
    def refusal(self) -> str | None:
        """Return why the last question was refused; None: it was answered."""
        return self._refusal

    def sum_up(self, *, has_all: bool) -> None:
        """Ask for text from now on: `event.value` is empty then, and `summary` has it."""
        self._form = "full" if has_all else "text"

    def summary(self) -> tuple[dict[str, Any], str]:
        """Return the last event as fields and as a line."""
        return self._summary

    def close(self) -> None:
        """Watch no more; a second time it does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.close()

    def _take(self, *, wants_newest: bool) -> Event | None:
        if self._is_closed:
            return None
        try:
            if not self._is_asked:
                if time.monotonic() < self._ask_at:
                    return None
                self._ask()
            answer, _ = self._connection.receive(timeout_s=0)
        except (BlockingIOError, TimeoutError):
            return None
        except RefusedError as error:
            self._note_refusal(str(error))
            return None
        except OSError:
            self.close()
            return None
        self._is_asked = False
        self._refusal = None
        self._answered_at = time.monotonic()
        if self._form == "value":
            self._ask_at = self._answered_at + _GAP_S
        return self._read(answer)

    def _ask(self) -> None:
        self._connection.send(
            "sample",
            machine=self.machine,
            source=self.output.source,
            after=self._at,
            form=self._form,
            wait_s=_WAIT_S,
        )
        self._is_asked = True

    def _note_refusal(self, refusal: str) -> None:
        self._is_asked = False
        self._refusal = refusal
        self._ask_at = time.monotonic() + _PAUSE_S
        if time.monotonic() > self._answered_at + _PATIENCE_S:
            self.close()

    def _read(self, answer: dict[str, Any]) -> Event | None:
        self._at = answer.get("at")
        fields, dropped = answer.get("sample"), answer.get("dropped")
        if not isinstance(fields, dict) or not isinstance(dropped, int):
            return None
        self.dropped += dropped
        if self._form == "value":
            try:
                return decode_value(
                    self.output.source, fields, dropped=dropped, offset_ns=self._offset_ns
                )
            except CorruptSampleError:
                self.dropped += 1
                return None
        told = fields.get("fields")
        self._summary = (told if isinstance(told, dict) else {}, str(fields.get("line")))
        return Event(self.output.source, b"", dropped=dropped, copied=True)
