"""A process that somebody else started, and that is a dynamic node while it is connected."""

from __future__ import annotations

from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.requests import Requester
from dora_rt.report import Ending


class AttachedProcess:
    """The part of a process that stopping knows: it is told to end, and never signalled.

    It may be a notebook, or run in a debugger: who does not leave is left alone, without a run.
    """

    def __init__(self, requester: Requester) -> None:
        self.reads_events = False
        self.sent_after_stop = False
        self.rungs: list[Rung] = []
        self.rung_deadline_ns: int | None = None
        self.has_said_goodbye = False
        self._requester = requester

    @property
    def pid(self) -> int:
        """Give its number, for printing."""
        return self._requester.pid

    @property
    def rung(self) -> Rung:
        """Tell how far it has been pushed to end."""
        return self.rungs[-1] if self.rungs else Rung.NONE

    @property
    def is_running(self) -> bool:
        """Tell whether it is still connected."""
        return not self._requester.is_gone

    def is_of(self, requester: Requester) -> bool:
        """Tell whether this is the process at the other end of a connection."""
        return self._requester is requester

    def has_ended(self) -> bool:
        """Look whether it has ended just now; then all that follows from it is done."""
        return self._requester.has_ended()

    def gentlest_rung(self) -> Rung:
        """Tell what comes after it was told; it is never signalled."""
        return Rung.TERMINATED

    def push(self, rung: Rung, deadline_ns: int | None) -> None:
        """Push it to a rung; there is none but to be told, and to be disconnected."""
        self.rungs.append(rung)
        self.rung_deadline_ns = deadline_ns
        if rung is not Rung.TOLD:
            self.disconnect()

    def disconnect(self) -> None:
        """End the connection: at its other end the dataflow is over."""
        self._requester.close()

    def ending(self) -> Ending:
        """Say how it ended; whatever became of the process, the dataflow has not failed by it."""
        if self.rung not in (Rung.NONE, Rung.TOLD):
            return Ending(False, "was still attached")
        return Ending(False, "left" if self.has_said_goodbye else "left without a goodbye")
