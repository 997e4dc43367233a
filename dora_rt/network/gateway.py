"""The gateway: a node that dora-launch adds, between the rings of this machine and the others."""

from __future__ import annotations

import hashlib
import os
import queue
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dora_rt.errors import LaunchError
from dora_rt.network.far_requests import FarRequests
from dora_rt.network.flow_control import FlowControl
from dora_rt.network.gateway_plan import GatewayPlan
from dora_rt.network.incoming import Incoming
from dora_rt.network.launcher_link import LauncherLink
from dora_rt.network.link import Link, Payload
from dora_rt.network.network_status import NetworkStatus
from dora_rt.network.outgoing import Identity, Outgoing
from dora_rt.network.peer import Change, Peer
from dora_rt.network.published_ledger import PublishedLedger
from dora_rt.network.stream_books import StreamBooks
from dora_rt.network.wire import Ack, WireError
from dora_rt.node.session import Session
from dora_rt.transport.ring import protocol

if TYPE_CHECKING:
    from dora_rt.network.far_samples import FarSamples

_TELL_PERIOD_NS = 1_000_000_000
_LOOK_NS = 250_000_000
_SETTLING_NS = 3_000_000_000
"""How long the last accounts are waited for."""
_LEAVING_NS = 1_200_000_000
"""The same where the others go on: they tell once a second."""
_SETTLING_LOOK_S = 0.05


def main() -> None:
    """Carry samples between machines until all streams have ended, or the run is stopped."""
    threading.excepthook = _end_with_traceback
    status = 1
    try:
        _carry(GatewayPlan.from_json(sys.argv[1]))
        status = 0
    except LaunchError as error:
        sys.stderr.write(f"dora_rt: {error}\n")
    except KeyboardInterrupt:
        # It ends as every program does that was interrupted: the second Ctrl-C of an impatient
        # user is no fault.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    # Threads of zenoh, and those that wait in it, know nothing of the end of an interpreter: one
    # that comes back from there meanwhile would abort the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _carry(plan: GatewayPlan) -> None:
    session = Session.attach(None, None)
    launcher = LauncherLink.open(session.config)
    try:
        gateway = Gateway(session, plan, launcher)
        gateway.link.tell_refusals()
        gateway.run()
    finally:
        session.close()
        launcher.close()


class Gateway:
    """All streams of this machine, and the peers at their other ends.

    One thread, the main one, decides: it takes from the rings, and hears what the threads of the
    link and of the launcher have put into a queue.
    """

    def __init__(self, session: Session, plan: GatewayPlan, launcher: LauncherLink | None) -> None:
        """Prepare all streams; `run` opens the link.

        Args:
            session: of the node that this gateway is.
            plan: what it is told.
            launcher: the connection to it; None in tests.
        """
        self.plan = plan
        self._session = session
        self._inbox = session.inbox
        self._launcher = launcher
        # It ends when its streams do, and not when its inputs do: what was sent may be under way.
        self._inbox.ends_by_itself = False
        self._life = secrets.randbits(63) + 1
        run = session.config.run
        run_number = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8], "little")
        identity = Identity(run_number, self._life)
        self._heard: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.link = Link(plan, self._life, self)
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
                run=run,
                generation=entry.output.generation,
                most_held=entry.edge.max_held,
            )
        folder = Path(session.config.description_path).parent
        is_first_life = session.config.restart_count == 0
        self.incoming = {
            stream.number: Incoming(
                stream,
                self._life,
                partial(session.publisher, stream.port),
                acknowledge=partial(self.link.acknowledge, stream.number),
                on_end=partial(self._call, partial(session.close_output, stream.port)),
                ledger=PublishedLedger(folder / f"network-{stream.number}.ledger"),
                is_first_life=is_first_life,
            )
            for stream in coming
        }
        self.peers = {
            machine.name: Peer(machine, life=self._life, run=run, file_sha256=plan.file_sha256)
            for machine in plan.machines
            if machine.name != plan.machine
        }
        for out in self.outgoing.values():
            # Nobody waits for a machine that is optional, also not before it first comes.
            is_unwanted = self.peers[out.stream.receiver].plan.is_optional
            out.disconnect(is_unwanted=is_unwanted)
        self._control = FlowControl(plan, self.peers, self._tell_peer)
        self._requests = FarRequests(self._tell_peer, self._tell_launcher, self._answer_sample)
        self._samples: FarSamples | None = None
        self._ports = {one.stream.port: one for one in self.outgoing.values()}
        self._clock_ns = dict.fromkeys(self.peers, 0)
        self._tell_ns = 0
        self._books = StreamBooks(
            self.outgoing, self.incoming, self.peers, folder, is_first_life=is_first_life
        )
        self._garbage = 0

    def run(self) -> None:
        """Carry samples until all streams have ended, or this node is told to stop.

        Raises:
            LaunchError: the link cannot be opened.
        """
        self.link.start(partial(self._call, self._begin))
        if self._launcher is not None:
            self._launcher.start(lambda told: self._call(partial(self._take_told, told)))
        try:
            self._carry()
            if self._inbox.closing() != protocol.CLOSED_FOR_NOW:
                self._settle()
                self._say_goodbye()
        finally:
            self._close()

    def status(self) -> NetworkStatus:
        """Return what is known of the other machines and the streams."""
        now_ns = time.monotonic_ns()
        return NetworkStatus(
            machine=self.plan.machine,
            machines=tuple(peer.status(now_ns) for peer in self.peers.values()),
            streams=self._books.accounts(),
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

    def _carry(self) -> None:
        wake_ns = 0
        while not self._is_over():
            if self._hear_all() or time.monotonic_ns() >= wake_ns:
                wake_ns = self._step(time.monotonic_ns())
            try:
                event = self._session.wait_intact(0)
            except TimeoutError:
                # Behind the look that has taken back all ringing: what rings from now on wakes,
                # and what rang before, for a held input or for this queue, is seen here.
                wake_ns = self._step(time.monotonic_ns())
                if self._heard.empty():
                    self._inbox.sleep(wake_ns)
                continue
            if event is None:
                return
            one = self._ports[event.id]
            one.take(event)
            one.step(time.monotonic_ns())

    def _settle(self) -> None:
        """Exchange the last accounts: nothing is taken from the rings any more."""
        until_ns = None
        while True:
            self._inbox.beat()
            self._hear_all()
            now_ns = time.monotonic_ns()
            # Nodes here may still take from their rings, for hours; the launcher knows when not.
            has_counted = self._launcher is None or self._control.has_final_counts
            if has_counted and until_ns is None:
                until_ns = now_ns + (_LEAVING_NS if self._control.is_optional else _SETTLING_NS)
                self._control.is_final = True
                self._books.close()
                self._tell_ns = 0
            self._step(now_ns)
            if until_ns is not None and (self._control.all_are_final or now_ns >= until_ns):
                return
            try:
                self._heard.get(timeout=_SETTLING_LOOK_S)()
            except queue.Empty:
                continue

    def _begin(self) -> None:
        if self.link.error is not None:
            raise self.link.error
        for number, one in self.outgoing.items():
            one.port = self.link.samples[number]

    def _hear_all(self) -> bool:
        """Call what other threads want; return whether there was something."""
        has_heard = False
        while True:
            try:
                function = self._heard.get_nowait()
            except queue.Empty:
                return has_heard
            function()
            has_heard = True

    def _step(self, now_ns: int) -> int:
        """Do all that is due; return when to look again."""
        times_ns = [now_ns + _LOOK_NS]
        for one in self.outgoing.values():
            due_ns = one.step(now_ns)
            if due_ns is not None:
                times_ns.append(due_ns)
        for name, peer in self.peers.items():
            self._note(name, peer.look(now_ns))
            if not self.link.is_open:
                continue
            if peer.hello_due(now_ns):
                self._say_hello(name)
            if peer.is_connected and now_ns >= self._clock_ns[name]:
                self._clock_ns[name] = now_ns + peer.clock.period_ns
                self._tell_peer(name, {"probe": time.monotonic_ns()})
        if now_ns >= self._tell_ns or self._control.has_news:
            self._tell_ns = now_ns + _TELL_PERIOD_NS
            self._tell_counts()
            before = self._control.failed
            news = self._control.news(now_ns)
            for name in self._control.failed - before:
                self._give_up(name)
            self._tell_launcher(**news, network=self.status().to_json())
        return min(times_ns)

    def _is_over(self) -> bool:
        if not all(one.is_over for one in self.outgoing.values()):
            return False
        if not self.incoming:
            return bool(self.outgoing) or self._control.has_final_counts
        # Where all readers are over, nobody waits for what may still come.
        return self._control.has_final_counts or all(one.is_over for one in self.incoming.values())

    def _note_alive(self, machine: str, life: str, *, is_alive: bool) -> None:
        peer = self.peers.get(machine)
        if peer is None:
            return
        if is_alive:
            self._say_hello(machine)
            return
        try:
            number = int(life, 16)
        except ValueError:
            return
        self._note(machine, peer.hear_gone(number, time.monotonic_ns()))

    def _take_message(self, machine: str, told: Mapping[str, Any], received_ns: int) -> None:
        try:
            self._hear(machine, self.peers[machine], told, received_ns)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.hear_garbage(f"a message of machine {machine!r} makes no sense: {error!r}")

    def _hear(self, name: str, peer: Peer, told: Mapping[str, Any], received_ns: int) -> None:
        if "hello" in told:
            hello = told["hello"]
            if peer.note_rival(hello):
                sys.stderr.write(
                    f"dora_rt: a second launcher runs as machine {name!r}; it is not taken before "
                    "the first one is gone\n"
                )
            changes = peer.hear_hello(hello, received_ns)
            if peer.needs_answer(hello) or changes:
                self._say_hello(name)
            self._note(name, changes)
            return
        if told["life"] != peer.life or not peer.is_connected:
            return
        peer.hear(received_ns)
        if "probe" in told:
            times = [int(told["probe"]), received_ns, time.monotonic_ns()]
            self._tell_peer(name, {"times": times})
        elif "times" in told:
            sent_ns, there_ns, answered_ns = map(int, told["times"])
            peer.clock.add(sent_ns, there_ns, answered_ns, received_ns)
            for one in self._to(name):
                one.window.round_trip_ns = peer.clock.round_trip_ns
        elif "counts" in told:
            if peer.hear_counts(told):
                self._control.note_news()
        elif "ask" in told:
            self._requests.take_ask(name, told)
        elif "reply" in told:
            self._requests.take_reply(name, told)
        elif "bye" in told:
            self._note(name, peer.hear_end(str(told["bye"]), received_ns))
        else:
            self._control.hear(name, told)

    def _take_told(self, told: Mapping[str, Any]) -> None:
        """Take what the launcher tells."""
        if "counts" in told:
            self._books.hear_launcher(told["counts"])
        if "ask" in told:
            machine = str(told["machine"])
            peer = self.peers.get(machine)
            self._requests.ask(told, "no such machine" if peer is None else peer.obstacle())
        elif "answer" in told:
            self._requests.take_answer(told)
        self._control.hear_launcher(told)
        if "is_stopping" in told:
            for name, peer in self.peers.items():
                if not peer.is_connected:
                    self._give_up(name)
                elif self._control.is_optional:
                    # The others go on, and would send for ever.
                    for one in self._from(name):
                        one.end()

    def _take_ack(self, stream: int, payload: bytes) -> None:
        try:
            ack = Ack.from_bytes(payload)
        except WireError as error:
            self.hear_garbage(f"an acknowledgement of stream {stream} makes no sense: {error}")
            return
        self.outgoing[stream].window.hear(ack, time.monotonic_ns())

    def _answer_sample(
        self, fields: Mapping[str, Any], reply: Callable[[dict[str, Any]], None]
    ) -> None:
        if self._samples is None:
            # Hardly ever somebody asks, and it imports much.
            from dora_rt.network.far_samples import FarSamples

            self._samples = FarSamples(self._session.config.run)
        self._samples.submit(fields, reply)

    def _say_hello(self, name: str) -> None:
        self.link.tell(name, {"hello": self.peers[name].hello()})

    def _tell_peer(self, name: str, message: dict[str, Any]) -> None:
        self.link.tell(name, {"life": self._life, **message})

    def _tell_launcher(self, **fields: Any) -> None:
        if self._launcher is not None:
            self._launcher.tell(**fields)

    def _note(self, name: str, changes: list[Change]) -> None:
        peer = self.peers[name]
        now_ns = time.monotonic_ns()
        for change in changes:
            self._control.note(name, change)
            if change is Change.CONNECTED:
                for out in self._to(name):
                    out.connect(peer.life, now_ns, is_new_run=peer.is_new_run)
                for one in self._from(name):
                    one.connect(peer.life, peer.clock)
                if peer.is_new_run:
                    self._books.note_new_run(peer)
                peer.is_new_run = False
                self._tell_ns = 0
                continue
            is_unwanted = peer.plan.is_optional or change is Change.ENDED
            for out in self._to(name):
                out.disconnect(is_unwanted=is_unwanted)
            if change is Change.ENDED and not peer.plan.is_optional:
                for one in self._from(name):
                    one.end()
            if self._control.is_stopping:
                self._give_up(name)
            self._requests.lose(name, peer.obstacle() or "the machine was lost")

    def _give_up(self, name: str) -> None:
        """Wait no more for a machine: what is for it is thrown away, what it sent is over."""
        for out in self._to(name):
            out.disconnect(is_unwanted=True)
        for one in self._from(name):
            one.end()

    def _to(self, name: str) -> list[Outgoing]:
        return [one for one in self.outgoing.values() if one.stream.receiver == name]

    def _from(self, name: str) -> list[Incoming]:
        return [one for one in self.incoming.values() if one.stream.sender == name]

    def _tell_counts(self) -> None:
        for name, peer in self.peers.items():
            if peer.is_connected:
                message = {
                    "counts": self._books.told_to(name),
                    "is_final": self._control.is_final,
                    "heard_final": peer.is_final,
                }
                self._tell_peer(name, message)

    def _say_goodbye(self) -> None:
        for name, peer in self.peers.items():
            if peer.is_connected:
                self._tell_peer(name, {"bye": "its run has ended"})
        self._tell_launcher(
            **self._control.news(time.monotonic_ns()),
            network=self.status().to_json(),
            has_settled=True,
        )

    def _close(self) -> None:
        for one in self.incoming.values():
            one.close()
        for out in self.outgoing.values():
            out.close()
        if self._samples is not None:
            self._samples.close()
        self.link.close()


def _end_with_traceback(failure: threading.ExceptHookArgs) -> None:
    # A gateway without one of its threads would stand still without a word. As a process that has
    # failed it is started again.
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
