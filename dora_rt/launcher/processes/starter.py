"""Starts the processes of a run, by the fork server or plainly."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dora_rt.descriptor.check import first_line
from dora_rt.errors import LaunchError
from dora_rt.launcher.cleanup.guard import RunGuard, settings_of
from dora_rt.launcher.processes import early_start
from dora_rt.launcher.processes.child import NodeProcess
from dora_rt.launcher.processes.environ import node_environ, with_compat
from dora_rt.launcher.processes.fork_client import WarmStart
from dora_rt.launcher.processes.kernel import Kernel
from dora_rt.launcher.processes.keyboard import Keyboard
from dora_rt.node_config import CONFIG_VARIABLE, Descriptors, NodePlan, RunFacts, make_config
from dora_rt.plan.plan import ProcessPlan

_READ_NBYTES = 64 * 1024
# The names of the variables that the file sets for a node: a ready node takes its options from
# these, and not from a HOST or a MODEL of the user's shell (nodes/options.py).
FILE_VARIABLES = "DORA_RT_NODE_ENV"
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
        facts: RunFacts,
        compat: Path | None = None,
        keyboard: Keyboard | None = None,
    ):
        """Prepare to start the processes of a run.

        Args:
            guard: knows what must not outlive the launcher.
            environ: the environment that the processes inherit.
            plans: the processes.
            facts: what they are told of the run.
            compat: the folder in which they find `dora` first.
            keyboard: the terminal, for the process that asks for it.
        """
        self.facts = facts
        self.kernel = Kernel(guard)
        self._guard = guard
        self._compat = compat
        self._keyboard = keyboard
        self._environ = node_environ(environ, compat=compat)
        self.status_read, self._status_write = os.pipe()
        os.set_blocking(self.status_read, False)
        self._warm_start: WarmStart | None = None
        if sum(map(WarmStart.can_start, plans)) >= _WORTH_A_FORK_SERVER:
            with contextlib.suppress(OSError):
                self._warm_start = early_start.take(self._environ, self.descriptors)
                guard.watch(self._warm_start.session)
        else:
            early_start.dismiss()

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.facts.run

    @property
    def descriptors(self) -> tuple[int, int]:
        """Give what every process of the run must have: the status pipe, and the run's lock."""
        return self._status_write, self._guard.lock_fd

    def start(self, plan: ProcessPlan, present: NodePlan, restart_count: int) -> NodeProcess:
        """Start a program, with its configuration in the environment.

        Args:
            plan: the process.
            present: its node, with the present generations of inputs and outputs.
            restart_count: how often the node was started again.

        Raises:
            NodeStartError: the program cannot be executed.
        """
        if not Path(plan.folder).is_dir():
            raise NodeStartError(plan.name, f"{plan.folder}: there is no such folder")
        config = make_config(present, self.facts, Descriptors(*self.descriptors), restart_count)
        own = dict(plan.env)
        variables = {
            **own,
            FILE_VARIABLES: " ".join(own),
            CONFIG_VARIABLE: config.to_json(),
        }
        if self._compat is not None:
            # By this, programs for dora know that they run in a dataflow.
            variables["DORA_NODE_CONFIG"] = json.dumps({"node_id": plan.name})
        return self._start_warm(plan, variables) or self._start_plain(plan, variables)

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
            self._guard.forget(self._warm_start.session)
            self._warm_start = None
            return None
        os.set_blocking(read_end, False)
        self.kernel.adopt(pid)
        return NodeProcess(pid, os.fdopen(read_end, "rb", buffering=0), self.kernel)

    def _start_plain(self, plan: ProcessPlan, variables: dict[str, str]) -> NodeProcess:
        environment = with_compat({**self._environ, **variables}, self._compat)
        obstacle = find_obstacle(
            plan.argv[0], folder=plan.folder, search_path=environment.get("PATH", os.defpath)
        )
        if obstacle is not None:
            raise NodeStartError(plan.name, f"{plan.argv[0]}: {obstacle}")
        keyboard = self._keyboard if plan.resources.has_terminal else None
        try:
            child = subprocess.Popen(
                self._guard.command(plan.argv, plan.resources),
                bufsize=0,
                cwd=plan.folder,
                env=environment,
                stdin=subprocess.DEVNULL if keyboard is None else keyboard.descriptor,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(self._status_write, self._guard.lock_fd),
                start_new_session=True,
            )
        except OSError as error:
            raise NodeStartError(plan.name, f"{plan.argv[0]}: {error.strerror}") from error
        assert isinstance(child.stdout, io.FileIO), "started with an unbuffered pipe"
        os.set_blocking(child.stdout.fileno(), False)
        self.kernel.adopt(child.pid, child)
        return NodeProcess(child.pid, child.stdout, self.kernel)

    def read_statuses(self) -> bytes:
        """Give what the nodes have told since the last call, as far as it is here."""
        try:
            return os.read(self.status_read, _READ_NBYTES)
        except BlockingIOError:
            return b""

    def note_end(self, plan: ProcessPlan) -> None:
        """Put right what an ended process may have left behind: the modes of the terminal."""
        if self._keyboard is not None and plan.resources.has_terminal:
            self._keyboard.restore()

    def close(self) -> None:
        """Close the pipe, and dismiss the fork server."""
        if self._keyboard is not None:
            self._keyboard.restore()
        if self._warm_start is not None:
            self._warm_start.close()
            self._guard.forget(self._warm_start.session)
        os.close(self.status_read)
        os.close(self._status_write)

    def __enter__(self) -> Starter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def find_obstacle(program: str, *, folder: str, search_path: str) -> str | None:
    """Say why a program cannot be executed, before it is tried; None if nothing is in its way.

    Args:
        program: as of `execvp`: a path, if it has a slash, or a name to be searched for.
        folder: the folder in which it will be executed.
        search_path: the PATH with which it will be executed.
    """
    if "/" not in program:
        found = shutil.which(program, path=search_path)
        return os.strerror(errno.ENOENT) if found is None else _find_obstacle(Path(found))
    return _find_obstacle(Path(folder) / program)


def _find_obstacle(path: Path) -> str | None:
    if not path.exists():
        return os.strerror(errno.ENOENT)
    if not path.is_file() or not os.access(path, os.X_OK):
        return os.strerror(errno.EACCES)
    obstacle = first_line.find_obstacle(path)
    return None if obstacle is None else str(obstacle)
