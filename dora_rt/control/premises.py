"""What a run cannot do without, looked at before anything exists."""

from __future__ import annotations

import os

from dora_rt.data.shm import SHM_DIRECTORY
from dora_rt.errors import LaunchError

_OWN_RIGHTS = 0o700


def check_shared_memory() -> None:
    """See that objects in shared memory can be made, and be opened by those who have made them.

    Raises:
        LaunchError: they cannot.
    """
    if not SHM_DIRECTORY.is_dir():
        raise LaunchError(
            f"{SHM_DIRECTORY} is not there: mount it (mount -t tmpfs -o mode=1777 tmpfs "
            f"{SHM_DIRECTORY})"
        )
    if os.statvfs(SHM_DIRECTORY).f_flag & os.ST_RDONLY:
        raise LaunchError(
            f"{SHM_DIRECTORY} is read-only: mount it writable (mount -o remount,rw {SHM_DIRECTORY})"
        )
    if not os.access(SHM_DIRECTORY, os.W_OK | os.X_OK):
        mode = SHM_DIRECTORY.stat().st_mode & 0o7777
        raise LaunchError(
            f"{SHM_DIRECTORY} cannot be written by user {os.geteuid()} (its mode is {mode:04o}, "
            f"1777 is usual): chmod 1777 {SHM_DIRECTORY}"
        )
    umask = os.umask(0)
    os.umask(umask)
    if umask & _OWN_RIGHTS:
        raise LaunchError(
            f"the umask {umask:03o} takes from this user the rights to what it makes itself: "
            "set it to 077 or 022"
        )
