"""The compiled part of the hot path, where it was built and can be loaded; else plain Python.

A class of the hot path inherits from a core (`_cores.pyx`), which has some of its fields and
methods in C. The Python methods are the reference, and do the work where there is no core: in the
wheel without compiled code, with free-threaded Pythons, and with DORA_RT_PURE=1 in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

PURE_VARIABLE = "DORA_RT_PURE"
"""Environment variable that leaves the compiled code out, with any value but 0 or nothing."""

WHY_NOT = ""
"""Why there is no compiled code at work; empty if there is."""


_NOT_BUILT = "not built; that takes gcc and python3-dev"


class Nothing:
    """In place of a core: nothing."""

    __slots__ = ()


if TYPE_CHECKING:
    from dora_rt.compiled import _cores
elif os.environ.get(PURE_VARIABLE, "0") not in ("", "0"):
    _cores = None
    WHY_NOT = f"{PURE_VARIABLE} is set"
else:
    try:
        from dora_rt.compiled import _cores
    except ImportError as error:
        _cores = None
        # Where there is no such file it is this package that lacks the name.
        WHY_NOT = _NOT_BUILT if error.name == __name__ else str(error)

_INTERFACE = 4
"""As in `_cores.pyx`: counted up there and here when what the two expect of each other changes."""

if not TYPE_CHECKING and _cores is not None and getattr(_cores, "INTERFACE", 0) != _INTERFACE:
    _cores = None
    WHY_NOT = "it was built from other sources; install dora_rt again"

IS_COMPILED: bool = _cores is not None
"""Whether the compiled code is at work in this process."""

if TYPE_CHECKING or IS_COMPILED:
    ArraySlotsCore = _cores.ArraySlotsCore
    DoorbellCore = _cores.DoorbellCore
    EventCore = _cores.EventCore
    HeaderReaderCore = _cores.HeaderReaderCore
    InboxCore = _cores.InboxCore
    LoanBookCore = _cores.LoanBookCore
    LoanCore = _cores.LoanCore
    PoolReaderCore = _cores.PoolReaderCore
    PoolWriterCore = _cores.PoolWriterCore
    PublisherCore = _cores.PublisherCore
    RingReaderCore = _cores.RingReaderCore
    RingWriterCore = _cores.RingWriterCore
    SessionCore = _cores.SessionCore
    SpinCore = _cores.SpinCore
    SubscriberCore = _cores.SubscriberCore
    TimerCore = _cores.TimerCore
    WriterEdgeCore = _cores.WriterEdgeCore
else:
    ArraySlotsCore = DoorbellCore = EventCore = HeaderReaderCore = InboxCore = Nothing
    LoanBookCore = LoanCore = SessionCore = Nothing
    PoolReaderCore = PoolWriterCore = PublisherCore = RingReaderCore = RingWriterCore = Nothing
    SpinCore = SubscriberCore = TimerCore = WriterEdgeCore = Nothing

_Kind = TypeVar("_Kind", bound=type)
_Function = TypeVar("_Function", bound=Callable[..., Any])
_OF_EACH_CLASS = frozenset({"__doc__", "__module__", "__slots__", "__new__", "__qualname__"})


def prefer_compiled(kind: _Kind) -> _Kind:
    """Let the methods of a class's core take the place of those of the same names.

    The Python method `name` is then called `plain_name`, for what its core leaves to it.
    """
    core = kind.__mro__[1]
    if core is not Nothing:
        for name in [name for name in vars(kind) if name in vars(core)]:
            if name not in _OF_EACH_CLASS:
                setattr(kind, f"plain_{name}", vars(kind)[name])
                delattr(kind, name)
    return kind


def prefer_compiled_function(function: _Function) -> _Function:
    """Return the compiled function of the same name, if there is one; it may call this one."""
    if not IS_COMPILED:
        return function
    _cores.use_plain(function)
    compiled: _Function = getattr(_cores, function.__name__)
    return compiled


def plain(kind: type, name: str) -> Any:
    """Return the Python method of a class, whether or not its core has one of the same name."""
    return getattr(kind, f"plain_{name}", None) or getattr(kind, name)


def slots(*names: str) -> tuple[str, ...]:
    """Return the `__slots__` of a class: none if its core has those fields."""
    return () if IS_COMPILED else names


def describe_code() -> str:
    """Say in a few words which code is at work."""
    return "compiled" if IS_COMPILED else f"pure Python: {WHY_NOT}"


__all__ = [
    "IS_COMPILED",
    "PURE_VARIABLE",
    "WHY_NOT",
    "ArraySlotsCore",
    "DoorbellCore",
    "EventCore",
    "HeaderReaderCore",
    "InboxCore",
    "LoanBookCore",
    "LoanCore",
    "PoolReaderCore",
    "PoolWriterCore",
    "PublisherCore",
    "RingReaderCore",
    "RingWriterCore",
    "SessionCore",
    "SpinCore",
    "SubscriberCore",
    "TimerCore",
    "WriterEdgeCore",
    "_cores",
    "describe_code",
    "plain",
    "prefer_compiled",
    "prefer_compiled_function",
    "slots",
]
