"""`dora-rt logs`: shows what the nodes of a running dataflow have printed."""

from __future__ import annotations

import argparse
import heapq
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from dora_rt.cli.far_logs import FarLogs
from dora_rt.cli.run_client import add_run_argument, ask_all_machines, connect, process_called
from dora_rt.cli.verb import Verb
from dora_rt.errors import RunNotFoundError
from dora_rt.exit_codes import EXIT_OK
from dora_rt.launcher.node_output.log_files import LOG_FILES, kept_logs_folder
from dora_rt.run_status import RunStatus
from dora_rt.runs import Connection, base_folder

_LOOK_S = 0.1
_MOST_LINES = 999_999_999  # far more than a log can hold

_DESCRIPTION = """\
Show what the nodes of a running dataflow have printed, with the time, in order. Of nodes on
other machines you see the last 256 KiB, with the time of their machine."""

_EPILOG = """\
examples:
  dora-rt logs              all nodes
  dora-rt logs camera -n 20 the last 20 lines of one node
  dora-rt logs -f           and what comes, until the run ends or Ctrl-C

Each node keeps 30 MiB at most. The logs of a run in which a node failed are kept after its
end; its summary says where."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", metavar="NODE", help="only this node")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    parser.add_argument(
        "-n", "--lines", type=_count, metavar="N", help="only the last N lines of what is there"
    )
    add_run_argument(parser)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        connection = connect(options.run, environ)
    except RunNotFoundError as error:
        kept = kept_logs_folder(environ)
        raise RunNotFoundError(f"{error}\nlogs of runs in which a node failed: {kept}") from error
    with connection:
        status = ask_all_machines(connection)
        files, far = _open_logs(connection, status, options.node)
    logs: list[_Log | FarLogs] = [*files, *far]
    most_lines = _MOST_LINES if options.lines is None else options.lines
    old = [*(log.old() for log in files), *(one.old(most_lines) for one in far)]
    lines: Iterable[str] = heapq.merge(*old, key=_moment)
    if options.lines is not None:
        lines = deque(lines, maxlen=options.lines)
    try:
        for line in lines:
            print(line)
        if options.follow:
            _follow(logs, base_folder(environ) / status.run)
    except KeyboardInterrupt:
        pass  # this is how one ends it
    finally:
        for log in logs:
            log.close()
    return EXIT_OK


def _open_logs(
    connection: Connection, status: RunStatus, node: str | None
) -> tuple[list[_Log], list[FarLogs]]:
    """Return the logs of this machine, and those of others; of one node, if it is given."""
    processes = status.processes if node is None else (process_called(status, node),)
    own = None if status.network is None else status.network.machine
    width = 0 if len(processes) == 1 else max(len(process.name) for process in processes)
    files = [
        _Log(Path(status.log_folder), process.name, width)
        for process in processes
        if process.machine == own
    ]
    machines: dict[str, list[str]] = {}
    for process in processes:
        if process.machine is not None and process.machine != own:
            machines.setdefault(process.machine, []).append(process.name)
    far = []
    for machine, nodes in machines.items():
        another = connection.open_another()
        if another is not None:
            far.append(FarLogs(another, machine, nodes, partial(_show, width)))
    return files, far


def _show(width: int, name: str, line: str) -> str:
    prefix = f"{name.ljust(width)} | " if width else ""
    return line[:_STAMP_LENGTH] + prefix + line[_STAMP_LENGTH:]


def _follow(files: Sequence[_Log | FarLogs], directory: Path) -> None:
    while True:
        # First: what was written before the run ended is still read.
        has_ended = not os.path.lexists(directory)
        for line in sorted((line for log in files for line in log.new()), key=_moment):
            print(line)
        sys.stdout.flush()
        if has_ended:
            return
        time.sleep(_LOOK_S)


class _Log:
    """The log of one node, which the launcher writes on and rotates meanwhile."""

    def __init__(self, folder: Path, name: str, width: int) -> None:
        self._path = folder / f"{name}.log"
        self._show_line = partial(_show, width, name)
        self._file: IO[bytes] | None = None
        self._rest = b""

    def old(self) -> Iterator[str]:
        """Yield the lines that are there, the oldest first."""
        for age in range(LOG_FILES - 1, 0, -1):
            try:
                with Path(f"{self._path}.{age}").open("rb") as file:
                    for line in file:
                        yield self._show(line.rstrip(b"\n"))
            except FileNotFoundError:
                continue
        yield from self.new()

    def new(self) -> Iterator[str]:
        """Yield the lines written since the last call."""
        yield from self._read()
        if self._was_put_aside():
            # What was written to it between that read and now.
            yield from self._read()
            self.close()
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return  # it has not printed anything yet
            yield from self._read()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> Iterator[str]:
        while self._file is not None and (received := self._file.read(1 << 20)):
            *lines, self._rest = (self._rest + received).split(b"\n")
            yield from map(self._show, lines)

    def _was_put_aside(self) -> bool:
        if self._file is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False  # the run has ended, or it is just being put aside

    def _show(self, line: bytes) -> str:
        return self._show_line(line.decode(errors="replace"))


_STAMP_LENGTH = len("2026-01-31 12:00:00.000 ")


def _moment(line: str) -> str:
    return line[:_STAMP_LENGTH]


def _count(text: str) -> int:
    digits = text.lstrip("0") or text[:1]
    # By its length first: int() refuses, and a deque overflows at, what is absurd.
    if not (text.isascii() and text.isdigit() and len(digits) <= len(str(_MOST_LINES))):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines up to {_MOST_LINES}")
    return int(digits)


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
