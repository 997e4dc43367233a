"""One child process: its start, its output, its end in words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from dora_rt.contract import CONFIG_VARIABLE
from dora_rt.errors import LaunchError
from dora_rt.plan import ProcessPlan

TAIL_LINES = 20
_LONGEST_LINE_NBYTES = 16 * 1024
_COMPAT_FOLDER = Path(__file__).parent / "compat"


class Rung(Enum):
    """How far a process has been pushed to end."""

    NONE = 0
    TOLD = 1
    TERMINATED = 2
    KILLED = 3


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended, in words."""

    is_failure: bool
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used: CPU seconds (user and system), and its largest resident size."""

    cpu_s: float
    peak_nbytes: int


class NodeProcess:
    """A running node: a fresh interpreter (or any program) in a session of its own."""

    def __init__(self, plan: ProcessPlan, child: subprocess.Popen[bytes]) -> None:
        self.plan = plan
        self.number = plan.config.number
        self.is_ready = False
        self.reads_events = False
        self.sent_after_stop = False
        self.rung = Rung.NONE
        self.rung_deadline_ns: int | None = None
        self.usage: Usage | None = None
        self.exit_status: int | None = None
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._child = child
        assert child.stdout is not None, "started with a pipe"
        self.output = child.stdout
        os.set_blocking(self.output.fileno(), False)
        self.has_closed_output = False
        self._rest = b""

    @classmethod
    def start(
        cls, plan: ProcessPlan, *, run: str, status_fd: int, environ: dict[str, str]
    ) -> NodeProcess:
        """Start the program, with its configuration in the environment.

        Raises:
            LaunchError: the program cannot be executed.
        """
        config = replace(plan.config, run=run, status_fd=status_fd)
        python_path = [str(_COMPAT_FOLDER), *filter(None, [environ.get("PYTHONPATH")])]
        environment = {
            **environ,
            "PYTHONPATH": os.pathsep.join(python_path),
            "PYTHONUNBUFFERED": "1",
            **dict(plan.env),
            CONFIG_VARIABLE: config.to_json(),
        }
        try:
            child = subprocess.Popen(
                plan.argv,
                cwd=plan.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(status_fd,),
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(
                f"node {plan.name!r} cannot be started: {plan.argv[0]}: {error.strerror}"
            ) from error
        return cls(plan, child)

    @property
    def is_running(self) -> bool:
        """Tell whether it has not been reaped yet."""
        return self.exit_status is None

    def reap(self) -> bool:
        """Collect the exit status if the process has ended; tell whether it just did."""
        if self.exit_status is not None:
            return False
        return self._collect(os.WNOHANG)

    def wait(self) -> None:
        """Wait for the end of a process that was killed."""
        self._collect(0)

    def push(self, rung: Rung, deadline_ns: int | None) -> None:
        """Note a rung of the stop ladder, and send the signal that belongs to it."""
        self.rung = rung
        self.rung_deadline_ns = deadline_ns
        if rung is Rung.TERMINATED:
            self._signal_group(signal.SIGTERM)
        elif rung is Rung.KILLED:
            self._signal_group(signal.SIGKILL)

    def read_lines(self) -> Iterator[str]:
        """Give the complete lines that the process has printed since the last call."""
        with contextlib.suppress(BlockingIOError):
            while True:
                received = os.read(self.output.fileno(), 64 * 1024)
                if not received:
                    self.has_closed_output = True
                    break
                *lines, self._rest = (self._rest + received).split(b"\n")
                for line in lines:
                    yield self._keep(line)
                if len(self._rest) > _LONGEST_LINE_NBYTES:
                    yield self._keep(self._rest)
                    self._rest = b""

    def close_output(self) -> Iterator[str]:
        """Give what is left of the output, and let go of the pipe."""
        yield from self.read_lines()
        if self._rest:
            yield self._keep(self._rest)
            self._rest = b""
        self.output.close()

    def ending(self) -> Ending:
        """Say how the process ended."""
        assert self.exit_status is not None, "asked of a running process"
        if self.sent_after_stop and self.exit_status == 1:
            return Ending(False, "stopped (it sent after the stop)")
        return describe_ending(self.exit_status, self.rung)

    def _collect(self, options: int) -> bool:
        pid, status, usage = os.wait4(self._child.pid, options)
        if pid == 0:
            return False
        self.exit_status = self._child.returncode = os.waitstatus_to_exitcode(status)
        self.usage = Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
        return True

    def _signal_group(self, number: signal.Signals) -> None:
        # The group, so that what the node itself started ends too. It exists at least until the
        # leader is reaped, and only processes that are not reaped yet are signalled.
        if self.exit_status is None:
            os.killpg(self._child.pid, number)

    def _keep(self, line: bytes) -> str:
        text = line[:_LONGEST_LINE_NBYTES].decode("utf-8", "backslashreplace").rstrip("\r")
        # Only what was shown last of a line that was redrawn, as progress bars do.
        text = text.rsplit("\r", 1)[-1]
        self.tail.append(text)
        return text


def describe_ending(exit_status: int, rung: Rung) -> Ending:
    """Say how a process ended.

    Args:
        exit_status: as of `subprocess`, minus the signal's number if a signal ended it.
        rung: how far it had been pushed.
    """
    was_stopped = rung is not Rung.NONE
    if exit_status == 0:
        return Ending(False, "stopped" if was_stopped else "finished")
    if rung is Rung.KILLED and exit_status == -signal.SIGKILL:
        return Ending(True, "killed: it did not stop when told to, nor at SIGTERM")
    if rung in (Rung.TERMINATED, Rung.KILLED) and exit_status in (-signal.SIGTERM, 143):
        return Ending(False, "stopped (SIGTERM)")
    if exit_status < 0:
        name = signal.Signals(-exit_status).name
        meaning = signal.strsignal(-exit_status) or "signal"
        return Ending(True, f"failed: {name} ({meaning})")
    return Ending(True, f"failed: exit status {exit_status}")
