"""Whether this machine lets a plan have what it needs, asked before anything exists."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dora_rt.errors import LaunchError
from dora_rt.plan.kernel_need import Footprints, find_footprints
from dora_rt.plan.plan import Plan
from dora_rt.transport.primitives.shm import SHM_DIRECTORY
from dora_rt.units import counted

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the kernel allows this process; None: as much as one likes.

    Attributes:
        descriptors: open files of a process, and
        most_descriptors: up to which number a user may raise that.
        open_descriptors: how many of them this process has open already.
        mappings: of a process.
        user_tasks: processes and threads that this user may have more.
        group_tasks: the same for the control group, such as a container.
    """

    descriptors: int
    most_descriptors: int
    open_descriptors: int
    mappings: int | None
    user_tasks: int | None
    group_tasks: int | None


def find_limits() -> Limits:
    """Ask this machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits(
        descriptors=soft,
        most_descriptors=hard,
        open_descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        mappings=_read_number(Path("/proc/sys/vm/max_map_count")),
        user_tasks=_find_user_tasks(),
        group_tasks=_find_group_tasks(),
    )


def check_limits(plan: Plan, limits: Limits) -> list[str]:
    """Compare what a plan needs with what there is.

    Returns:
        What may become too little, if every slot of every edge is used at some time.

    Raises:
        LaunchError: something is too little from the start; says how much there has to be.
    """
    need = find_footprints(plan, limits.open_descriptors)
    _check_descriptors(len(plan.processes), need, limits)
    _check_tasks(plan, need, limits)
    return _check_mappings(need, limits)


def _check_descriptors(processes: int, need: Footprints, limits: Limits) -> None:
    needed = need.launcher.descriptors
    if limits.descriptors < needed:
        raise LaunchError(
            f"the launcher of {counted(processes, 'process')} needs {needed} open files, and "
            f"{limits.descriptors} are allowed here: {_raise_descriptors(needed, limits)}"
        )
    largest = max(need.nodes, key=lambda node: node.descriptors, default=need.launcher)
    if limits.descriptors < largest.descriptors:
        raise LaunchError(
            f"node {largest.name} needs {largest.descriptors} open files for its edges, and "
            f"{limits.descriptors} are allowed here: "
            f"{_raise_descriptors(largest.descriptors, limits)}"
        )


def _raise_descriptors(needed: int, limits: Limits) -> str:
    if needed <= limits.most_descriptors:
        return f"raise the limit (ulimit -n {needed})"
    return (
        f"raise the hard limit, which is {limits.most_descriptors} (nofile in "
        f"/etc/security/limits.conf, LimitNOFILE={needed} of a service, docker run --ulimit "
        f"nofile={needed})"
    )


def _check_tasks(plan: Plan, need: Footprints, limits: Limits) -> None:
    if limits.user_tasks is not None and limits.user_tasks < need.tasks:
        raise LaunchError(
            f"{plan.file} needs {need.tasks} processes, and this user may have "
            f"{limits.user_tasks} more (threads count as well): raise the limit (ulimit -u, nproc "
            "in /etc/security/limits.conf, LimitNPROC= of a service)"
        )
    if limits.group_tasks is not None and limits.group_tasks < need.tasks:
        raise LaunchError(
            f"{plan.file} needs {need.tasks} processes, and this container or service may have "
            f"{limits.group_tasks} more (threads count as well): raise its limit (docker run "
            "--pids-limit, TasksMax= of a service)"
        )


def _check_mappings(need: Footprints, limits: Limits) -> list[str]:
    if limits.mappings is None or not need.nodes:
        return []
    largest = max(need.launcher, *need.nodes, key=lambda process: process.mappings)
    if limits.mappings < largest.mappings:
        raise LaunchError(
            f"{largest.name} needs {largest.mappings:,} mappings of memory, and vm.max_map_count "
            f"allows {limits.mappings:,}: sysctl -w vm.max_map_count={2 * largest.mappings}"
        )
    largest = need.largest
    if limits.mappings >= largest.most_mappings:
        return []
    return [
        f"if every slot of its edges is used at some time, node {largest.name} needs "
        f"{largest.most_mappings:,} mappings of memory, and vm.max_map_count allows "
        f"{limits.mappings:,}: give its edges shorter queues (queue_size, max_held), or: sysctl "
        f"-w vm.max_map_count={2 * largest.most_mappings}"
    ]


def _find_user_tasks() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    # The kernel does not ask root.
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:
        return None
    tasks = 0
    for process in Path("/proc").glob("[0-9]*"):
        # Gone meanwhile, or hidden from us: then the kernel will tell when it is too much.
        with suppress(OSError):
            if process.stat().st_uid == os.getuid():
                tasks += sum(1 for _ in (process / "task").iterdir())
    return max(limit - tasks, 0)


def _find_group_tasks() -> int | None:
    """Find what the control group of this process, and those it is in, leave of `pids.max`."""
    rooms = []
    for folder in _pids_groups():
        most, present = _read_number(folder / "pids.max"), _read_number(folder / "pids.current")
        if most is not None and present is not None:
            rooms.append(max(most - present, 0))
    return min(rooms, default=None)


def _pids_groups() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "pids" not in controllers.split(","):
            continue
        root = _CGROUPS / "pids" if controllers else _CGROUPS
        group = root / path.removeprefix("/")
        # What is outside of a container's own tree is not to be seen from inside.
        folders += [group, *(parent for parent in group.parents if parent.is_relative_to(root))]
    return folders


def _read_number(path: Path) -> int | None:
    """Read a number; None where there is no such file, or it says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


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
