"""Exceptions out of signal handlers, at the points where CPython runs such handlers.

CPython (3.10 and later) looks for signals after a call has returned, at the entry of a function,
and at the end of a loop's round; not between a C function and what a C function calls with its
result, nor between taking a lock in a `with` and the block. A profile function sees just these
points in the code under test, and what it raises appears there.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.protocol.scheduler import Process

_UNDER_TEST = str(Path(__file__).parents[2] / "dora_rt")
# Reads of an attribute or of a word are no calls for CPython, but they are for the stand-ins.
_NO_CALLS = frozenset({"__getitem__", "__setitem__", "__len__", "value", "__init__"})
_ENTER = "__enter__"
# What waits also raises before it has done anything.
_WAITS = frozenset({_ENTER, "wait"})


class Interrupted(BaseException):
    """What the signal handler raises: like KeyboardInterrupt, nothing to be swallowed."""


class Interrupter:
    """Raises `Interrupted` in one process, once, at one of its next points."""

    def __init__(self, is_running: Callable[[Process], bool]) -> None:
        self._is_running = is_running
        self._process: Process | None = None
        self._points = 0
        self._inside_c: set[int] = set()
        """Frames under test that are in the middle of a call of a C function."""
        self.passed = 0
        """Points that were passed since the start."""
        self.raised: list[str] = []
        """Where exceptions came out, for the trace."""

    def start(self, process: Process, points: int) -> None:
        """Interrupt a process after so many points; -1: only count them."""
        self._process, self._points, self.passed = process, points, 0
        self._inside_c.clear()
        sys.setprofile(self._profile)

    def forget(self, process: Process) -> None:
        """Interrupt a process no more: it is dead."""
        if process is self._process:
            self.stop()

    def stop(self) -> None:
        """Interrupt nobody."""
        if self._process is not None:
            self._process = None
            sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        process = self._process
        if process is None or not self._is_running(process):
            return
        code = frame.f_code
        if code.co_filename.startswith(_UNDER_TEST):
            if event == "c_call":
                self._inside_c.add(id(frame))
                return
            if event == "c_exception":
                self._inside_c.discard(id(frame))
                return
            if event == "c_return":
                self._inside_c.discard(id(frame))
            elif event == "return" and not _returns_to_one_under_test(frame):
                return
        elif (
            event not in ("call", "return")
            or code.co_name in _NO_CALLS
            or ((code.co_name == _ENTER) if event == "return" else (code.co_name not in _WAITS))
            or id(frame.f_back) in self._inside_c
            or not _is_called_by_one_under_test(frame)
            or not _calls(frame.f_back, code.co_name)
        ):
            return
        self.passed += 1
        if self._points < 0 or self.passed <= self._points:
            return
        self.stop()
        self.raised.append(_place_of(frame, event))
        raise Interrupted


def _place_of(frame: FrameType, event: str) -> str:
    places = []
    at: FrameType | None = frame
    while at is not None and len(places) < 4:
        places.append(f"{Path(at.f_code.co_filename).name}:{at.f_lineno} {at.f_code.co_name}")
        at = at.f_back
    return f"{event} " + " < ".join(places)


def _is_called_by_one_under_test(frame: FrameType) -> bool:
    return frame.f_back is not None and frame.f_back.f_code.co_filename.startswith(_UNDER_TEST)


def _returns_to_one_under_test(frame: FrameType) -> bool:
    """Tell whether a function gives its result to the code under test, and not to C between."""
    return _is_called_by_one_under_test(frame) and _called_by(frame.f_back) != ""


def _calls(frame: FrameType | None, name: str) -> bool:
    """Tell whether what a frame does now is to call a method of this name.

    Else it has called a function in C which calls that, and nothing comes between the two.
    """
    called = _called_by(frame)
    if name == "pass_through" and called == "pass_fence":
        return True  # kept under that name
    return called == name or (called == "with" and name.startswith("__"))


def _called_by(frame: FrameType | None) -> str:
    """Give the name of what a frame calls now; empty if that is the result of another call."""
    if frame is None:
        return ""
    key = frame.f_code, frame.f_lasti
    called = _called.get(key)
    if called is None:
        _called[key] = called = _find_called(*key)
    return called


_called: dict[tuple[CodeType, int], str] = {}


def _find_called(code: CodeType, at: int) -> str:
    before = [it for it in dis.get_instructions(code) if it.offset <= at]
    last = before.pop()
    if "WITH" in last.opname:
        return "with"
    while before:
        instruction = before.pop()
        name = instruction.opname
        if name in ("LOAD_METHOD", "LOAD_ATTR", "LOAD_GLOBAL"):
            return str(instruction.argval)
        if name.startswith(("CALL", "STORE", "POP", "JUMP")):
            break
        if name == "LOAD_CONST" and instruction.argval is None and not _has_callee(before):
            return "with"  # the three None for __exit__
    return ""


def _has_callee(before: list[dis.Instruction]) -> bool:
    for instruction in reversed(before):
        if instruction.opname in ("LOAD_METHOD", "LOAD_ATTR", "LOAD_GLOBAL"):
            return True
        if instruction.opname != "LOAD_CONST":
            return False
    return False
