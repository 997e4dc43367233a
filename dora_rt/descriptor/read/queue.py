"""Read the options of the queue in front of an input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.model import DEFAULT_MAX_HELD, DEFAULT_QUEUE_SIZE
from dora_rt.descriptor.tree.problems import Problems, quote
from dora_rt.descriptor.tree.quantities import (
    MAX_SLOT_NBYTES,
    parse_duration_s,
    parse_integer,
    parse_nbytes,
)
from dora_rt.node_config import QueuePolicy

MAX_QUEUE_SIZE = 1024
MAX_MAX_HELD = 64

# dora's word; there it drops all the same, here it does what it says.
_POLICIES = {policy.value: policy for policy in QueuePolicy} | {"backpressure": QueuePolicy.BLOCK}


@dataclass(frozen=True, slots=True)
class Queue:
    """The options of one queue, with their defaults; `is_sized` if the file says how long it is."""

    size: int = DEFAULT_QUEUE_SIZE
    is_sized: bool = False
    policy: QueuePolicy = QueuePolicy.DROP_OLDEST
    max_held: int = DEFAULT_MAX_HELD
    slot_nbytes: int | None = None


# The receiving node makes its ticks itself; if it is late, one tick waits for it, not ten.
TIMER_QUEUE = Queue(size=1, is_sized=True, policy=QueuePolicy.LATEST)


def read_queue(fields: Fields, default: Queue, problems: Problems) -> Queue:
    """Read the queue of an input that reads from an output; `default` has what it does not say."""
    policy = _read_policy(fields, problems)
    size = _read_integer(fields, "queue_size", MAX_QUEUE_SIZE)
    max_held = _read_integer(fields, "max_held", MAX_MAX_HELD)
    if policy is QueuePolicy.LATEST and size not in (None, 1):
        problems.add(
            fields.place_of("queue_size"),
            f"{fields.owner} has queue_policy 'latest', which keeps one sample, "
            f"but queue_size {size}",
            "remove 'queue_size', or use drop_oldest",
        )
    return Queue(
        size=1 if policy is QueuePolicy.LATEST else size or default.size,
        is_sized=size is not None or policy is QueuePolicy.LATEST,
        policy=policy,
        max_held=max_held or default.max_held,
        slot_nbytes=_read_slot_nbytes(fields),
    )


def read_timer_queue(fields: Fields, problems: Problems) -> Queue:
    """Read the options of a timer's input: there is no queue, but dora's files may give a size."""
    if _read_integer(fields, "queue_size", MAX_QUEUE_SIZE) is not None:
        problems.note(
            fields.key_place("queue_size"), "'queue_size' has no effect on a timer: ignored"
        )
    if read_input_timeout_s(fields) is not None:
        problems.note(
            fields.key_place("input_timeout"), "'input_timeout' has no effect on a timer: ignored"
        )
    for key in ("queue_policy", "slot_bytes", "max_held"):
        if fields.has(key):
            problems.add(
                fields.key_place(key),
                f"{quote(key)} has no meaning for {fields.owner}, which is a timer",
                "remove it",
            )
    return TIMER_QUEUE


def read_input_timeout_s(fields: Fields) -> float | None:
    """Read how long an input may be silent."""
    parse = partial(parse_duration_s, least_s=0.001, greatest_s=24 * 3600.0)
    return fields.parsed("input_timeout", parse)


def _read_policy(fields: Fields, problems: Problems) -> QueuePolicy:
    text = fields.string("queue_policy")
    if text is not None and text not in _POLICIES:
        problems.add(
            fields.place_of("queue_policy"),
            f"unknown queue_policy {quote(text)} of {fields.owner}",
            "use latest, drop_oldest or block",
        )
    return _POLICIES.get(text or "", QueuePolicy.DROP_OLDEST)


def _read_integer(fields: Fields, key: str, greatest: int) -> int | None:
    return fields.parsed(key, partial(parse_integer, least=1, greatest=greatest))


def _read_slot_nbytes(fields: Fields) -> int | None:
    return fields.parsed("slot_bytes", partial(parse_nbytes, least=1, greatest=MAX_SLOT_NBYTES))
