"""The log files of a run's nodes, bounded in size, and where those of a failed run are kept."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_rt.runs import RUN_PATTERN, namespace_of_run

LOG_NBYTES = 10 * 1024 * 1024
LOG_FILES = 3
KEPT_RUNS = 10
_RETRY_NS = 30 * 1_000_000_000
_KEPT_NAME = re.compile(rf"\d{{8}}-\d{{6}}-({RUN_PATTERN})")


@dataclass(frozen=True, slots=True)
class LogLimit:
    """How large a log file may become, and how many of a node there are, the newest included."""

    nbytes: int = LOG_NBYTES
    files: int = LOG_FILES


class RotatingFile:
    """`name.log`, and `name.log.1`, `.2`... as it was before; appended to, mode 0600."""

    def __init__(self, path: Path, *, nbytes: int = LOG_NBYTES, files: int = LOG_FILES) -> None:
        self.path = path
        self._nbytes = nbytes
        self._files = files
        self._descriptor = -1
        self._room = 0

    def create(self) -> None:
        """Make the file if it is not there.

        Raises:
            OSError: it cannot be made.
        """
        if self._descriptor < 0:
            self._open()

    def append(self, text: bytes) -> None:
        """Write whole lines.

        Raises:
            OSError: the disk is full or read-only; the file is opened anew at the next call.
        """
        try:
            if self._descriptor < 0:
                self._open()
            if len(text) > self._room < self._nbytes:
                self._rotate()
            view = memoryview(text)
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._room -= len(text)
        except OSError:
            self.close()
            raise

    def portions(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Put lines together as far as one file has room for them."""
        begin = nbytes = 0
        for end, line in enumerate(lines):
            if nbytes and nbytes + len(line) > self._nbytes:
                yield b"".join(lines[begin:end])
                begin, nbytes = end, 0
            nbytes += len(line)
        yield b"".join(lines[begin:])

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
        self._room = self._nbytes - os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        self.close()
        older = [self.path, *(Path(f"{self.path}.{age}") for age in range(1, self._files))]
        for source, target in reversed(list(itertools.pairwise(older))):
            if source.exists():
                source.replace(target)
        if self._files == 1:
            self.path.unlink(missing_ok=True)
        self._open()


class NodeLogs:
    """The log files of one run, one per node, in one folder.

    A full or read-only disk is reported once and tried again later: the flow goes on.
    """

    def __init__(
        self,
        folder: Path,
        *,
        warn: Callable[[str], None],
        limits: Mapping[str, LogLimit] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the folder, the function that warns of a full disk, and limits by node."""
        self.folder = folder
        self._limits = limits or {}
        self._warn = warn
        self._clock = clock
        self._wall_clock = wall_clock
        self._files: dict[str, RotatingFile] = {}
        self._has_warned = False
        self._retry_ns = 0

    def path(self, name: str) -> Path:
        """Return the file that has a node's newest lines."""
        return self.folder / f"{name}.log"

    def create(self, names: Iterable[str]) -> None:
        """Make empty files for nodes that have printed nothing yet.

        A follower of a file that goes with the run must have it open before its last lines come.
        """
        try:
            for name in names:
                self._file(name).create()
        except OSError as error:
            self._put_off(error)

    def write(self, name: str, lines: Sequence[str]) -> None:
        """Append lines to a node's log, with the time."""
        if not lines or self._retry_ns > self._clock():
            return
        now_s = self._wall_clock()
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now_s))
        stamp = f"{moment}.{int(now_s * 1000) % 1000:03}"
        stamped = [f"{stamp} {line}\n".encode("utf-8", "backslashreplace") for line in lines]
        try:
            file = self._file(name)
            for text in file.portions(stamped):
                file.append(text)
        except OSError as error:
            self._put_off(error)

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()

    def _file(self, name: str) -> RotatingFile:
        if name not in self._files:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            limit = self._limits.get(name, LogLimit())
            path = self.path(name)
            self._files[name] = RotatingFile(path, nbytes=limit.nbytes, files=limit.files)
        return self._files[name]

    def _put_off(self, error: OSError) -> None:
        self._retry_ns = self._clock() + _RETRY_NS
        if not self._has_warned:
            self._has_warned = True
            self._warn(
                f"the nodes' lines cannot be written to {self.folder}: {error.strerror}; the "
                "dataflow goes on, and it is tried again every 30 s (--log-dir DIR: elsewhere)"
            )

    def __enter__(self) -> NodeLogs:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def kept_logs_folder(environ: Mapping[str, str]) -> Path:
    """Return where the logs of failed runs are kept: `$XDG_STATE_HOME/dora_rt/logs`."""
    state = environ.get("XDG_STATE_HOME", "")
    # The specification of these folders says to ignore a relative path.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "dora_rt" / "logs"


def keep_logs(folder: Path, kept: Path, run: str) -> Path:
    """Move the logs of a failed run to where they stay, and forget older ones in its name space.

    Returns:
        Where they are now.

    Raises:
        OSError: they cannot be moved there.
    """
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = kept / f"{time.strftime('%Y%m%d-%H%M%S')}-{run}"
    # A copy, because the run directory is often in another file system than the home.
    shutil.copytree(folder, target, symlinks=True)
    shutil.rmtree(folder)
    matches = [_KEPT_NAME.fullmatch(path.name) for path in kept.iterdir()]
    namespace = namespace_of_run(run)
    runs = sorted(
        match[0] for match in matches if match and namespace_of_run(match[1]) == namespace
    )
    for name in runs[:-KEPT_RUNS]:
        shutil.rmtree(kept / name, ignore_errors=True)
    return target
