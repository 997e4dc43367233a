"""The names of the shared objects of a run, in one place for all who create or attach them."""

from __future__ import annotations


def board(run: str) -> str:
    """Name the segment in which the launcher tells all nodes what they must know."""
    return f"/drt-{run}-board"


def doorbell(run: str, process: int) -> str:
    """Name the semaphore that a process sleeps on."""
    return f"/drt-{run}-n{process}"


def output(run: str, number: int) -> str:
    """Name the control segment of an output."""
    return f"/drt-{run}-o{number}"


def pool(run: str, number: int, generation: int) -> str:
    """Name one generation of an output's payload pool."""
    return f"/drt-{run}-o{number}g{generation}"


def edge(run: str, number: int) -> str:
    """Name the segment that an edge's reader writes."""
    return f"/drt-{run}-e{number}"


def returned(run: str, number: int) -> str:
    """Name the semaphore by which an edge's reader gives slots back."""
    return f"/drt-{run}-e{number}r"


def token(run: str, number: int, slot: int) -> str:
    """Name the token of one slot on one edge."""
    return f"/drt-{run}-e{number}t{slot}"
