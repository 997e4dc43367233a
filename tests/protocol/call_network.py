"""Nodes that call each other over ideal edges, under a scheduler: one seed is one interleaving.

The calls and goals are the real ones; only the session below them is a stand-in, with queues that
lose nothing and keep their order. What those queues rest on is explored by the other schedules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from dora_rt.event import Change, Event, InputClosed, SourceRestarted
from dora_rt.node.calls import PARTS, Calls
from dora_rt.node_config import CallConfig, ServiceKind
from dora_rt.transport.output.origin import Origins, Stamp

QUEUE_SIZE = 2
MOST_IDLE_STEPS = 2_000


class StuckError(Exception):
    """All processes wait for each other."""


class Killed(GreenletExit):
    """The end of a process."""


Program = Callable[["Life"], None]


@dataclass(eq=False)
class Port:
    """One edge: what waits for its reader."""

    reader: str
    input_id: str
    waiting: deque[Event | Change]
    sent: int = 0

    def count(self) -> int:
        return sum(isinstance(one, Event) for one in self.waiting)


class Life:
    """One life of a process: its calls, and what they need of a session and its inbox."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.network = network
        self.where = f"node {name!r}"
        self.number = number
        self.config = SimpleNamespace(node=name, calls=network.ends[name], restart_count=number)
        self.origins = Origins()
        self.inbox = self
        self.was_told_to_stop = self.has_ended = False
        self.narrowed: Collection[str] | None = None
        self.calls = Calls(self)  # type: ignore[arg-type]

    def beat(self) -> None:
        """Do nothing: nobody watches."""

    def look_for_stop(self) -> bool:
        return False

    def narrow(self, input_ids: Collection[str]) -> None:
        self.narrowed = input_ids

    def widen(self) -> None:
        self.narrowed = None

    def publisher(self, port: str) -> Publisher:
        return Publisher(self, self.network.outputs[self.config.node, port])

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Take one thing; a deadline passes as soon as nothing is there and others have run."""
        has_waited = False
        while True:
            self.network.step()
            ready = [
                port
                for port in self.network.inputs[self.config.node]
                if port.waiting and (self.narrowed is None or port.input_id in self.narrowed)
            ]
            if ready:
                taken = self.network.rng.choice(ready).waiting.popleft()
                self.network.progressed()
                self.network.step()
                return taken
            if self.narrowed is None and self.network.is_over(self.config.node):
                return None
            if deadline_ns is not None and has_waited:
                raise TimeoutError("nothing came")
            has_waited = True

    wait_intact = wait


class Publisher:
    """One output of a process."""

    def __init__(self, life: Life, port: Port) -> None:
        self.where = life.where
        self._life, self._port = life, port

    def send_in_time(self, value: Any, stamp: Stamp) -> None:
        network, port = self._life.network, self._port
        network.step()
        is_feedback = port.input_id.endswith(".feedback")
        if port.count() >= QUEUE_SIZE:
            if not is_feedback:
                raise TimeoutError("there is no room")
            oldest = next(one for one in port.waiting if isinstance(one, Event))
            port.waiting.remove(oldest)
        port.waiting.append(Event(port.input_id, value, stamp.metadata_json, seq=port.sent))
        port.sent += 1
        network.progressed()
        network.step()


class Network:
    """Two processes and the edges between them."""

    def __init__(self, seed: int, kinds: dict[tuple[str, str, str], ServiceKind]) -> None:
        """Wire services: by client, name and server."""
        self.rng = Random(seed)
        self.ends: dict[str, list[CallConfig]] = {"a": [], "b": []}
        self.inputs: dict[str, list[Port]] = {"a": [], "b": []}
        self.outputs: dict[tuple[str, str], Port] = {}
        self.finished: set[str] = set()
        self.kills = 0
        self._idle = 0
        self._running: dict[str, greenlet] = {}
        for (client, name, server), kind in kinds.items():
            pair = [CallConfig(name, kind, server, False), CallConfig(name, kind, client, True)]
            for end, owner in zip(pair, (client, server), strict=True):
                self.ends[owner].append(end)
            for writer, reader, reading in ((client, server, pair[1]), (server, client, pair[0])):
                writing = pair[0] if reading is pair[1] else pair[1]
                for part in PARTS[kind, reading.is_server]:
                    port = Port(reader, reading.port(part), deque())
                    self.inputs[reader].append(port)
                    self.outputs[writer, writing.port(part)] = port

    def run(self, programs: dict[str, Program], kills: int) -> None:
        """Run until both programs are done.

        Raises:
            StuckError: they never are.
        """
        lives = dict.fromkeys(programs, 0)
        for name, program in programs.items():
            self._start(name, program, 0)
        kill_at = {self.rng.randrange(1, 150) for _ in range(kills)}
        steps = 0
        while self._running:
            steps += 1
            name = self.rng.choice(sorted(self._running))
            process = self._running[name]
            if steps in kill_at:
                self.kills += 1
                process.throw(Killed)
                lives[name] += 1
                self._tell_readers(name, SourceRestarted)
                self._start(name, programs[name], lives[name])
                continue
            process.switch()
            self._idle += 1
            if process.dead:
                del self._running[name]
                self.finished.add(name)
                self._tell_readers(name, lambda port: InputClosed(port, is_final=True))
            if self._idle > MOST_IDLE_STEPS:
                raise StuckError(f"{sorted(self._running)} wait for each other for ever")

    def step(self) -> None:
        """Let others go on."""
        parent = getcurrent().parent
        assert parent is not None, "a process runs below the scheduler"
        parent.switch()

    def progressed(self) -> None:
        self._idle = 0

    def is_over(self, name: str) -> bool:
        """Whether nobody is left who could send this process anything."""
        return all(other in self.finished for other in self.ends if other != name)

    def _start(self, name: str, program: Program, number: int) -> None:
        life = Life(self, name, number)
        self._running[name] = greenlet(lambda: program(life))

    def _tell_readers(self, name: str, change: Callable[[str], Change]) -> None:
        self.progressed()
        for (writer, _), port in self.outputs.items():
            if writer == name:
                port.sent = 0
                port.waiting.append(change(port.input_id))
