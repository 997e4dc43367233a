"""`dora-rt watch`: restarts a node, and no other, when one of its files has changed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.command_errors import RunEndedError
from dora_rt.cli.imported_files import source_files
from dora_rt.cli.run_client import HOW_RUNS_ARE_CALLED, ask, ask_description, connect
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dora_rt.run_status import Program
from dora_rt.runs import Connection, RefusedError, base_folder
from dora_rt.units import counted
from dora_rt.watchers import watching

_PAUSE_S = 0.2

_DESCRIPTION = """\
Watch the files of the nodes and operators of a running dataflow. When one has changed, restart its
node and no other: its queues stay, its peers go on. A file is watched if it is the node's script or
module, or if that imports it and it lies beside it or in its package. A file with
a syntax error restarts nothing."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "the run has ended, or Ctrl-C",
        EXIT_FAILED: "the run does not answer",
        EXIT_USAGE: "there is no such run",
    }
)

_EPILOG = f"""\
examples:
  dora-rt watch                    the only run, until it ends or Ctrl-C
  dora-rt watch dataflow.yml       this one
  dora-launch dataflow.yml --watch run it and watch it

{HOW_RUNS_ARE_CALLED}

{_EXIT_CODES}"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="which run, if there are several")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        with (
            connect(options.run, environ) as connection,
            # A node that has failed is about to be mended: meanwhile its source has no reader.
            watching(base_folder(environ), connection.run),
        ):
            watcher = _Watcher(connection)
            _tell(watcher.introduction())
            while True:
                time.sleep(_PAUSE_S)
                # The run may end without a change of any file.
                ask_description(connection)
                for line in watcher.look():
                    _tell(line)
    except RunEndedError:
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_OK  # this is how one ends it


def _tell(line: str) -> None:
    # In one write, also where PYTHONUNBUFFERED is set: the launcher writes to the same place.
    sys.stdout.write(f"watch: {line}\n")
    sys.stdout.flush()


class _Watcher:
    """The files of a run, and their contents when the present processes were started."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        description = ask_description(connection)
        self._dataflow = Path(description.file)
        self._programs: dict[str, Program] = {
            node.id: node.program for node in description.nodes if node.program is not None
        }
        self._files = {node: source_files(one) for node, one in self._programs.items()}
        self._stamps = self._read_stamps()
        self._contents = {path: _content(path) for path in self._stamps}

    def introduction(self) -> str:
        """Return the line that says what is watched."""
        watched = {path for files in self._files.values() for path in files}
        nodes = sum(bool(files) for files in self._files.values())
        what = f"{counted(len(watched), 'file')} of {counted(nodes, 'node')}"
        return f"{what}; a change restarts its node"

    def look(self) -> list[str]:
        """Restart each node of which a file has changed; return lines about it."""
        stamps = self._read_stamps()
        pending = {
            path: stamp
            for path, stamp in stamps.items()
            if stamp is not None and stamp != self._stamps.get(path)
        }
        if not pending:
            return []
        # Editors write in several steps: what goes on changing is looked at again.
        time.sleep(_PAUSE_S / 2)
        settled = [path for path, stamp in pending.items() if stamp == _stamp(path)]
        changed = [path for path in settled if self._note(path, pending[path])]
        lines = self._say_unreadable(changed)
        for node in self._files:
            lines += self._take(node, changed)
        if self._dataflow in changed:
            lines.append(f"{self._dataflow.name} has changed: that takes a new start of the run")
        return lines

    def _note(self, path: Path, stamp: tuple[int, int]) -> bool:
        """Store the content of a file; return whether it differs from what was stored."""
        content = _content(path)
        has_changed = content != self._contents.get(path)
        self._stamps[path] = stamp
        self._contents[path] = content
        return has_changed

    def _say_unreadable(self, changed: list[Path]) -> list[str]:
        problems = {path: _syntax_error(path) for path in changed}
        return [
            f"{self._shown(path)}:{problem}; its nodes go on as before"
            for path, problem in problems.items()
            if problem is not None
        ]

    def _take(self, node: str, changed: list[Path]) -> list[str]:
        concerned = [path for path in changed if path in self._files[node]]
        if not concerned or any(_syntax_error(path) is not None for path in concerned):
            return []
        lines = [f"{', '.join(map(self._shown, concerned))} changed: restarting {node}"]
        try:
            ask(self._connection, "restart", node=node, mended=True)
        except RefusedError as error:
            lines.append(str(error))
        # It may import other files now.
        self._files[node] = source_files(self._programs[node])
        for added in self._files[node] - self._contents.keys():
            self._stamps[added], self._contents[added] = _stamp(added), _content(added)
        return lines

    def _read_stamps(self) -> dict[Path, tuple[int, int] | None]:
        watched = {self._dataflow, *(path for files in self._files.values() for path in files)}
        return {path: _stamp(path) for path in watched}

    def _shown(self, path: Path) -> str:
        folder = self._dataflow.parent
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _syntax_error(path: Path) -> str | None:
    if path.suffix != ".py":
        return None
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{error.lineno}: {error.msg}"
    except (OSError, ValueError) as error:
        return f" {error}"
    return None


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
