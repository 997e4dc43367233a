"""Know what of this computer a dataflow file is checked against."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

_ONLINE_CORES = Path("/sys/devices/system/cpu/online")


@dataclass(frozen=True, slots=True)
class Host:
    """The computer that a file refers to; None leaves the values that depend on it unchecked.

    Attributes:
        environ: what `${NAME}` stands for.
        cores: numbers of the cores that nodes may be bound to.
        memory_nbytes: of RAM.
        folder: the folder of the dataflow file and of the paths in it.
        has_strict_types: whether types that do not fit are errors, whatever the file says.
        machine: which machine of the file it is; None: it runs all of it.
        arguments: what is given for `arguments:` of the file.
    """

    environ: Mapping[str, str] | None = None
    cores: tuple[int, ...] | None = None
    memory_nbytes: int | None = None
    folder: Path | None = None
    has_strict_types: bool = False
    machine: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    def of(self, machine: str | None) -> Host:
        """Return the computer that a node refers to: nothing is known of another machine."""
        if machine is None or self.machine in (None, machine):
            return self
        return replace(self, cores=None, memory_nbytes=None, folder=None)


def this_host(
    environ: Mapping[str, str] | None,
    folder: Path,
    *,
    has_strict_types: bool = False,
    machine: str | None = None,
    arguments: Mapping[str, str] | None = None,
) -> Host:
    """Look at the computer that this process runs on."""
    memory_nbytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Host(
        environ,
        _online_cores(),
        memory_nbytes if memory_nbytes > 0 else None,
        folder,
        has_strict_types,
        machine,
        arguments or {},
    )


def _online_cores() -> tuple[int, ...]:
    # Not sched_getaffinity: cores that isolcpus sets aside are missing there, and those are what
    # real-time nodes are bound to.
    try:
        return parse_cores(_ONLINE_CORES.read_text())
    except (OSError, ValueError):
        return tuple(range(os.cpu_count() or 1))


def parse_cores(text: str) -> tuple[int, ...]:
    """Parse the kernel's spelling of a set of cores, such as `0-3,6`.

    Raises:
        ValueError: it is none.
    """
    cores: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cores += range(int(first), int(last or first) + 1)
    return tuple(cores)
