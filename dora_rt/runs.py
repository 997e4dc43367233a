"""Where the runs of this user are, and how to ask one of them something; for nodes and for tools.

A run listens on a socket in its directory. Who is connected may ask any number of things, each a
line of JSON, and gets a line of JSON for each.

Runs in one name space do not see those in another, of one user on one machine. The name of a run
ends with it (`1a2b3c4d.arm`), so all that is named after the run, shared objects above all, is in
the name space too.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dora_rt.errors import DoraRtError, LaunchError, RunNotFoundError, VersionMismatchError
from dora_rt.run_status import RunDescription, RunStatus

SOCKET_NAME = "control"
MANIFEST_NAME = "manifest.json"
RUN_VARIABLE = "DORA_RT_RUN"
NAMESPACE_VARIABLE = "DORA_RT_NAMESPACE"
RUN_PATTERN = r"[0-9a-f]{8}(?:\.[A-Za-z0-9_]{1,16})?"
"""What names of runs look like: none is the beginning of another one's objects or files."""
_RUN = re.compile(RUN_PATTERN)
_NAMESPACE = re.compile(r"[A-Za-z0-9_]{1,16}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_REQUESTERS = 16
"""How many programs may be connected to the socket of a run at once."""
_ANSWER_S = 5.0
_READ_NBYTES = 64 * 1024
_MAX_DESCRIPTORS = 8


def check_proc() -> None:
    """Check that there is /proc, without which no run can be found, asked or started.

    Raises:
        LaunchError: there is no /proc.
    """
    if not Path("/proc/self/fd").is_dir():
        raise LaunchError(
            "there is no /proc, and without it no process can be found: mount it "
            "(mount -t proc proc /proc)"
        )


def namespace_of(environ: Mapping[str, str]) -> str:
    """Return the name space in $DORA_RT_NAMESPACE; empty if there is no such variable.

    Raises:
        LaunchError: the value cannot be part of a name.
    """
    namespace = environ.get(NAMESPACE_VARIABLE, "")
    if namespace and _NAMESPACE.fullmatch(namespace) is None:
        raise LaunchError(
            f"{NAMESPACE_VARIABLE}={namespace!r} is no name space: expected at most 16 letters, "
            "digits and _; set another one, or unset it"
        )
    return namespace


def namespace_of_run(run: str) -> str:
    """Return the name space of a run, which is in its name."""
    return run.partition(".")[2]


def base_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of all runs of this user and name space: in $XDG_RUNTIME_DIR, or in /tmp.

    Raises:
        LaunchError: $DORA_RT_NAMESPACE cannot be part of a name; or there is no /proc, so that a
            look into that folder would find no run and seem to be an answer.
    """
    check_proc()
    namespace = namespace_of(environ)
    suffix = f".{namespace}" if namespace else ""
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    # Not the folder of another user: `sudo -E` leaves root with the user's, and a folder that root
    # makes there would lock the user out.
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.geteuid():
        return runtime / f"dora_rt{suffix}"
    return Path(f"/tmp/dora_rt-{os.geteuid()}{suffix}")


def find_runs(base: Path) -> list[str]:
    """Return the names of the runs that have a directory; some of them may be dead."""
    try:
        names = [path.name for path in base.iterdir()]
    except OSError:
        return []
    return sorted(name for name in names if _RUN.fullmatch(name))


def names_run(called: str, run: str, file: str) -> bool:
    """Whether `called` names this run: the one rule for all that choose a run.

    Args:
        called: the name of a run, or the beginning of it; or a dataflow file, or its name with or
            without its ending.
        run: the name of this run.
        file: the whole path of its dataflow file.
    """
    path = Path(file)
    return (
        run.startswith(called)
        or called in (path.name, path.stem)
        or path == Path(called).absolute()
    )


def open_run(base: Path, called: str | None = None) -> Connection:
    """Connect to the run that is called so, or to the only one.

    Args:
        base: the folder of all runs.
        called: what `names_run` takes; None: the only run.

    Raises:
        RunNotFoundError: there is no such run, or several; the message lists them.
    """
    found = _open_all(base)
    matching = [
        one for one in found if called is None or names_run(called, one.connection.run, one.file)
    ]
    for one in found:
        if matching != [one]:
            one.connection.close()
    if not found:
        raise RunNotFoundError(
            f"no dataflow of this user is running (looked in {base}): start one with dora-launch"
        )
    if len(matching) == 1:
        return matching[0].confirmed()
    listed = "".join(f"\n  {one}" for one in matching or found)
    if not matching:
        raise RunNotFoundError(f"no run is called {called!r}; there are:{listed}")
    which = "are there" if called is None else f"are called {called!r}"
    raise RunNotFoundError(f"{len(matching)} runs {which}; say which:{listed}")


class RefusedError(DoraRtError):
    """A run does not do what it was asked for, or cannot be understood; the message says why."""


class Connection:
    """A connection to a run; a context manager, unless `detach` hands it over."""

    def __init__(self, base: Path, run: str, link: socket.socket) -> None:
        self.run = run
        self._base = base
        self._link = link
        self._rest = b""

    @classmethod
    def open(cls, base: Path, run: str) -> Connection | None:
        """Connect to a run; None if it does not listen (any more), or is not of this user."""
        try:
            folder = os.open(base / run, _FOLDER)
        except OSError:
            return None
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if os.fstat(folder).st_uid != os.geteuid():
                raise PermissionError(f"{base / run} belongs to another user")
            link.settimeout(_ANSWER_S)
            link.connect(socket_path(folder))
        except OSError:
            link.close()
            return None
        finally:
            os.close(folder)
        return cls(base, run, link)

    def open_another(self) -> Connection | None:
        """Connect to the same run once more; None if it does not listen any more."""
        return Connection.open(self._base, self.run)

    def status(self, timeout_s: float = _ANSWER_S) -> RunStatus:
        """Ask for everything that the run counts.

        Raises:
            OSError: the run has ended, or does not answer in time.
            RefusedError: it refuses, or is of another version of dora_rt.
        """
        self.send("status")
        answer, _ = self.receive(timeout_s)
        try:
            return RunStatus.from_json(answer)
        except VersionMismatchError as error:
            raise RefusedError(str(error)) from error

    def describe(self) -> RunDescription:
        """Ask what runs there.

        Raises:
            OSError: the run has ended, or does not answer.
            RefusedError: it refuses, or is of another version of dora_rt.
        """
        try:
            return RunDescription.from_json(self.ask("describe")[0])
        except VersionMismatchError as error:
            raise RefusedError(str(error)) from error

    def parameters(self) -> list[dict[str, Any]]:
        """Ask for the parameters of all nodes: their values, types and limits.

        Raises:
            OSError: the run has ended, or does not answer.
            RefusedError: it refuses.
        """
        answer, _ = self.ask("parameters")
        found: list[dict[str, Any]] = answer["parameters"]
        return found

    def ask(self, request: str, **fields: Any) -> tuple[dict[str, Any], list[int]]:
        """Send one request; return the answer and the descriptors that came with it.

        Raises:
            OSError: the run has ended, or does not answer.
            RefusedError: the run refuses.
        """
        self.send(request, **fields)
        return self.receive()

    def send(self, request: str, **fields: Any) -> None:
        """Send one request, to which any number of answers may come.

        Raises:
            OSError: the run has ended.
        """
        line = json.dumps({"request": request, **fields}, separators=(",", ":"))
        # A run that refuses a connection says so and closes it; the answer can still be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._link.sendall(line.encode() + b"\n")

    def receive(self, timeout_s: float | None = _ANSWER_S) -> tuple[dict[str, Any], list[int]]:
        """Wait for the next answer; return it with the descriptors that came with it.

        Raises:
            OSError: the run has ended, or nothing came in time.
            RefusedError: the answer is a refusal.
        """
        self._link.settimeout(timeout_s)
        descriptors: list[int] = []
        while b"\n" not in self._rest:
            received, more = _receive(self._link)
            descriptors += more
            if not received:
                raise ConnectionResetError("the run has ended")
            self._rest += received
        line, self._rest = self._rest.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RefusedError(str(answer["error"]))
        return answer, descriptors

    def detach(self) -> int:
        """Return the descriptor of the connection, which the caller closes."""
        self._link.settimeout(None)
        return self._link.detach()

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def socket_path(folder_fd: int) -> str:
    """Return a path of the socket in an opened run directory; a short one: 107 bytes must do."""
    return f"/proc/self/fd/{folder_fd}/{SOCKET_NAME}"


@dataclass(frozen=True, slots=True)
class _Found:
    """A connected run and its dataflow file; `obstacle`: why it cannot be asked."""

    connection: Connection
    file: str
    obstacle: str | None

    def confirmed(self) -> Connection:
        if self.obstacle is None:
            return self.connection
        self.connection.close()
        raise RunNotFoundError(f"run {self}")

    def __str__(self) -> str:
        return f"{self.connection.run}  {self.file or self.obstacle}"


def _open_all(base: Path) -> list[_Found]:
    """Connect to every run, and ask it for its dataflow file."""
    found = []
    for run in find_runs(base):
        connection = Connection.open(base, run)
        if connection is None:
            continue
        file, obstacle = "", None
        try:
            file = connection.describe().file
        except TimeoutError:
            obstacle = "does not answer: is its dora-launch held (Ctrl-Z)?"
        except RefusedError as error:
            obstacle = str(error)
        except (OSError, ValueError):
            connection.close()  # it has just ended
            continue
        found.append(_Found(connection, file, obstacle))
    return found


def _receive(link: socket.socket) -> tuple[bytes, list[int]]:
    # Not socket.recv_fds, which leaves descriptors inheritable: a child would keep the run alive.
    descriptors = array.array("i")
    space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * descriptors.itemsize)
    received, ancillary, *_ = link.recvmsg(_READ_NBYTES, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            whole = len(content) // descriptors.itemsize * descriptors.itemsize
            descriptors.frombytes(content[:whole])
    return received, list(descriptors)
