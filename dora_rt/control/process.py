"""One child process: its start, its output, its end in words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import IO

from dora_rt.contract import CONFIG_VARIABLE, NodeConfig
from dora_rt.control import early_start
from dora_rt.control.environ import node_environ, with_compat
from dora_rt.control.guard import RunGuard, settings_of
from dora_rt.control.lines import LineSplitter
from dora_rt.control.plan import ProcessPlan
from dora_rt.control.program import find_obstacle
from dora_rt.control.warm_start import WarmStart
from dora_rt.data.shm import SHM_DIRECTORY
from dora_rt.errors import LaunchError

TAIL_LINES = 20
_READ_NBYTES = 64 * 1024
_PIPE_NBYTES = 1024 * 1024
_WORTH_A_FORK_SERVER = 2  # processes: one alone is not faster for it


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


NO_USAGE = Usage(0.0, 0)


class NodeStartError(LaunchError):
    """A program cannot be executed; `why` says it without the node's name."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(f"node {node!r} cannot be started: {why}")
        self.why = why


class Starter:
    """Starts the processes of one run; has the pipe through which they tell their status."""

    def __init__(
        self,
        guard: RunGuard,
        environ: dict[str, str],
        plans: Sequence[ProcessPlan],
        *,
        compat: Path | None = None,
    ):
        """Prepare to start the processes of `plans`; `compat`: where they find `dora` first."""
        self._guard = guard
        self._compat = compat
        self._environ = node_environ(environ, compat=compat)
        self.status_read, self._status_write = os.pipe()
        os.set_blocking(self.status_read, False)
        self._warm_start: WarmStart | None = None
        if sum(map(WarmStart.can_start, plans)) >= _WORTH_A_FORK_SERVER:
            with contextlib.suppress(OSError):
                self._warm_start = early_start.take(self._environ, self.descriptors)
        else:
            early_start.dismiss()

    @property
    def run(self) -> str:
        """Give the name of the run."""
        return self._guard.run

    @property
    def description_path(self) -> str:
        """Tell where a process finds the description of its dataflow."""
        return str(self._guard.directory.description)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Give what every process of the run must have: the status pipe, and the run's lock."""
        return self._status_write, self._guard.lock_fd

    def start(self, plan: ProcessPlan, config: NodeConfig) -> NodeProcess:
        """Start a program, with its configuration in the environment.

        Raises:
            NodeStartError: the program cannot be executed.
        """
        if not Path(plan.folder).is_dir():
            raise NodeStartError(plan.name, f"{plan.folder}: there is no such folder")
        config = replace(
            config,
            run=self._guard.run,
            status_fd=self._status_write,
            lock_fd=self._guard.lock_fd,
            description_path=self.description_path,
        )
        variables = {**dict(plan.env), CONFIG_VARIABLE: config.to_json()}
        if self._compat is not None:
            # By this, programs for dora know that they run in a dataflow.
            variables["DORA_NODE_CONFIG"] = json.dumps({"node_id": plan.name})
        process = self._start_warm(plan, variables) or self._start_plain(plan, variables)
        self._guard.watch(process.pid)
        return process

    def _start_warm(self, plan: ProcessPlan, variables: dict[str, str]) -> NodeProcess | None:
        if self._warm_start is None or not WarmStart.can_start(plan):
            return None
        read_end, write_end = os.pipe()
        settings = settings_of(plan.resources)
        pid = self._warm_start.start(plan, variables, settings, write_end)
        os.close(write_end)
        if pid is None:
            # It will not come back either.
            os.close(read_end)
            self._warm_start.kill()
            self._warm_start = None
            return None
        return NodeProcess(pid, os.fdopen(read_end, "rb"), self._guard)

    def _start_plain(self, plan: ProcessPlan, variables: dict[str, str]) -> NodeProcess:
        environment = with_compat({**self._environ, **variables}, self._compat)
        obstacle = find_obstacle(
            plan.argv[0], folder=plan.folder, search_path=environment.get("PATH", os.defpath)
        )
        if obstacle is not None:
            raise NodeStartError(plan.name, f"{plan.argv[0]}: {obstacle}")
        try:
            child = subprocess.Popen(
                self._guard.command(plan.argv, plan.resources),
                cwd=plan.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(self._status_write, self._guard.lock_fd),
                start_new_session=True,
            )
        except OSError as error:
            raise NodeStartError(plan.name, f"{plan.argv[0]}: {error.strerror}") from error
        assert child.stdout is not None, "started with a pipe"
        return NodeProcess(child.pid, child.stdout, self._guard, child)

    def read_statuses(self) -> bytes:
        """Give what the nodes have told since the last call, as far as it is here."""
        try:
            return os.read(self.status_read, _READ_NBYTES)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close the pipe, and dismiss the fork server."""
        if self._warm_start is not None:
            self._warm_start.close()
        os.close(self.status_read)
        os.close(self._status_write)

    def __enter__(self) -> Starter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class NodeProcess:
    """A running node: a fresh interpreter (or any program) in a session of its own."""

    def __init__(
        self,
        pid: int,
        output: IO[bytes],
        guard: RunGuard,
        child: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """Look after a child of this process; `child` if `subprocess` thinks it is its own."""
        self.pid = pid
        self.reads_events = False
        self.sent_after_stop = False
        self.rung = Rung.NONE
        self.rung_deadline_ns: int | None = None
        self.exit_status: int | None = None
        self.usage = NO_USAGE
        self.has_closed_output = False
        self.output = output
        os.set_blocking(output.fileno(), False)
        self._child = child
        self._guard = guard
        self._killed_because: str | None = None
        self._lines = LineSplitter()

    @property
    def is_running(self) -> bool:
        """Tell whether it has not been reaped yet."""
        return self.exit_status is None

    def reap(self) -> bool:
        """Collect the exit status if the process has ended; tell whether it just did."""
        if self.exit_status is not None:
            return False
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._collect()
        return True

    def wait(self) -> None:
        """Wait for the end of a process that was killed."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._collect()

    def push(self, rung: Rung, deadline_ns: int | None) -> None:
        """Note a rung of the stop ladder, and send the signal that belongs to it."""
        self.rung = rung
        self.rung_deadline_ns = deadline_ns
        if rung is Rung.TERMINATED:
            self._signal_group(signal.SIGTERM)
        elif rung is Rung.KILLED:
            self._signal_group(signal.SIGKILL)

    def kill_because(self, reason: str) -> None:
        """Kill a process that is of no use any more; its ending gives the reason."""
        self._killed_because = reason
        self.push(Rung.KILLED, None)

    def read_lines(self) -> list[str]:
        """Give the complete lines of one read; a flood of them must not hold up everybody else."""
        try:
            received = os.read(self.output.fileno(), _READ_NBYTES)
        except BlockingIOError:
            return []
        self.has_closed_output = not received
        return list(self._lines.feed(received))

    def close_output(self) -> list[str]:
        """Give what is left of the output, and let go of the pipe."""
        lines: list[str] = []
        # As much as a pipe holds. What comes beyond is from a process that outlived the node.
        with contextlib.suppress(BlockingIOError):
            for _ in range(_PIPE_NBYTES // _READ_NBYTES):
                lines += self._lines.feed(os.read(self.output.fileno(), _READ_NBYTES))
        lines += self._lines.end()
        self.output.close()
        return lines

    def ending(self) -> Ending:
        """Say how the process ended."""
        assert self.exit_status is not None, "asked of a running process"
        if self._killed_because is not None:
            return Ending(True, f"killed: {self._killed_because}")
        if self.sent_after_stop and self.exit_status == 1:
            return Ending(False, "stopped (it sent after the stop)")
        return describe_ending(self.exit_status, self.rung)

    def _collect(self) -> None:
        # What the node started itself ends with it. The group exists at least until the node, its
        # leader, is reaped, so this cannot hit anybody else.
        self._signal_group(signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self._guard.forget(self.pid)
        self.exit_status = os.waitstatus_to_exitcode(status)
        if self._child is not None:
            self._child.returncode = self.exit_status
        self.usage = Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def _signal_group(self, number: signal.Signals) -> None:
        if self.exit_status is None:
            os.killpg(self.pid, number)


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
        if name == "SIGBUS":
            meaning += f": shared memory was truncated, or {SHM_DIRECTORY} is full"
        return Ending(True, f"failed: {name} ({meaning})")
    return Ending(True, f"failed: exit status {exit_status}")
