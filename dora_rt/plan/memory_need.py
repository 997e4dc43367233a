"""Shared memory that a plan needs, compared with the room in /dev/shm."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

from dora_rt.errors import SharedMemoryFullError
from dora_rt.node_config import OutputConfig
from dora_rt.plan.plan import Plan
from dora_rt.transport.board import board_nbytes
from dora_rt.transport.primitives.shm import SHM_DIRECTORY, Room
from dora_rt.transport.ring import protocol
from dora_rt.units import counted, size

DOCKER_DEFAULT_NBYTES = 64 * 2**20
_MIB = 2**20
_SHOWN_OUTPUTS = 10


@dataclass(frozen=True, slots=True)
class OutputNeed:
    """What one output allocates before the nodes start; `slot_nbytes` 0: its pool grows later."""

    source: str
    slots: int
    slot_nbytes: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Need:
    """What a whole plan allocates before its nodes start, and what its tokens may add to that.

    A token is made when its slot is first used for its reader, so most never are.
    """

    nbytes: int
    objects: int
    outputs: tuple[OutputNeed, ...]
    most_tokens: int
    most_tokens_nbytes: int


def find_need(plan: Plan, page_nbytes: int = mmap.PAGESIZE) -> Need:
    """Add up the shared memory of a plan, in whole pages as the kernel gives it."""
    sources = {
        output.number: f"{process.name}/{output.id}"
        for process in plan.processes
        for output in process.config.outputs
    }
    sources |= {edge.output.number: edge.source for edge in plan.edges if edge.output is not None}
    outputs = [
        OutputNeed(
            source=sources[output.number],
            slots=output.slots,
            slot_nbytes=output.slot_nbytes,
            nbytes=_output_nbytes(output, page_nbytes),
        )
        for output in plan.outputs
    ]
    # For each process a doorbell, and a page in which it shows that it is alive.
    processes = len(plan.processes)
    common = _pages(board_nbytes(processes, len(plan.edges)), page_nbytes)
    common += 2 * processes * page_nbytes
    edges = [edge for output in plan.outputs for edge in output.edges]
    most_tokens = sum(edge.slots for edge in edges)
    return Need(
        nbytes=common + sum(need.nbytes for need in outputs),
        # An edge has a segment and `returned`; an output has a pool from the first sample on.
        objects=1 + 2 * processes + 2 * len(outputs) + 2 * len(edges),
        outputs=tuple(outputs),
        most_tokens=most_tokens,
        most_tokens_nbytes=most_tokens * page_nbytes,
    )


def check_room(plan: Plan, room: Room) -> None:
    """Check that a plan fits, before anything of it is made.

    Raises:
        SharedMemoryFullError: it does not; says what needs how much, and what can be done.
    """
    need = find_need(plan)
    if need.nbytes > room.free_nbytes:
        raise no_room(plan, room)
    if room.free_objects is not None and need.objects > room.free_objects:
        raise SharedMemoryFullError(
            f"{plan.file} needs {need.objects:,} objects in {SHM_DIRECTORY}, which has room for "
            f"{room.free_objects:,} more (inodes): "
            f"`mount -o remount,nr_inodes={2 * (need.objects + need.most_tokens)} {SHM_DIRECTORY}`"
        )


def most_note(plan: Plan, room: Room) -> str | None:
    """Return a note if the memory is too small for all slots in use at once, else None."""
    need = find_need(plan)
    most_nbytes = need.nbytes + need.most_tokens_nbytes
    most_objects = need.objects + need.most_tokens
    has_memory = most_nbytes <= room.free_nbytes
    if has_memory and (room.free_objects is None or most_objects <= room.free_objects):
        return None
    free = (
        "" if room.free_objects is None else f" and room for {counted(room.free_objects, 'object')}"
    )
    return (
        f"if every slot of every edge is used at some time, {plan.file} needs "
        f"{size(most_nbytes)} and {most_objects:,} objects before the samples, and {SHM_DIRECTORY} "
        f"has {size(room.free_nbytes)} free{free}; shorter queues (queue_size, max_held) need less"
    )


def no_room(plan: Plan, room: Room) -> SharedMemoryFullError:
    """Return the error for a plan that does not fit, or no longer fitted when it was made."""
    need = find_need(plan)
    outputs = sorted(need.outputs, key=lambda output: output.nbytes, reverse=True)
    lines = [
        f"{plan.file} needs {size(need.nbytes)} of shared memory, {SHM_DIRECTORY} has "
        f"{size(room.free_nbytes)} free (of {size(room.nbytes)}):"
    ]
    lines += [f"  {size(output.nbytes):>10}  {_explain(output)}" for output in outputs]
    if len(outputs) > _SHOWN_OUTPUTS:
        rest = outputs[_SHOWN_OUTPUTS:]
        del lines[1 + _SHOWN_OUTPUTS :]
        rest_nbytes = sum(output.nbytes for output in rest)
        lines.append(f"  {size(rest_nbytes):>10}  {counted(len(rest), 'more output')}")
    used_nbytes = room.nbytes - room.free_nbytes
    lines.append(
        "lower slot_bytes, queue_size or max_held of their inputs, or make it larger: "
        f"`mount -o remount,size={_next_size_mib(need.nbytes + used_nbytes)}m {SHM_DIRECTORY}`, "
        f"in a container `docker run --shm-size={_next_size_mib(need.nbytes + used_nbytes)}m`"
    )
    return SharedMemoryFullError("\n".join(lines))


def room_note(room: Room) -> str | None:
    """Return a warning of Docker's default, too small for pictures; None if there is more."""
    if room.nbytes > DOCKER_DEFAULT_NBYTES:
        return None
    return (
        f"{SHM_DIRECTORY} has only {size(room.nbytes)} ({size(room.free_nbytes)} free), as in a "
        "container that was started without --shm-size; pictures may not find room: "
        "docker run --shm-size=512m"
    )


def _output_nbytes(output: OutputConfig, page_nbytes: int) -> int:
    # A semaphore, as `returned` of each edge, is a file of 32 bytes: one page.
    edges = sum(
        _pages(protocol.edge_nbytes(edge.slots), page_nbytes) + page_nbytes for edge in output.edges
    )
    return (
        _pages(protocol.output_nbytes(output.slots, output.edge_count), page_nbytes)
        + edges
        + _pages(output.slots * output.slot_nbytes, page_nbytes)
    )


def _explain(output: OutputNeed) -> str:
    if not output.slot_nbytes:
        return f"{output.source} (its samples come on top: no slot_bytes)"
    return f"{output.source} ({counted(output.slots, 'slot')} of {size(output.slot_nbytes)})"


def _pages(nbytes: int, page_nbytes: int) -> int:
    return -(-nbytes // page_nbytes) * page_nbytes


def _next_size_mib(nbytes: int) -> int:
    # A power of two with a quarter to spare, as people write it.
    return 1 << (-(-nbytes * 5 // (4 * _MIB)) - 1).bit_length()
