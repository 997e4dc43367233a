"""A running node: its output, the signals that it gets, its exit status, its end in words."""

from __future__ import annotations

from typing import Protocol

from dora_rt.launcher.processes.ending import Rung, describe_ending
from dora_rt.launcher.processes.kernel import Kernel
from dora_rt.launcher.processes.line_splitter import LineSplitter
from dora_rt.launcher.processes.process_session import ProcessSession
from dora_rt.report import NO_USAGE, Ending

TAIL_LINES = 20
_READ_NBYTES = 64 * 1024
_PIPE_NBYTES = 1024 * 1024


class ReadEnd(Protocol):
    """The launcher's end of the pipe that a node prints to, unbuffered and non-blocking."""

    def fileno(self) -> int:
        """Return its descriptor."""

    def read(self, nbytes: int, /) -> bytes | None:
        """Return the bytes that are there; None: none yet; empty: the other end is closed."""

    def close(self) -> None:
        """Close it."""


class NodeProcess:
    """A child of the launcher: a fresh interpreter (or any program) in a session of its own."""

    def __init__(self, pid: int, output: ReadEnd, kernel: Kernel) -> None:
        self.pid = pid
        self.reads_events = False
        self.excuse = ""  # why an error is no failure: the stop has caused it
        self.rungs: list[Rung] = []
        self.rung_deadline_ns: int | None = None
        self.exit_status: int | None = None
        self.usage = NO_USAGE
        self.has_closed_output = False
        self.is_left_behind = False
        self.is_lingering = False
        """Whether it has ended, and is not reaped because what it started still cleans up."""
        self.output = output
        self._kernel = kernel
        self._killed_because: str | None = None
        self._session = ProcessSession(pid, kernel)
        self._rungs_at_end: int | None = None
        self._lines = LineSplitter()

    @property
    def is_running(self) -> bool:
        """Whether it has not been reaped yet."""
        return self.exit_status is None and not self.is_left_behind

    @property
    def rung(self) -> Rung:
        """The last rung that it was pushed to."""
        return self.rungs[-1] if self.rungs else Rung.NONE

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the kernel refused to signal it: it has become another user."""
        return self._session.is_leader_out_of_reach

    @property
    def is_to_be_looked_at(self) -> bool:
        """Whether the launcher waits for a member of its session whose end no event announces."""
        return self.is_running and (self.is_lingering or self._session.waits)

    def has_exited(self) -> bool:
        """Whether it has ended and can be reaped."""
        return self.is_running and self._kernel.has_exited(self.pid)

    def reap(self, *, is_stopping: bool) -> bool:
        """Collect the exit status of a process that has exited, and return whether that is done.

        Args:
            is_stopping: whether the whole dataflow is being stopped.
        """
        # A shell ends at once, and the program that it had started switches its motor off.
        has_others = self._session.has_others()
        is_asked = is_stopping or self.rung is not Rung.NONE
        if has_others and is_asked and self.rung is not Rung.KILLED:
            if not self.is_lingering:
                self._rungs_at_end = len(self.rungs)
            self.is_lingering = True
            return False
        if has_others:
            # What the node started itself ends with it. The session is the node's at least until
            # the node, its leader, is reaped, so this cannot hit anybody else.
            self._session.kill()
        self._collect()
        return True

    def wait(self) -> None:
        """Wait for the end of a process that was killed, unless it could not be."""
        if self.is_out_of_reach and not self._kernel.has_exited(self.pid):
            self.leave_behind()
            return
        self._collect()

    def gentlest_rung(self) -> Rung:
        """Return the rung that comes after the stop event."""
        return self._session.gentlest_rung()

    def push(self, rung: Rung, deadline_ns: int | None) -> None:
        """Note a rung of the stop ladder, and send the signals that belong to it."""
        self.rungs.append(rung)
        self.rung_deadline_ns = deadline_ns
        if rung.signal is None or self.exit_status is not None:
            return
        if rung is Rung.KILLED:
            self._session.kill()
        else:
            self._session.ask()

    def ask_rest(self) -> None:
        """Signal those of its session that had to wait for others, once these have ended."""
        self._session.ask_rest()

    def out_of_reach(self) -> list[int]:
        """Return the members of its session that live and may not be signalled."""
        return self._session.out_of_reach()

    def describe_foreign(self, pid: int) -> str:
        """Say why the launcher cannot signal a member of its session."""
        return self._session.describe_foreign(pid)

    def kill_because(self, reason: str) -> None:
        """Kill a process that is of no use any more; its ending gives the reason."""
        self._killed_because = reason
        self.push(Rung.KILLED, None)

    def leave_behind(self) -> None:
        """Count a process as ended that may not be killed."""
        self.is_left_behind = True

    def read_lines(self) -> list[str]:
        """Return the complete lines of one read: a flood of them must not hold up all others."""
        received = self.output.read(_READ_NBYTES)
        if received is None:
            return []
        self.has_closed_output = not received
        return list(self._lines.feed(received))

    @property
    def begun_line(self) -> str:
        """The line that it has begun to print and not completed."""
        return self._lines.begun

    def close_output(self) -> list[str]:
        """Return the rest of the output, and close the pipe."""
        lines: list[str] = []
        # As much as a pipe holds. What comes beyond is from a process that outlived the node.
        for _ in range(_PIPE_NBYTES // _READ_NBYTES):
            received = self.output.read(_READ_NBYTES)
            if not received:
                break
            lines += self._lines.feed(received)
        lines += self._lines.end()
        self.output.close()
        return lines

    def ending(self) -> Ending:
        """Say how the process ended."""
        if self.is_left_behind:
            why = "" if self._killed_because is None else f"{self._killed_because}; "
            return Ending(True, f"left behind: {why}{self.describe_foreign(self.pid)}; it goes on")
        assert self.exit_status is not None, "asked of a running process"
        own = self._own_ending(self.exit_status)
        return self._session.complete(own, was_asked=bool(self.rungs))

    def _own_ending(self, exit_status: int) -> Ending:
        if self._killed_because is not None and not self.is_out_of_reach:
            return Ending(True, f"killed: {self._killed_because}")
        if self.excuse and exit_status == 1:
            return Ending(False, f"stopped ({self.excuse})")
        return describe_ending(
            exit_status,
            self.rungs[: self._rungs_at_end],
            was_interrupted=self._session.was_leader_interrupted,
        )

    def _collect(self) -> None:
        self.exit_status, self.usage = self._kernel.reap(self.pid)
