"""The launcher's end of the fork server: nodes of its own interpreter start in milliseconds."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: a fork server is begun before the launcher has imported all of itself.
    from dora_rt.plan.plan import ProcessPlan

_PROGRAM = Path(__file__).parent / "fork_server.py"
MARK_VARIABLE = "DORA_RT_FORK_SERVER"
_PR_SET_CHILD_SUBREAPER = 36
_START_S = 20.0  # imports from a slow disk; what takes longer starts plainly
_AGAIN_S = 2.0  # once they are done: the supervisor does nothing else meanwhile
_GOODBYE_S = 2.0
_ROOM_FOR_COMMAND_LINE = 2048
# What an interpreter, or a module that it or the fork server has loaded, reads only at its start.
_EARLY_VARIABLES = (
    "BLIS_",
    "COVERAGE_",
    "COV_CORE_",
    "DORA_RT_PURE",
    "GLIBC_",
    "GOTO_",
    "KMP_",
    "LANG",
    "LC_",
    "LD_",
    "LOCPATH",
    "MALLOC_",
    "MKL_",
    "NPY_",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    "OPENSSL_",
    "PYTHON",
)


class WarmStart:
    """A fork server that belongs to one run; everything in the launcher's main thread."""

    def __init__(self, environ: Mapping[str, str], descriptors: Sequence[int] | None) -> None:
        """Start it; it gets ready while the launcher goes on.

        Args:
            environ: the environment of every node.
            descriptors: what they all inherit; None: `equip` tells it later.
        """
        self.environ = dict(environ)
        self._connection, theirs = socket.socketpair()
        self._patience_s = _START_S
        _be_subreaper(True)
        try:
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-u",
                    str(_PROGRAM),
                    str(os.getpid()),
                    str(theirs.fileno()),
                    " " * _ROOM_FOR_COMMAND_LINE,
                ],
                cwd="/",
                env={**environ, MARK_VARIABLE: "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            self._connection.close()
            raise
        finally:
            _be_subreaper(False)
            theirs.close()
        if descriptors is not None:
            self.equip(descriptors)

    @property
    def session(self) -> int:
        """The session of the server, and of the nodes that it has just forked."""
        return self._server.pid

    def equip(self, descriptors: Sequence[int]) -> None:
        """Send the descriptors that all nodes inherit; before the first start."""
        # A server that has died is noticed when it is to start something.
        with contextlib.suppress(OSError):
            self._send({"descriptors": list(descriptors)}, descriptors)

    def _send(self, request: Mapping[str, object], descriptors: Sequence[int]) -> None:
        text = json.dumps(request).encode()
        head = len(text).to_bytes(4, sys.byteorder)
        socket.send_fds(self._connection, [head], descriptors)
        self._connection.sendall(text)

    @staticmethod
    def can_start(plan: ProcessPlan) -> bool:
        """Whether a process can begin as a copy of the fork server."""
        if plan.argv[:2] != (sys.executable, "-u") or plan.resources.has_terminal:
            # What an interpreter knows of its standard input, it has learnt at its start.
            return False
        return not any(name.startswith(_EARLY_VARIABLES) for name, _ in plan.env)

    def start(
        self,
        plan: ProcessPlan,
        variables: Mapping[str, str],
        settings: Sequence[tuple[str, str]],
        output: int,
    ) -> int | None:
        """Start a process, as a child of this one.

        Args:
            plan: of the process.
            variables: its environment beyond that of the server.
            settings: for the trampoline's `apply_setting`.
            output: descriptor of the pipe that it prints to.

        Returns:
            Its pid; None if the server cannot, and the process has to be started plainly.
        """
        request = {
            "argv": plan.argv[2:],  # behind the interpreter and its -u
            "folder": plan.folder,
            "variables": dict(variables),
            "settings": settings,
        }
        answer, theirs = os.pipe()
        _be_subreaper(True)
        try:
            try:
                self._send(request, [output, theirs])
            finally:
                os.close(theirs)
            # Without a pid there is an end of file: the server, or the new process, has died.
            # Not `select`, which knows no descriptor above 1,023.
            waiting = select.poll()
            waiting.register(answer, select.POLLIN)
            pid = os.read(answer, 32) if waiting.poll(self._patience_s * 1000) else b""
            self._patience_s = _AGAIN_S
        except OSError:
            pid = b""
        finally:
            _be_subreaper(False)
            os.close(answer)
        return int(pid) if pid else None

    def kill(self) -> None:
        """End the server at once; the nodes that it has started go on."""
        self._connection.close()
        self._kill_server()

    def close(self) -> None:
        """Dismiss the server; the nodes that it has started go on."""
        self._connection.close()
        try:
            self._server.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._kill_server()

    def _kill_server(self) -> None:
        # With what it has forked and is no session of its own yet: somebody may have stopped that,
        # and nothing else would end it. The group lasts at least until the server is reaped.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()


def _be_subreaper(is_on: bool) -> None:
    # Only as long as it takes: else whatever the nodes start and leave behind would come to the
    # launcher too.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0)
