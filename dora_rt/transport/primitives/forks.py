"""Forks of a node's process: what they inherit stays as it is, and is not theirs to change.

A fork goes on using the views of samples that were there when it began, so their slots are not
given back before it has ended. This process cannot wait for that: the child may be waited for by
other code, or have children of its own. But the kernel knows who has a page mapped. Before
each fork a page is made, which from then on only the fork has, and what that forks in turn, until
it ends or becomes another program: and a file without a writable mapping can be sealed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import threading
import weakref
from typing import Protocol

from dora_rt.errors import NodeClosedError

is_forked = False
_is_watching = False


class Lender(Protocol):
    """An object that may have handed out views of shared memory."""

    def keep_for(self, heirs: Heirs) -> bool:
        """Keep memory that is lent now from being overwritten before `heirs` are gone.

        Called in any thread, at any moment.

        Returns:
            Whether `are_gone` of them, or of others, will be asked.
        """


class Heirs:
    """A fork of this process, and what that forks in turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._are_gone = False
        self._descriptor = -1
        self._page: mmap.mmap | None = None
        # Where there is no such file (a Python for an old C library, no descriptor left), the forks
        # are taken for alive until the end.
        with contextlib.suppress(AttributeError, OSError):
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            self._descriptor = os.memfd_create("dora_rt-heirs", flags)
            os.ftruncate(self._descriptor, mmap.PAGESIZE)
            self._page = mmap.mmap(self._descriptor, mmap.PAGESIZE)

    def begin(self) -> None:
        """Leave the page to the fork, in its parent."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def inherit(self) -> None:
        """Keep the page, in the fork, until its end."""
        self.forget()

    def are_gone(self) -> bool:
        """Whether all heirs are gone; call it in the parent."""
        # Without waiting: if another thread looks just now, perhaps further down in this very
        # thread, the next look is early enough.
        if self._page is None and self._lock.acquire(blocking=False):
            try:
                if self._descriptor >= 0 and _is_sealed(self._descriptor):
                    self._are_gone = True
                    self.forget()
            finally:
                self._lock.release()
        return self._are_gone

    def forget(self) -> None:
        """Look no more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _is_sealed(descriptor: int) -> bool:
    """Seal a file against writable mappings; return False if one still exists."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


# Copied in one step, which no WeakSet can be while another thread adds to it.
_lenders: dict[int, weakref.ref[Lender]] = {}
under_way: dict[int, Heirs] = {}
"""Forks that have begun and not ended yet, by thread: several may fork at the same time.

Until then no lender gives anything back: between the hooks of other modules, which are called
before and after a fork as well, other threads go on, and the fork may have what they release.
"""
# In a fork: for the pages, which go with it.
_ancestors: list[Heirs] = []


def watch() -> None:
    """Notice forks of this process from now on."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        os.register_at_fork(before=_prepare, after_in_parent=settle, after_in_child=_begin_child)


def note_lender(lender: Lender) -> None:
    """Ask a lender at each fork, as long as it lives."""
    for number, known in list(_lenders.items()):
        if known() is None:
            _lenders.pop(number, None)
    _lenders[id(lender)] = weakref.ref(lender)


def refuse(where: str, what: str) -> None:
    """Refuse in a fork what only the node itself can do.

    Raises:
        NodeClosedError: this process is a fork of the node.
    """
    if is_forked:
        raise NodeClosedError(
            f"{where}: this process is a fork of the node; only the node can {what}"
        )


def settle() -> None:
    """End a fork of this thread, if an exception out of a signal handler has broken that off."""
    heirs = under_way.get(threading.get_ident())
    if heirs is None:
        return
    is_kept = False
    for known in list(_lenders.values()):
        lender = known()
        if lender is not None:
            is_kept |= lender.keep_for(heirs)
    heirs.begin()
    if not is_kept:
        heirs.forget()
    under_way.pop(threading.get_ident(), None)


def _prepare() -> None:
    if not is_forked:  # what that inherited, its children inherit from it
        settle()
        under_way[threading.get_ident()] = Heirs()


def _begin_child() -> None:
    global is_forked
    is_forked = True
    heirs = under_way.get(threading.get_ident())
    under_way.clear()
    if heirs is not None:
        _ancestors.append(heirs)
        heirs.inherit()
