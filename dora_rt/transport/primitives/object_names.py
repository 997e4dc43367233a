"""Names of the shared objects of a run, in one place for creators and for attachers."""

from __future__ import annotations


def board(run: str) -> str:
    """Return the name of the board of a run."""
    return f"/drt-{run}-board"


def clock(run: str) -> str:
    """Return the name of the segment with the clock of a run, if its dataflow has one."""
    return f"/drt-{run}-clock"


def doorbell(run: str, process: int) -> str:
    """Name the semaphore that a process sleeps on."""
    return f"/drt-{run}-n{process}"


def output(run: str, number: int, generation: int) -> str:
    """Name the control segment of an output; each start of its node has a generation of its own."""
    return f"/drt-{run}-o{number}.{generation}"


def pool(run: str, number: int, generation: int, growth: int) -> str:
    """Name the payload pool of an output after it has grown so often."""
    return f"/drt-{run}-o{number}.{generation}g{growth}"


def pools(run: str, number: int, generation: int) -> str:
    """Return the common prefix of the names of all pools of an output."""
    return f"/drt-{run}-o{number}.{generation}g"


def edge(run: str, number: int, generation: int) -> str:
    """Name the segment that an edge's reader writes; a restart of either end makes a new one."""
    return f"/drt-{run}-e{number}.{generation}"


def returned(run: str, number: int, generation: int) -> str:
    """Return the name of the semaphore that announces slots given back by an edge's reader."""
    return f"/drt-{run}-e{number}.{generation}r"


def token(run: str, number: int, generation: int, slot: int) -> str:
    """Name the token of one slot on one edge."""
    return f"/drt-{run}-e{number}.{generation}t{slot}"


def pulse(run: str, process: int) -> str:
    """Name the segment in which a process shows that it is alive."""
    return f"/drt-{run}-p{process}"
