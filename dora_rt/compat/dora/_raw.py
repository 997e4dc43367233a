"""Samples of dora 1.x that a node writes in place: `send_output_raw`."""

from __future__ import annotations

import pickle
import sys
import weakref
from collections import deque
from types import TracebackType
from typing import Any

from dora_rt.transport.output.loan import Loan

_SENT = "the sample has already been sent"


class SampleBuffer:
    """Memory of a sample, for `memoryview`, numpy and everything else that takes a buffer.

    Before Python 3.12 no class written in Python can be that: there `SampleHandler` gives a
    `pickle.PickleBuffer` instead.
    """

    def __init__(self, array: Any) -> None:
        self._array = array

    def __buffer__(self, flags: int) -> memoryview:
        if self._array is None:
            raise BufferError(f"Cannot acquire buffer view: {_SENT}, or dropped")
        return memoryview(self._array)

    def __release_buffer__(self, view: memoryview) -> None:
        # That there is this method tells numpy to hold on to the view, and not to this object.
        view.release()

    def release(self) -> None:
        """Give no more views."""
        self._array = None


class SampleHandler:
    """A sample that is being written. Left unsent, it is given up with its last reference."""

    def __init__(self, loan: Loan, abandoned: deque[Loan]) -> None:
        """Begin the loan; unsent and without views, it goes to `abandoned`."""
        self._loan: Loan | None = loan
        # Each view holds on to this array, and to nothing else, so references to it are views.
        array = loan.__enter__().view()
        self._array: Any = array
        self._buffer: Any = (
            SampleBuffer(array) if sys.version_info >= (3, 12) else pickle.PickleBuffer(array)
        )
        # The buffer may outlive this object as well: then it gives no more views.
        weakref.finalize(self, self._buffer.release).atexit = False
        # The views may outlive this object, and the slot must not be written again before they go.
        self._abandon = weakref.finalize(array, abandoned.append, loan)
        self._abandon.atexit = False
        del array
        self._references = sys.getrefcount(self._array)

    def as_buffer(self) -> Any:
        """Return the sample's memory as an object with the buffer protocol, each time the same one.

        Raises:
            RuntimeError: the sample was sent.
        """
        self._check_unsent()
        return self._buffer

    def as_memoryview(self) -> memoryview:
        """Return a new writable view of the sample's memory.

        Raises:
            RuntimeError: the sample was sent.
        """
        self._check_unsent()
        return memoryview(self._array)

    def send(self) -> None:
        """Send the sample.

        Raises:
            RuntimeError: it was sent before, or views of its memory are still open.
        """
        loan = self._loan
        if loan is None:
            raise RuntimeError("Sample has already been sent")
        views = sys.getrefcount(self._array) - self._references
        if views:
            raise RuntimeError(
                f"Cannot send: {views} buffer view(s) are still open. Release all memoryview / "
                "numpy references before calling send()."
            )
        self._abandon.detach()
        self._let_go()
        loan.send()

    def __enter__(self) -> Any:
        return self.as_buffer()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            # Still unsent: the program may mend what went wrong, and send.
            return
        try:
            self.send()
        except RuntimeError as error:
            raise RuntimeError(f"Failed to send: {error}") from error

    def _let_go(self) -> None:
        self._loan = None
        self._array = None
        self._buffer.release()

    def _check_unsent(self) -> None:
        if self._loan is None:
            raise RuntimeError(f"Cannot access buffer: {_SENT}")
