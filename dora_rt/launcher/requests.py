"""The socket of a run, through which other programs of its user ask something of it.

A request is a line of JSON with the key "request"; the answer is a line of JSON, with "error" in it
if the request could not be granted. A program that may open the run directory (0700) may ask.
"""

from __future__ import annotations

import array
import contextlib
import json
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dora_rt.runs import MAX_REQUESTERS, socket_path

_LONGEST_REQUEST_NBYTES = 64 * 1024
_UNSENT_NBYTES = 4 * 1024 * 1024
_READ_NBYTES = 64 * 1024

Answer = Callable[["Requester", dict[str, Any]], None]


class Asker(Protocol):
    """A program that asks something once: of this user, or on another machine."""

    @property
    def who(self) -> str:
        """Say who it is, as in "asked by process 4711"."""
        ...

    def reply(self, fields: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send an answer."""
        ...

    def refuse(self, error: str) -> None:
        """Answer that a request cannot be granted, and why."""
        ...


class Requester:
    """One connection, from the launcher's side; nothing here waits for the other program."""

    def __init__(self, link: socket.socket, selector: selectors.BaseSelector) -> None:
        link.setblocking(False)
        self.pid = _peer_pid(link)
        self.on_gone: Callable[[], None] | None = None
        """Called once, when either side has ended the connection."""
        self.has_asked = False
        self.longest_nbytes = _LONGEST_REQUEST_NBYTES
        """A program that sends a longer line loses its connection."""
        self._link = link
        self._selector = selector
        self._rest = b""
        self._unsent: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._unsent_nbytes = 0
        self._answers: Mapping[str, Answer] = {}

    @property
    def who(self) -> str:
        """Say who it is, as in "asked by process 4711"."""
        return f"process {self.pid}"

    @property
    def is_gone(self) -> bool:
        """Whether the connection has ended."""
        return self._link.fileno() < 0

    @property
    def unsent_nbytes(self) -> int:
        """Bytes that the other program has not read yet, beyond those that the kernel holds."""
        return self._unsent_nbytes

    def has_ended(self) -> bool:
        """Return whether the other program is gone, and run `on_gone` first if it just went."""
        with contextlib.suppress(BlockingIOError, OSError):
            if not self.is_gone and not self._link.recv(1, socket.MSG_PEEK):
                self.close()
        return self.is_gone

    def serve(self, answers: Mapping[str, Answer]) -> None:
        """Answer requests from now on, by the functions of these names."""
        self._answers = answers
        self._selector.register(self._link, selectors.EVENT_READ, self._turn)

    def reply(self, fields: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send an answer, and descriptors with it, now or when the other program reads.

        One that does not read loses its connection before its answers fill the launcher's memory.
        """
        if self.is_gone:
            return
        line = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
        self._unsent.append((memoryview(line), descriptors))
        self._unsent_nbytes += len(line)
        self._send()
        if self._unsent_nbytes > _UNSENT_NBYTES:
            self.close()

    def refuse(self, error: str) -> None:
        """Answer that a request cannot be granted, and why."""
        self.reply({"error": error})

    def read_rest(self) -> None:
        """Take what the other program sent before it ended."""
        while not self.is_gone and self._turn():
            pass

    def close(self) -> None:
        """End the connection."""
        if self.is_gone:
            return
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._link)
        self._link.close()
        if self.on_gone is not None:
            self.on_gone()

    def _turn(self) -> bool:
        """Send and receive what is possible; return whether anything was received."""
        self._send()
        if self.is_gone:
            return False
        try:
            received = self._link.recv(_READ_NBYTES)
        except BlockingIOError:
            return False
        except OSError:
            received = b""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            if not self.is_gone:
                self._answer(line)
        if not received or len(self._rest) > self.longest_nbytes:
            self.close()
        return bool(received)

    def _answer(self, line: bytes) -> None:
        self.has_asked = True
        try:
            request = json.loads(line)
            answer = self._answers.get(request["request"])
        except (ValueError, KeyError, TypeError, RecursionError):
            self.refuse('expected a line of JSON such as {"request": "describe"}')
            return
        if answer is None:
            known = ", ".join(self._answers)
            self.refuse(f"there is no request {request['request']!r}; there are: {known}")
        else:
            answer(self, request)

    def _send(self) -> None:
        while self._unsent:
            line, descriptors = self._unsent[0]
            try:
                sent = self._link.sendmsg([line], _rights(descriptors))
            except BlockingIOError:
                break
            except OSError:
                # It is gone; its last requests may still be there to read.
                self._unsent.clear()
                self._unsent_nbytes = 0
                break
            self._unsent_nbytes -= sent
            self._unsent.popleft()
            if sent < len(line):
                self._unsent.appendleft((line[sent:], ()))
        if not self.is_gone:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
            self._selector.modify(self._link, events, self._turn)


class RequestSocket:
    """The listening socket of a run; a context manager that ends all connections."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._requesters: list[Requester] = []
        self._answers: dict[str, Answer] = {}

    @classmethod
    def open(cls, folder_fd: int) -> RequestSocket:
        """Make the socket in an opened run directory, which no other user may enter.

        Raises:
            OSError: it cannot be made there.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(socket_path(folder_fd))
            listener.listen(MAX_REQUESTERS)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        return cls(listener)

    def serve(self, selector: selectors.BaseSelector, answers: Mapping[str, Answer]) -> None:
        """Answer requests by the functions of these names, whenever `selector` says that one came.

        The data of the selector's keys are the functions to call.
        """
        self._answers.update(answers)
        self._selector = selector
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """End all connections, and listen no more."""
        for requester in self._requesters:
            requester.close()
        self._listener.close()

    def __enter__(self) -> RequestSocket:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return  # it did not wait; the launcher has descriptors for all that may be accepted
        self._requesters = [one for one in self._requesters if not one.is_gone]
        requester = Requester(link, self._selector)
        requester.serve(self._answers)
        self._requesters.append(requester)
        if len(self._requesters) > MAX_REQUESTERS:
            # A program that only connects shuts nobody out: the oldest of them has to leave.
            one = next(one for one in self._requesters if not one.has_asked)
            self._requesters.remove(one)
            one.refuse(f"{MAX_REQUESTERS} programs are connected to this run already")
            one.close()


def _peer_pid(link: socket.socket) -> int:
    credentials = struct.Struct("3i")
    pid: int = credentials.unpack(
        link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    )[0]
    return pid


def _rights(descriptors: Sequence[int]) -> list[tuple[int, int, bytes]]:
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]
