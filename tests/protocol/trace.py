"""Shows a schedule step by step: each access to what is shared, by whom, and what it gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.protocol.implementation import Implementation
from tests.protocol.memory import Handle, Mapping, Words
from tests.protocol.schedule import Kind, Schedule
from tests.protocol.scheduler import Process, Scheduler
from tests.protocol.substitutes import here

Line = Callable[[str], None]


@contextmanager
def traced(write: Line) -> Iterator[None]:
    """Give a line to `write` for each access until the block ends; the schedule stays the same."""
    originals = [(kind, name, kind.__dict__[name]) for kind, name in _METHODS]
    try:
        for kind, name, original in originals:
            setattr(kind, name, _traced(kind, name, original, write))
        yield
    finally:
        for kind, name, original in originals:
            setattr(kind, name, original)


_METHODS: tuple[tuple[type, str], ...] = (
    (Words, "__getitem__"),
    (Words, "__setitem__"),
    (Mapping, "read"),
    (Mapping, "write"),
    (Handle, "value"),
    (Handle, "acquire"),
    (Handle, "release"),
    (Handle, "wait"),
    (Handle, "close"),
    (Scheduler, "kill"),
)


def _traced(kind: type, name: str, original: Any, write: Line) -> Any:
    function = original.fget if isinstance(original, property) else original

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            result = function(self, *arguments, **named)
        except BaseException as error:
            write(f"{_who()} {_what(self)}.{name}{_shown(arguments)} -> {type(error).__name__}")
            raise
        if not (arguments and isinstance(arguments[0], slice) and kind is Words):
            write(f"{_who()} {_what(self)}.{name}{_shown(arguments)} -> {result!r}")
        return result

    # So that exceptions of signal handlers come at the same points.
    method.__code__ = method.__code__.replace(co_name=name)
    return property(method) if isinstance(original, property) else method


def _who() -> str:
    process = here.scheduler.process
    thread = here.scheduler.thread
    name = "-" if process is None else process.name if thread is None else thread.name
    return f"{here.scheduler.steps:5} {name:10}"


def _what(what: Any) -> str:
    if isinstance(what, Words):
        return f"{what._cells.name}+{what._base}"
    if isinstance(what, Mapping):
        return what._segment.name
    return what.name if isinstance(what, Handle) else "scheduler"


def _shown(arguments: tuple[Any, ...]) -> str:
    return f"({', '.join(it.name if isinstance(it, Process) else str(it) for it in arguments)})"


def show(kind: Kind, seed: int, implementation: Implementation) -> int:
    """Run one schedule and print every step of it; 1 if something was violated."""
    with implementation.put_under(), traced(print):
        schedule = Schedule(implementation, kind, seed)
        print(schedule.flow)
        result = schedule.run()
    for place in schedule.scheduler.interrupter.raised:
        print("an exception came out at", place)
    print("killed:", schedule.scheduler.kills)
    print(result.violation or "nothing was violated")
    return 1 if result.violation else 0
