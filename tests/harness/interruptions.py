"""Raises what a signal handler raises, at each moment at which one may run."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

CAN_RAISE_EVERYWHERE = sys.version_info < (3, 12)


class Interrupted(BaseException):
    """What a signal handler raised."""


class Code:
    """Where in a function the interpreter looks whether a signal has come.

    It looks behind each call, when it jumps back, and at the beginning.
    """

    def __init__(self, code: types.CodeType) -> None:
        self._names = {step.offset: step.opname for step in dis.get_instructions(code)}
        self._handlers = [
            (entry.start, entry.end, entry.target)
            for entry in getattr(dis, "_parse_exception_table", lambda _: ())(code)
        ]

    def is_moment(self, last: int | None, offset: int) -> bool:
        if last is None or not self._names[last].startswith(("CALL", "JUMP_BACKWARD", "RESUME")):
            return False
        # The exception comes out of the call. Here it is raised before the next opcode, which is
        # the same only where the same `except` or `with` would have it.
        return self._handler(last) == self._handler(offset)

    def starts_handler(self, offset: int) -> bool:
        return self._names[offset] == "PUSH_EXC_INFO"

    def _handler(self, offset: int) -> int | None:
        found = [target for start, end, target in self._handlers if start <= offset < end]
        return found[-1] if found else None


code_of = functools.cache(Code)


@contextmanager
def interrupting(
    at: Collection[int],
    is_interrupted: Callable[[str], bool],
    error: Callable[[], BaseException] = Interrupted,
    *,
    everywhere: bool = False,
) -> Iterator[list[int]]:
    """Raise at the moments with these numbers, counted from 1.

    Args:
        at: the numbers.
        is_interrupted: whether the moments of the code of a file count.
        error: makes what is raised.
        everywhere: count each opcode as a moment, also where no signal handler would run, as long
            as the interpreter bears it: since Python 3.12 it does not leave a `with` block in order
            then.

    Yields:
        A list with the number of moments that have passed, which grows.
    """
    count = [0]
    moments = frozenset(at)
    last: dict[types.FrameType, int] = {}

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if not is_interrupted(frame.f_code.co_filename):
            return None
        # In this order: since Python 3.13 opcodes are only traced in a frame that is traced.
        frame.f_trace = trace
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            code = code_of(frame.f_code)
            if everywhere and CAN_RAISE_EVERYWHERE:
                # At the entry of an exception handler the frame would leak.
                is_moment = not code.starts_handler(frame.f_lasti)
            else:
                is_moment = code.is_moment(last.get(frame), frame.f_lasti)
            last[frame] = frame.f_lasti
            if is_moment:
                count[0] += 1
                if count[0] in moments:
                    raise error()
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(previous)
        last.clear()
