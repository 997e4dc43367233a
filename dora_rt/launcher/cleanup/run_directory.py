"""The directory of a run, and its lock, which is free exactly when no process of it is left.

The lock is a BSD lock on the directory itself. It belongs to one open descriptor that the launcher,
its reaper and all nodes share, so it says what no process number can: whether a process of it
still lives. systemd-tmpfiles spares a folder that is locked like this, however old it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dora_rt.errors import LaunchError
from dora_rt.launcher.cleanup.leftovers import (
    SharedObject,
    find_mapped_runs,
    find_objects,
    find_objects_of,
    has_objects,
    unlink_objects,
)
from dora_rt.runs import MANIFEST_NAME, RUN_PATTERN, namespace_of_run
from dora_rt.units import counted, size

_NAME = re.compile(rf"({RUN_PATTERN})|\.new-({RUN_PATTERN})-\d+")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a run in its directory, for people and error messages only."""

    run: str
    file: str
    launcher_pid: int
    started: str
    """Wall time, for printing."""
    version: str
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """The objects removed of a dead run; `file` is None if its dataflow file is unknown."""

    run: str
    file: str | None
    objects: int
    nbytes: int

    def __str__(self) -> str:
        what = _amount(self.objects, self.nbytes)
        return f"reclaimed {what} of dead run {self.run} ({self.file or 'of an unknown file'})"


@dataclass(frozen=True, slots=True)
class Stray:
    """Shared objects without a run directory; `is_mapped` if a process of this user has them."""

    run: str
    objects: int
    nbytes: int
    is_mapped: bool

    def __str__(self) -> str:
        return f"{_amount(self.objects, self.nbytes)} of run {self.run}, which has no directory"


class _BaseGoneError(LaunchError):
    """The folder of all runs was removed while it was being used, or cannot be made."""


class RunDirectory:
    """The directory of this run, with its lock held; `lock_fd` is for its processes to inherit."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd

    @classmethod
    def create(cls, base: Path, manifest: Manifest) -> RunDirectory:
        """Make the directory; under its name it is never seen unlocked or without a manifest.

        Raises:
            FileExistsError: there is a run of this name.
            LaunchError: `base` cannot be trusted or written.
        """
        # Again and again: the last run of a name space removes the folder.
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(_BaseGoneError):
                return cls._create_in(base, manifest)
        return cls._create_in(base, manifest)

    @classmethod
    def _create_in(cls, base: Path, manifest: Manifest) -> RunDirectory:
        with _opened_base(base, create=True) as base_fd:
            try:
                unfinished, lock_fd = _make_locked(base_fd, manifest.run)
            except FileNotFoundError as error:
                raise _BaseGoneError(str(cannot_make(base / manifest.run, error))) from error
            except OSError as error:
                raise cannot_make(base / manifest.run, error) from error
            try:
                _write_manifest(lock_fd, manifest)
                os.rename(unfinished, manifest.run, src_dir_fd=base_fd, dst_dir_fd=base_fd)
            except OSError as error:
                os.close(lock_fd)
                shutil.rmtree(base / unfinished, ignore_errors=True)
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise FileExistsError(f"run {manifest.run} exists already") from error
                raise cannot_make(base / manifest.run, error) from error
        return cls(base / manifest.run, lock_fd)

    @property
    def logs(self) -> Path:
        """The folder of the nodes' log files."""
        return self.path / "logs"

    @property
    def trace(self) -> Path:
        """The folder of the trace files, which exists only in a traced run."""
        return self.path / "trace"

    @property
    def description(self) -> Path:
        """The file with the dataflow's description for nodes."""
        return self.path / "dataflow.json"

    def close(self) -> None:
        """Remove the directory, and release its lock only then."""
        if self.lock_fd < 0:
            return
        # What resists stays behind for the next launch, which tries again.
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock_fd)
        self.lock_fd = -1
        _leave_base(self.path.parent, self.path.name)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def new_run_name(namespace: str) -> str:
    """Draw a name for a run in a name space."""
    return secrets.token_hex(4) + (f".{namespace}" if namespace else "")


def has_run(base: Path, run: str) -> bool:
    """Return whether a directory or a shared object has the name of this run."""
    return os.path.lexists(base / run) or has_objects(run)


def reclaim(base: Path) -> list[Reclaimed]:
    """Remove the objects and the directory of every run without a living process.

    Raises:
        LaunchError: `base` cannot be trusted.
    """
    reclaimed = []
    with _opened_base(base, create=False) as base_fd:
        for name, run in _entries(base_fd):
            lock_fd = _take(base_fd, name)
            if lock_fd is None:
                continue
            try:
                manifest = _read_manifest(lock_fd)
                removed = find_objects_of(run)
                unlink_objects(removed)
                shutil.rmtree(base / name, ignore_errors=True)
            finally:
                os.close(lock_fd)
            if removed or name == run:
                file = None if manifest is None else manifest.file
                nbytes = sum(entry.nbytes for entry in removed)
                _leave_base(base, run)
                reclaimed.append(Reclaimed(run, file, len(removed), nbytes))
    return reclaimed


def find_living(base: Path) -> list[Manifest]:
    """Find the runs with a living process, but for those that are only just being made.

    Raises:
        LaunchError: `base` cannot be trusted.
    """
    living = []
    with _opened_base(base, create=False) as base_fd:
        for name, run in _entries(base_fd):
            if name != run:
                continue
            try:
                descriptor = os.open(name, _FOLDER, dir_fd=base_fd)
            except OSError:
                continue
            try:
                if not _lock(descriptor) and (manifest := _read_manifest(descriptor)) is not None:
                    living.append(manifest)
            finally:
                os.close(descriptor)
    return living


def find_strays(base: Path, namespace: str) -> list[Stray]:
    """Find the shared objects in a name space that belong to no run directory in its `base`.

    Their run may live all the same: launched with another $XDG_RUNTIME_DIR, or in a container that
    shares /dev/shm. A container's processes cannot be seen from here, so `is_mapped` is no proof.
    """
    objects: dict[str, list[SharedObject]] = {}
    for entry in find_objects(namespace):
        objects.setdefault(entry.run, []).append(entry)
    with _opened_base(base, create=False) as base_fd:
        known = {run for _, run in _entries(base_fd)}
    mapped = find_mapped_runs() if objects.keys() - known else set()
    return [
        Stray(run, len(entries), sum(entry.nbytes for entry in entries), run in mapped)
        for run, entries in sorted(objects.items())
        if run not in known
    ]


def check_base_folder(base: Path) -> None:
    """See that the folder of all runs is this user's, if it is there.

    Raises:
        LaunchError: it belongs to another user, or others may write to it.
    """
    with _opened_base(base, create=False):
        pass


@contextmanager
def _opened_base(base: Path, *, create: bool) -> Iterator[int | None]:
    """Open the folder of all runs, checked; None if it does not exist and shall not be made."""
    try:
        if create:
            _make_base(base)
        _check_base(base, os.lstat(base))
        descriptor = os.open(base, _FOLDER)
    except FileNotFoundError as error:
        if create:
            raise _BaseGoneError(str(cannot_make(base, error))) from error
        yield None
        return
    except OSError as error:
        raise cannot_make(base, error) from error
    try:
        # Again, of what was opened: it may not be what was looked at.
        _check_base(base, os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def _leave_base(base: Path, run: str) -> None:
    """Remove the folder of all runs of a name space, of which a machine may see many, if empty."""
    if namespace_of_run(run):
        # Not empty: another run is there, or is just being made.
        with contextlib.suppress(OSError):
            base.rmdir()


def _make_base(base: Path) -> None:
    try:
        base.mkdir(0o700)
    except FileExistsError:
        return
    # The umask may have taken bits away from the mode.
    base.chmod(0o700)


def _check_base(base: Path, status: os.stat_result) -> None:
    expected = f"expected a folder of user {os.geteuid()} with mode 700"
    if not stat.S_ISDIR(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no folder"
        raise LaunchError(f"{base} is {what}; {expected}: find out who made it, and remove it")
    if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
        return
    raise LaunchError(
        f"{base} belongs to user {status.st_uid} with mode {stat.S_IMODE(status.st_mode):o}; "
        f"{expected}: "
        + (
            f"chmod 700 {base}"
            if status.st_uid == os.geteuid()
            else "find out who made it, or set XDG_RUNTIME_DIR to a folder of your own"
        )
    )


def _make_locked(base_fd: int | None, run: str) -> tuple[str, int]:
    """Make a directory under a temporary name; return that name and the lock's descriptor."""
    for attempt in range(_ATTEMPTS):
        name = f".new-{run}-{attempt}"
        os.mkdir(name, 0o700, dir_fd=base_fd)
        # Until it is locked, another launch may take it for one of a dead run, and remove it.
        lock_fd = _take(base_fd, name)
        if lock_fd is not None:
            os.fchmod(lock_fd, 0o700)
            return name, lock_fd
    raise OSError(errno.EBUSY, f"removed {_ATTEMPTS} times while it was being made")


def _take(base_fd: int | None, name: str) -> int | None:
    """Open and lock a run directory; None if it is locked, or is none (any more)."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=base_fd)
    except OSError:
        return None
    if _lock(descriptor) and _is_named(base_fd, name, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(base_fd: int | None, name: str, descriptor: int) -> bool:
    # Its lock may be that of a directory that was removed while this process waited for it.
    try:
        named = os.stat(name, dir_fd=base_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def _entries(base_fd: int | None) -> list[tuple[str, str]]:
    """Return name and run of a path that looks like a run directory, finished or not."""
    if base_fd is None:
        return []
    with os.scandir(base_fd) as entries:
        matches = [(entry.name, _NAME.fullmatch(entry.name)) for entry in entries]
    return sorted((name, match[1] or match[2]) for name, match in matches if match is not None)


def _write_manifest(folder_fd: int, manifest: Manifest) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(MANIFEST_NAME, flags, 0o600, dir_fd=folder_fd)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(manifest), file, indent=1)


def _read_manifest(folder_fd: int) -> Manifest | None:
    try:
        descriptor = os.open(MANIFEST_NAME, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder_fd)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            fields = json.load(file)
        return Manifest(**{**fields, "processes": tuple(fields["processes"])})
    except (OSError, ValueError, TypeError, KeyError):
        # Its launcher was killed in the middle of writing it, or has another version.
        return None


def _amount(objects: int, nbytes: int) -> str:
    return f"{counted(objects, 'object')} ({size(nbytes)})"


def cannot_make(path: Path, error: OSError) -> LaunchError:
    """Return the error that names what cannot be made in a run directory."""
    return LaunchError(
        f"cannot make {path}: {error.strerror}; set XDG_RUNTIME_DIR to a folder of your own"
    )
