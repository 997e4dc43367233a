"""The gateway: a node that dora-launch adds, between the rings of this machine and the others."""

from __future__ import annotations

import hashlib
import os
import queue
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dora_rt.network.gateway_plan import GatewayPlan
from dora_rt.network.incoming import Incoming
from dora_rt.network.link import Link, Payload
from dora_rt.network.network_status import NetworkStatus, StreamCounts
from dora_rt.network.outgoing import Identity, Outgoing
from dora_rt.network.peer import Change, Peer
from dora_rt.network.wire import Ack, WireError
from dora_rt.node.session import Session

_TELL_PERIOD_NS = 1_000_000_000
_LOOK_NS = 250_000_000
_GOODBYE_S = 1.0


def main() -> None:
    """Carry samples between machines until all streams have ended, or the run is stopped."""
    plan = GatewayPlan.from_json(sys.argv[1])
    threading.excepthook = _end_with_traceback
    session = Session.attach(None, None)
    try:
        Gateway(session, plan).run()
    finally:
        session.close()


class Gateway:
    """All streams of this machine, and the peers at their other ends.

    One thread, the main one, decides: it takes from the rings, and hears what the threads of the
    link have put into a queue.
    """

    def __init__(self, session: Session, plan: GatewayPlan) -> None:
        """Prepare all streams; `run` opens the link.

        Args:
            session: of the node that this gateway is.
            plan: what it is told.
        """
        self.plan = plan
        self._session = session
        self._inbox = session.inbox
        # It ends when its streams do, and not when its inputs do: what was sent may be under way.
        self._inbox.ends_by_itself = False
        self._life = secrets.randbits(63) + 1
        run = session.config.run
        run_number = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8], "little")
        identity = Identity(run_number, self._life)
        self._heard: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._link = Link(plan, self._life, self)
        leaving, coming = plan.own_streams()
        inputs = {entry.id: entry for entry in session.config.inputs}
        self.outgoing: dict[int, Outgoing] = {}
        for stream in leaving:
            entry = inputs[stream.port]
            assert entry.output is not None, "an input of a gateway reads an output"
            assert entry.edge is not None, "an input of a gateway reads an output"
            self.outgoing[stream.number] = Outgoing(
                stream,
                identity,
                session.inbox,
                generation=entry.output.generation,
                most_held=entry.edge.max_held,
            )
        self.incoming = {
            stream.number: Incoming(
                stream,
                self._life,
                partial(session.publisher, stream.port),
                acknowledge=partial(self._link.acknowledge, stream.number),
                on_end=partial(self._call, partial(session.close_output, stream.port)),
            )
            for stream in coming
        }
        self.peers = {
            machine.name: Peer(machine, life=self._life, run=run, file_sha256=plan.file_sha256)
            for machine in plan.machines
            if machine.name != plan.machine
        }
        self._ports = {one.stream.port: one for one in self.outgoing.values()}
        self._clock_ns = dict.fromkeys(self.peers, 0)
        self._tell_ns = 0
        self._garbage = 0

    def run(self) -> None:
        """Carry samples until all streams have ended, or this node is told to stop.

        Raises:
            LinkError: the link cannot be opened.
        """
        self._link.start(partial(self._call, self._begin))
        try:
            while not self._is_over():
                self._hear_all()
                wake_ns = self._step(time.monotonic_ns())
                try:
                    event = self._session.wait_intact(wake_ns)
                except TimeoutError:
                    continue
                if event is None:
                    break
                self._ports[event.id].take(event)
            self._hear_all()
        finally:
            self._close()

    def status(self) -> NetworkStatus:
        """Return what is known of the other machines and the streams."""
        now_ns = time.monotonic_ns()
        return NetworkStatus(
            machine=self.plan.machine,
            machines=tuple(peer.status(now_ns) for peer in self.peers.values()),
            streams=tuple(
                [self._leaving_counts(one) for one in self.outgoing.values()]
                + [self._coming_counts(one) for one in self.incoming.values()]
            ),
        )

    # What the link brings, in threads of zenoh.

    def hear_alive(self, machine: str, life: str, *, is_alive: bool) -> None:
        """Note that a gateway has come or gone."""
        self._call(partial(self._note_alive, machine, life, is_alive=is_alive))

    def hear_message(self, machine: str, told: Mapping[str, Any], received_ns: int) -> None:
        """Take a message of another gateway."""
        self._call(partial(self._take_message, machine, told, received_ns))

    def hear_ack(self, stream: int, payload: bytes) -> None:
        """Take an acknowledgement of a stream that leaves."""
        self._call(partial(self._take_ack, stream, payload))

    def hear_sample(self, stream: int, attachment: bytes, payload: Payload) -> None:
        """Take a head of a stream that comes in, and the value behind it."""
        self.incoming[stream].hear(attachment, payload)

    def hear_garbage(self, what: str) -> None:
        """Note that something came that no gateway sends."""
        self._garbage += 1
        if self._garbage == 1:
            sys.stderr.write(f"dora_rt: {what}; it was ignored (told once)\n")

    def _call(self, function: Callable[[], None]) -> None:
        """Let the main thread call a function."""
        self._heard.put(function)
        self._inbox.wake()

    # In the main thread.

    def _begin(self) -> None:
        if self._link.error is not None:
            raise self._link.error
        for number, one in self.outgoing.items():
            one.port = self._link.samples[number]

    def _hear_all(self) -> None:
        while True:
            try:
                function = self._heard.get_nowait()
            except queue.Empty:
                return
            function()

    def _step(self, now_ns: int) -> int:
        """Do all that is due; return when to look again."""
        times_ns = [now_ns + _LOOK_NS]
        for one in self.outgoing.values():
            due_ns = one.step(now_ns)
            if due_ns is not None:
                times_ns.append(due_ns)
        for name, peer in self.peers.items():
            self._note(name, peer.look(now_ns))
            if not self._link.is_open:
                continue
            if peer.hello_due(now_ns):
                self._say_hello(name)
            if peer.is_connected and now_ns >= self._clock_ns[name]:
                self._clock_ns[name] = now_ns + peer.clock.period_ns
                self._link.tell(name, {"probe": time.monotonic_ns()})
        if now_ns >= self._tell_ns:
            self._tell_ns = now_ns + _TELL_PERIOD_NS
            self._tell_counts()
        return min(times_ns)

    def _is_over(self) -> bool:
        if not (self.outgoing or self.incoming):
            return False
        streams: list[Outgoing | Incoming] = [*self.outgoing.values(), *self.incoming.values()]
        return all(one.is_over for one in streams)

    def _note_alive(self, machine: str, life: str, *, is_alive: bool) -> None:
        peer = self.peers.get(machine)
        if peer is None:
            return
        now_ns = time.monotonic_ns()
        if is_alive:
            self._say_hello(machine)
        else:
            try:
                number = int(life, 16)
            except ValueError:
                return
            self._note(machine, peer.hear_gone(number, now_ns))

    def _take_message(self, machine: str, told: Mapping[str, Any], received_ns: int) -> None:
        try:
            self._hear(machine, self.peers[machine], told, received_ns)
        except (KeyError, TypeError, ValueError) as error:
            self.hear_garbage(f"a message of machine {machine!r} makes no sense: {error!r}")

    def _hear(self, name: str, peer: Peer, told: Mapping[str, Any], received_ns: int) -> None:
        if "hello" in told:
            hello = told["hello"]
            changes = peer.hear_hello(hello, received_ns)
            if peer.needs_answer(hello) or changes:
                self._say_hello(name)
            self._note(name, changes)
            return
        if told.get("life") not in (None, peer.life):
            return
        peer.hear(received_ns)
        if "probe" in told:
            answer = [int(told["probe"]), received_ns]
            self._link.tell(name, {"answer": [*answer, time.monotonic_ns()]})
        elif "answer" in told:
            sent_ns, there_ns, answered_ns = map(int, told["answer"])
            peer.clock.add(sent_ns, there_ns, answered_ns, received_ns)
            for one in self.outgoing.values():
                if one.stream.receiver == name:
                    one.window.round_trip_ns = peer.clock.round_trip_ns
        elif "counts" in told:
            peer.told = {str(number): counts for number, counts in told["counts"].items()}
        elif "bye" in told:
            self._note(name, peer.hear_end(str(told["bye"]), received_ns))

    def _take_ack(self, stream: int, payload: bytes) -> None:
        try:
            ack = Ack.from_bytes(payload)
        except WireError as error:
            self.hear_garbage(f"an acknowledgement of stream {stream} makes no sense: {error}")
            return
        self.outgoing[stream].window.hear(ack, time.monotonic_ns())

    def _say_hello(self, name: str) -> None:
        self._link.tell(name, {"hello": self.peers[name].hello()})

    def _note(self, name: str, changes: list[Change]) -> None:
        peer = self.peers[name]
        now_ns = time.monotonic_ns()
        for change in changes:
            match change:
                case Change.CONNECTED:
                    for out in self._to(name):
                        out.connect(peer.life, now_ns)
                    for one in self._from(name):
                        one.connect(peer.life, peer.clock)
                case Change.LOST | Change.REFUSED:
                    for out in self._to(name):
                        out.disconnect(is_unwanted=peer.plan.is_optional)
            self._tell_ns = 0

    def _to(self, name: str) -> list[Outgoing]:
        return [one for one in self.outgoing.values() if one.stream.receiver == name]

    def _from(self, name: str) -> list[Incoming]:
        return [one for one in self.incoming.values() if one.stream.sender == name]

    def _tell_counts(self) -> None:
        for name, peer in self.peers.items():
            if not peer.is_connected:
                continue
            counts: dict[int, dict[str, Any]] = {}
            for out in self._to(name):
                counts[out.stream.number] = {"sent": out.taken, "dropped": out.dropped}
            for one in self._from(name):
                counts[one.stream.number] = {"received": one.order.received}
            self._link.tell(name, {"life": self._life, "counts": counts})

    def _leaving_counts(self, one: Outgoing) -> StreamCounts:
        told = self.peers[one.stream.receiver].told.get(str(one.stream.number), {})
        return StreamCounts(
            number=one.stream.number,
            sent=one.taken + one.ring_dropped,
            dropped_here=one.dropped,
            received=told.get("received"),
            network=one.window.lost,
            in_flight=one.window.in_flight,
            delivered=None,
            dropped_there=None,
        )

    def _coming_counts(self, one: Incoming) -> StreamCounts:
        told = self.peers[one.stream.sender].told.get(str(one.stream.number), {})
        return StreamCounts(
            number=one.stream.number,
            sent=told.get("sent", 0),
            dropped_here=told.get("dropped", 0),
            received=one.order.received,
            network=None,
            in_flight=0,
            delivered=None,
            dropped_there=None,
        )

    def _close(self) -> None:
        self._tell_counts()
        for name, peer in self.peers.items():
            if peer.is_connected:
                self._link.tell(name, {"life": self._life, "bye": "its run has ended"})
        for one in self.incoming.values():
            one.close()
        for out in self.outgoing.values():
            out.close()
        self._link.close()


def _end_with_traceback(failure: threading.ExceptHookArgs) -> None:
    # A gateway without one of its threads would stand still without a word. As a process that has
    # failed it is started again.
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
