"""One child process: its start, its output, its end in words."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from dora_rt.errors import LaunchError
from dora_rt.launcher.cleanup.guard import RunGuard, settings_of
from dora_rt.launcher.processes import early_start
from dora_rt.launcher.processes.ending import Rung, describe_ending
from dora_rt.launcher.processes.environ import node_environ, with_compat
from dora_rt.launcher.processes.fork_client import WarmStart
from dora_rt.launcher.processes.line_splitter import LineSplitter
from dora_rt.launcher.processes.process_group import ProcessGroup, describe_foreign
from dora_rt.launcher.processes.program import find_obstacle
from dora_rt.node_config import CONFIG_VARIABLE, Descriptors, NodePlan, RunLinks, make_config
from dora_rt.plan.plan import ProcessPlan
from dora_rt.report import NO_USAGE, Ending, Usage

TAIL_LINES = 20
_READ_NBYTES = 64 * 1024
_PIPE_NBYTES = 1024 * 1024
_WORTH_A_FORK_SERVER = 2  # processes: one alone is not faster for it


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
        links: RunLinks,
        compat: Path | None = None,
    ):
        """Prepare to start the processes of `plans`; `compat`: where they find `dora` first."""
        self.links = links
        self._guard = guard
        self._compat = compat
        self._environ = node_environ(environ, compat=compat)
        self.status_read, self._status_write = os.pipe()
        os.set_blocking(self.status_read, False)
        self._warm_start: WarmStart | None = None
        if sum(map(WarmStart.can_start, plans)) >= _WORTH_A_FORK_SERVER:
            with contextlib.suppress(OSError):
                self._warm_start = early_start.take(self._environ, self.descriptors)
                guard.watch(self._warm_start.group)
        else:
            early_start.dismiss()

    @property
    def run(self) -> str:
        """Give the name of the run."""
        return self.links.run

    @property
    def descriptors(self) -> tuple[int, int]:
        """Give what every process of the run must have: the status pipe, and the run's lock."""
        return self._status_write, self._guard.lock_fd

    def start(self, plan: ProcessPlan, present: NodePlan, restart_count: int) -> NodeProcess:
        """Start a program, with its configuration in the environment.

        Args:
            plan: the process.
            present: what it is told by the plan, with the present generations.
            restart_count: how often it was started again.

        Raises:
            NodeStartError: the program cannot be executed.
        """
        if not Path(plan.folder).is_dir():
            raise NodeStartError(plan.name, f"{plan.folder}: there is no such folder")
        descriptors = Descriptors(self._status_write, self._guard.lock_fd)
        config = make_config(present, self.links, descriptors, restart_count)
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
            self._guard.forget(self._warm_start.group)
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
            self._guard.forget(self._warm_start.group)
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
        self.rungs: list[Rung] = []
        self.rung_deadline_ns: int | None = None
        self.exit_status: int | None = None
        self.usage = NO_USAGE
        self.has_closed_output = False
        self.is_left_behind = False
        self.is_lingering = False
        """Whether it has ended, and is not reaped since what it had started still cleans up."""
        self.output = output
        os.set_blocking(output.fileno(), False)
        self._child = child
        self._guard = guard
        self._killed_because: str | None = None
        self._group = ProcessGroup(pid)
        self._rungs_at_end: int | None = None
        self._lines = LineSplitter()

    @property
    def is_running(self) -> bool:
        """Tell whether it has not been reaped yet."""
        return self.exit_status is None and not self.is_left_behind

    @property
    def rung(self) -> Rung:
        """Tell how far it has been pushed to end."""
        return self.rungs[-1] if self.rungs else Rung.NONE

    @property
    def is_out_of_reach(self) -> bool:
        """Tell whether the kernel refused to signal it: it has become another user."""
        return self._group.is_leader_out_of_reach

    @property
    def is_to_be_looked_at(self) -> bool:
        """Tell whether something in its group is waited for whose end nothing announces."""
        return self.is_running and (self.is_lingering or self._group.waits)

    def reap(self, *, is_stopping: bool) -> bool:
        """Collect the exit status if the process has ended; tell whether it just did.

        Args:
            is_stopping: whether the whole dataflow is being stopped.
        """
        if not self.is_running or not self._has_exited():
            return False
        # A shell ends at once, and the program that it had started switches its motor off.
        has_others = self._group.has_others()
        is_asked = is_stopping or self.rung is not Rung.NONE
        if has_others and is_asked and self.rung is not Rung.KILLED:
            if not self.is_lingering:
                self._rungs_at_end = len(self.rungs)
            self.is_lingering = True
            return False
        if has_others:
            # What the node started itself ends with it. The group exists at least until the node,
            # its leader, is reaped, so this cannot hit anybody else.
            self._group.kill()
        self._collect()
        return True

    def wait(self) -> None:
        """Wait for the end of a process that was killed, unless it could not be."""
        if self.is_out_of_reach and not self._has_exited():
            self.leave_behind()
            return
        self._collect()

    def gentlest_rung(self) -> Rung:
        """Tell which rung comes after it was told."""
        return self._group.gentlest_rung()

    def push(self, rung: Rung, deadline_ns: int | None) -> None:
        """Note a rung of the stop ladder, and send the signals that belong to it."""
        self.rungs.append(rung)
        self.rung_deadline_ns = deadline_ns
        if rung.signal is None or self.exit_status is not None:
            return
        if rung is Rung.KILLED:
            self._group.kill()
        else:
            self._group.ask()

    def ask_rest(self) -> None:
        """Signal who had to wait until others of its group have ended, if these have."""
        self._group.ask_rest()

    def out_of_reach(self) -> list[int]:
        """Give those of its group that live and may not be signalled."""
        return self._group.out_of_reach()

    def kill_because(self, reason: str) -> None:
        """Kill a process that is of no use any more; its ending gives the reason."""
        self._killed_because = reason
        self.push(Rung.KILLED, None)

    def leave_behind(self) -> None:
        """Wait no more for a process that may not be killed."""
        self.is_left_behind = True

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
        if self.is_left_behind:
            why = "" if self._killed_because is None else f"{self._killed_because}; "
            return Ending(True, f"left behind: {why}{describe_foreign(self.pid)}; it goes on")
        assert self.exit_status is not None, "asked of a running process"
        own = self._own_ending(self.exit_status)
        return self._group.complete(own, was_asked=bool(self.rungs))

    def _own_ending(self, exit_status: int) -> Ending:
        if self._killed_because is not None and not self.is_out_of_reach:
            return Ending(True, f"killed: {self._killed_because}")
        if self.sent_after_stop and exit_status == 1:
            return Ending(False, "stopped (it sent after the stop)")
        return describe_ending(
            exit_status,
            self.rungs[: self._rungs_at_end],
            was_interrupted=self._group.was_leader_interrupted,
        )

    def _has_exited(self) -> bool:
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return ended is not None

    def _collect(self) -> None:
        _, status, usage = os.wait4(self.pid, 0)
        self._guard.forget(self.pid)
        self.exit_status = os.waitstatus_to_exitcode(status)
        if self._child is not None:
            self._child.returncode = self.exit_status
        self.usage = Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
