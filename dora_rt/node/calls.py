"""The calls of a node: what it asks others and they ask it, beside all its other events.

Nobody who waits here is deaf. A thread that waits for an answer, or for room to send a request or
an answer, takes from the inputs of calls meanwhile, and from no other: those wait in their rings.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from dora_rt.errors import (
    CallRefused,
    DoraRtError,
    NotARequestError,
    SentAfterStopError,
    ServerGone,
    ServerRestarted,
    UnknownServiceError,
)
from dora_rt.event import (
    REQUEST_ID,
    Change,
    Event,
    InputClosed,
    ParameterChanged,
    Request,
    Result,
    SourceRestarted,
)
from dora_rt.metadata import new_id
from dora_rt.node.goals import Goals
from dora_rt.node.pending_call import PendingCall
from dora_rt.node.service_function import ServiceFunction, answer_by
from dora_rt.node.session import Session
from dora_rt.node_config import CallConfig, ServiceKind
from dora_rt.transport.output.origin import make_stamp
from dora_rt.transport.primitives.doorbell import deadline_after

# The inputs of an end, by its kind and whether it is the server.
PARTS = {
    (ServiceKind.CALL, True): ("request",),
    (ServiceKind.CALL, False): ("response",),
    (ServiceKind.GOAL, True): ("goal", "cancel"),
    (ServiceKind.GOAL, False): ("feedback", "result"),
}
_ERROR = "call_error"
# The nodes that stand still until a request is answered: who waits for one of them, and is asked,
# is in a circle.
_CHAIN = "call_chain"
# What a server says first, in each life but its first, to clients on other machines.
_RESTARTED = "server_restarted"
_MAX_KEPT = 256  # requests taken while this node waits for an answer; more stay in their rings
# How long to try before a look at what comes in, and how long that look takes.
_SEND_SLICE_NS = 1_000_000
_LOOK_SLICE_NS = 5_000_000
_SLICE_S = 0.02  # how often a thread looks whether another one, which receives, is done
_ASYNC_SLICE_NS = 100_000_000


class Calls:
    """Sorts what comes in on the inputs of calls, and sends what goes out for them."""

    def __init__(self, session: Session) -> None:
        """Take the calls that the launcher told this process of."""
        self.session = session
        self.where = session.where
        self.is_stopped = False
        """Whether the dataflow is being stopped, as far as a wait has seen; the loop may go on."""
        self.kept: deque[Event | Change] = deque()
        """What was taken while this node waited for something else; the loop gets it first."""
        ends = session.config.calls
        self._clients = {end.name: end for end in ends if not end.is_server}
        self._services = {
            end.name for end in ends if end.is_server and end.kind is ServiceKind.CALL
        }
        self._ports = {
            end.port(part): (end, part) for end in ends for part in PARTS[end.kind, end.is_server]
        }
        self._requests = {
            port for port, (_, part) in self._ports.items() if part in ("request", "goal")
        }
        self._turn = threading.RLock()
        self._pending: dict[str, PendingCall] = {}
        self._waiting: dict[str, str] = {}  # request id -> server
        self._open: dict[str, tuple[CallConfig, tuple[str, ...]]] = {}
        self._functions: dict[str, ServiceFunction] = {}
        self._gone: set[str] = set()
        is_restart = session.config.restart_count > 0
        self._just_restarted: set[str] = set()  # inputs of which nothing has come since
        self._ungreeted = [end for end in ends if is_restart and end.is_server and end.is_far]
        self.goals = Goals(self)

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Do what the session's `wait` does, and keep what belongs to calls."""
        self._greet()
        while True:
            with self.turn_until(deadline_ns):
                if self.kept:
                    event = self.kept.popleft()
                    if isinstance(event, Event):
                        self.note_cause(event)
                    return event
                # Nothing to do, unless an exception has broken off a wait for an answer.
                self.session.inbox.widen()
                taken = self.goals.wait(self.session.wait, deadline_ns)
                if taken is None:
                    if self.session.inbox.was_told_to_stop:
                        self._give_up()
                    return None
                self.kept += self._sort(taken)

    def _greet(self) -> None:
        while self._ungreeted:
            end = self._ungreeted.pop()
            part = "response" if end.kind is ServiceKind.CALL else "result"
            self.send(end.port(part), b"", {_RESTARTED: True}, None)

    def call(
        self, name: str, value: Any, metadata: dict[str, Any] | None, timeout: float | None
    ) -> Event:
        """Ask, and wait for the answer; see `Node.call`."""
        deadline_ns = deadline_after(timeout)
        origins = self.session.origins
        cause = origins.cause
        pending = self._begin(name, value, metadata, deadline_ns, is_waited_for=True)
        try:
            self._wait_for(pending, deadline_ns)
        except TimeoutError:
            raise self._timed_out(name, timeout) from None
        finally:
            self._end(pending)
            # What the node sends next still answers the input that it is at work on.
            origins.cause = cause
        return pending.answer()

    async def call_async(
        self, name: str, value: Any, metadata: dict[str, Any] | None, timeout: float | None
    ) -> Event:
        """Ask at once, and let other tasks go on until the answer is there."""
        import asyncio  # large: only programs that use it load it

        deadline_ns = deadline_after(timeout)
        cause = self.session.origins.cause
        pending = self._begin(name, value, metadata, deadline_ns, is_waited_for=False)
        self.session.origins.cause = cause
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, self._wait_in_slices, pending, deadline_ns)
        except TimeoutError:
            raise self._timed_out(name, timeout) from None
        finally:
            pending.is_abandoned = True
            self._end(pending)
        return pending.answer()

    def serve(self, service: str, function: ServiceFunction) -> None:
        """Let a function answer the requests of a service; see `Node.serve`."""
        if service not in self._services:
            raise self._unknown("serves no", service, self._services)
        self._functions[service] = function

    def reply(self, event: Event, value: Any, metadata: dict[str, Any] | None) -> None:
        """Answer a request; see `Node.reply`."""
        request = self._unanswered(event)
        port = f"{request.service}.response/{request.client}"
        given = dict(metadata or {})
        if request.request_id:
            given[REQUEST_ID] = request.request_id
        with self.session.origins.answering(request):
            self.send(port, value, given, None)
        request.is_answered = True
        self._open.pop(request.request_id, None)

    def refuse(self, event: Event, why: str) -> None:
        """Answer a request with an error; see `Node.refuse`."""
        self.reply(event, b"", {_ERROR: why})

    def send(
        self, port: str, value: Any, metadata: dict[str, Any], deadline_ns: int | None
    ) -> None:
        """Send on an output of a call, and take what comes for calls while it has no room.

        Raises:
            TimeoutError: it had no room in time.
            SentAfterStopError: it has none, and the dataflow is being stopped.
        """
        session = self.session
        while True:
            publisher = session.publisher(port)
            session.inbox.beat()
            until_ns = time.monotonic_ns() + _SEND_SLICE_NS
            stamp = make_stamp(session.origins, publisher.where, metadata, None, until_ns)
            try:
                publisher.send_in_time(value, stamp)
                return
            except TimeoutError:
                if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                    raise
                if self.is_stopped:
                    what = f"{publisher.where}: there is no room, and the dataflow is being stopped"
                    raise SentAfterStopError(what) from None
            self.look(_LOOK_SLICE_NS)

    def ask(
        self,
        end: CallConfig,
        part: str,
        value: Any,
        metadata: dict[str, Any],
        deadline_ns: int | None,
    ) -> None:
        """Do what `send` does, for a request or a goal, whose answer would not come after a stop.

        Raises:
            ServerGone: the dataflow is being stopped.
        """
        try:
            self.send(end.port(part), value, metadata, deadline_ns)
        except SentAfterStopError:
            self.refuse_after_stop(end.name)
            raise

    def look(self, for_ns: int = 0) -> None:
        """Take what is there for calls, or comes within this time."""
        cause = self.session.origins.cause
        until_ns = time.monotonic_ns() + for_ns
        try:
            with self.turn_until(until_ns):
                while not self.is_stopped:
                    self.pump(until_ns)
        except TimeoutError:
            pass  # nothing more is there
        finally:
            self.session.origins.cause = cause

    def note_cause(self, event: Event) -> None:
        """Let what this thread sends from now on answer an event."""
        self.session.origins.cause = event.origin_ns, event.metadata_json, ""

    def pump(self, deadline_ns: int | None) -> None:
        """Wait for one thing that concerns calls; for the thread whose turn it is.

        Raises:
            TimeoutError: nothing came in time.
        """
        inputs = self._ports.keys()
        inbox = self.session.inbox
        before = inbox.was_told_to_stop, inbox.has_ended
        inbox.narrow(inputs if len(self.kept) < _MAX_KEPT else inputs - self._requests)
        try:
            event = self.goals.wait(self.session.wait_intact, deadline_ns)
        finally:
            inbox.widen()
        if event is None:
            # The loop has not been told yet: until then the node may send.
            inbox.was_told_to_stop, inbox.has_ended = before
            self._give_up()
        else:
            self.kept += self._sort(event)

    def _begin(
        self,
        name: str,
        value: Any,
        metadata: dict[str, Any] | None,
        deadline_ns: int | None,
        *,
        is_waited_for: bool,
    ) -> PendingCall:
        self.client(name, ServiceKind.CALL)
        # What became of the server meanwhile says nothing about this request.
        self.look()
        self.refuse_gone(name)
        pending = PendingCall(name, new_id())
        given = {**(metadata or {}), REQUEST_ID: pending.request_id}
        if is_waited_for:
            before = [name for _, chain in self._open.values() for name in chain]
            given[_CHAIN] = [*dict.fromkeys((self.session.config.node, *before))][:_MAX_KEPT]
            self.begin_waiting(pending.request_id, self._clients[name])
        self._pending[pending.request_id] = pending
        try:
            self.ask(self._clients[name], "request", value, given, deadline_ns)
        except BaseException:
            self._end(pending)
            raise
        return pending

    def client(self, name: str, kind: ServiceKind) -> CallConfig:
        """Return the client's end of a call.

        Raises:
            UnknownServiceError: the dataflow file has no such name in `calls:`.
        """
        end = self._clients.get(name)
        if end is None or end.kind is not kind:
            if end is not None:
                how = "call" if end.kind is ServiceKind.CALL else "send_goal"
                what = f"{self.where}: {name!r} is a {end.kind.value}: use node.{how}"
                raise UnknownServiceError(what)
            names = [one.name for one in self._clients.values() if one.kind is kind]
            raise self._unknown("calls no", name, names)
        return end

    def refuse_gone(self, name: str) -> None:
        """Refuse to ask a server that has ended.

        Raises:
            ServerGone: it has, or the dataflow is being stopped.
        """
        if name in self._gone:
            raise self._is_gone(self._clients[name])
        self.refuse_after_stop(name)

    def refuse_after_stop(self, name: str) -> None:
        """Refuse to wait for what will not come any more.

        Raises:
            ServerGone: the dataflow is being stopped.
        """
        if self.is_stopped:
            raise ServerGone(f"{self.where}: {name!r}: the dataflow is being stopped")

    def _is_gone(self, end: CallConfig) -> ServerGone:
        return ServerGone(f"{self.where}: node {end.peer!r}, which serves {end.name!r}, has ended")

    def _end(self, pending: PendingCall) -> None:
        self._pending.pop(pending.request_id, None)
        self.end_waiting(pending.request_id)

    def begin_waiting(self, key: str, end: CallConfig) -> None:
        """Note that this node stands still for a server, which must not stand still for it."""
        self._waiting[key] = end.peer
        for event in [one for one in self.kept if isinstance(one, Request)]:
            _, chain = self._open.get(event.request_id, (end, ()))
            if self._is_circle(chain):
                self.kept.remove(event)
                self._refuse_circle(event)

    def end_waiting(self, key: str) -> None:
        """Note that it goes on."""
        self._waiting.pop(key, None)

    def _is_circle(self, chain: Collection[str]) -> bool:
        return not set(chain).isdisjoint(self._waiting.values())

    def _refuse_circle(self, request: Request) -> None:
        self.refuse(
            request,
            f"node {self.session.config.node!r} waits itself for a node that waits for this "
            f"answer: let it answer by node.serve({request.service!r}, function)",
        )

    def _wait_for(self, pending: PendingCall, deadline_ns: int | None) -> None:
        while not pending.done.is_set():
            if not self._turn.acquire(blocking=False):
                # Another thread receives. It may end without an answer: then it is our turn.
                pending.done.wait(_SLICE_S)
            else:
                try:
                    if not pending.done.is_set():
                        self.pump(deadline_ns)
                except TimeoutError:
                    pass  # or another thread called `wake`
                finally:
                    self._turn.release()
            if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                if pending.done.is_set():
                    return
                raise TimeoutError

    def _wait_in_slices(self, pending: PendingCall, deadline_ns: int | None) -> None:
        """Wait in a thread for a coroutine, which may be cancelled."""
        while not (pending.done.is_set() or pending.is_abandoned):
            until_ns = time.monotonic_ns() + _ASYNC_SLICE_NS
            is_last = deadline_ns is not None and deadline_ns <= until_ns
            try:
                self._wait_for(pending, deadline_ns if is_last else until_ns)
            except TimeoutError:
                if is_last:
                    raise

    def _sort(self, event: Event | Change) -> list[Event | Change]:
        """Hand over what belongs to a call, and return what the loop gets."""
        found = None if isinstance(event, (ParameterChanged, Result)) else self._ports.get(event.id)
        if found is None:
            return [event]
        end, part = found
        if isinstance(event, Event) and not end.is_server and _RESTARTED in event.metadata:
            if event.id in self._just_restarted:
                return []  # any first sample of a new life says so, if another life had sent any
            event = SourceRestarted(event.id)
        if isinstance(event, SourceRestarted):
            self._just_restarted.add(event.id)
        else:
            self._just_restarted.discard(event.id)
        if not isinstance(event, Event):
            return self._note_change(end, part, event)
        if part == "response":
            self._take_answer(end, event)
            return []
        if part == "request":
            return self._take_request(end, event)
        return self.goals.take(end, part, event)

    def _take_answer(self, end: CallConfig, event: Event) -> None:
        pending = self._pending.get(str(event.metadata.get(REQUEST_ID)))
        if pending is None:
            return  # its time was over, or an earlier life of this node had asked
        if _ERROR in event.metadata:
            why = event.metadata[_ERROR]
            what = f"{self.where}: node {end.peer!r} refused {end.name!r}: {why}"
            pending.fail(CallRefused(what))
        else:
            pending.finish(event)

    def _take_request(self, end: CallConfig, event: Event) -> list[Event | Change]:
        request = Request(event, end.name, end.peer)
        chain = event.metadata.get(_CHAIN)
        links = tuple(map(str, chain)) if isinstance(chain, list) else ()
        if request.request_id:
            self._open[request.request_id] = end, links
        function = self._functions.get(end.name)
        if function is not None:
            answer_by(function, request, self)
        elif self._is_circle(links):
            self._refuse_circle(request)
        else:
            return [request]
        return []

    def _note_change(self, end: CallConfig, part: str, change: Change) -> list[Event | Change]:
        is_end = isinstance(change, InputClosed) and change.is_final
        if part == "request" and (is_end or isinstance(change, SourceRestarted)):
            # Nobody waits for these answers any more.
            self._open = {key: one for key, one in self._open.items() if one[0] is not end}
        if part == "response" and is_end:
            self._gone.add(end.name)
            self._fail(end, self._is_gone(end))
        elif end.kind is ServiceKind.GOAL:
            if part == "result" and is_end:
                self._gone.add(end.name)
            elif part == "result" and isinstance(change, SourceRestarted):
                self._gone.discard(end.name)
            return self.goals.note_change(end, part, change)
        elif part == "response" and isinstance(change, SourceRestarted):
            self._gone.discard(end.name)
            what = f"{self.where}: node {end.peer!r}, which serves {end.name!r}, was restarted"
            self._fail(end, ServerRestarted(f"{what} before it answered; ask again"))
        return [change]

    def _fail(self, end: CallConfig, error: DoraRtError) -> None:
        for pending in list(self._pending.values()):
            if pending.name == end.name and not pending.done.is_set():
                pending.fail(error)

    def _give_up(self) -> None:
        """Let those that wait know that the dataflow is being stopped."""
        self.is_stopped = True
        for pending in list(self._pending.values()):
            if not pending.done.is_set():
                what = f"{self.where}: {pending.name!r}: the dataflow is being stopped"
                pending.fail(ServerGone(what))

    def _unanswered(self, event: Event) -> Request:
        if not isinstance(event, Request):
            what = f"{self.where}: {event!r} is no request of a client, so it has no answer"
            raise NotARequestError(f"{what}; answer events that are dora_rt.Request")
        if event.is_answered:
            what = f"{self.where}: this request of node {event.client!r} was answered before"
            raise NotARequestError(what)
        return event

    @contextmanager
    def turn_until(self, deadline_ns: int | None) -> Iterator[None]:
        """Be the thread that receives.

        Raises:
            TimeoutError: another one was it until the deadline.
        """
        wait_s = -1.0 if deadline_ns is None else max(deadline_ns - time.monotonic_ns(), 0) / 1e9
        if not self._turn.acquire(timeout=wait_s):
            raise TimeoutError(f"{self.where}: no input came in time")
        try:
            yield
        finally:
            self._turn.release()

    def _timed_out(self, name: str, timeout: float | None) -> TimeoutError:
        peer = self._clients[name].peer
        return TimeoutError(f"{self.where}: node {peer!r} did not answer {name!r} in {timeout} s")

    def _unknown(self, what: str, name: str, known: Any) -> UnknownServiceError:
        names = ", ".join(sorted(known)) or "none"
        what = f"{self.where} {what} {name!r}; in the dataflow file it has: {names}"
        return UnknownServiceError(what)
