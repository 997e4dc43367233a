"""One schedule: what a seed decides, the programs of the processes, the run to the last check."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from dora_rt.errors import SharedMemoryError, TooManyLoansError
from dora_rt.event import Event, InputClosed, SourceRestarted
from dora_rt.launcher.memory.run_memory import RunMemory
from dora_rt.node_config import NodeConfig, NodePlan, QueuePolicy
from tests.harness.ring import Reader, config_of
from tests.protocol.accounts import RUN, Accounts, Life
from tests.protocol.checks import Checks
from tests.protocol.flow import Flow, make_plan
from tests.protocol.implementation import Ends, Implementation
from tests.protocol.interrupts import Interrupted
from tests.protocol.memory import Memory
from tests.protocol.scheduler import Act, Befalls, Process, Scheduler, ViolationError
from tests.protocol.substitutes import here, value_of

# How likely another thread goes on after a step. Most faults need few switches, at wrong places.
_SWITCHES = (1.0, 0.5, 0.2, 0.2, 0.1, 0.05, 0.02)
_POLICIES = (QueuePolicy.BLOCK, QueuePolicy.DROP_OLDEST, QueuePolicy.LATEST)


@dataclass(frozen=True)
class Kind:
    """What sort of schedules to explore; the seed decides the rest."""

    name: str
    kills: tuple[int, ...] = (0,)
    victims: tuple[int, ...] = (0, 1, 2)
    interrupts: tuple[int, ...] = (0,)
    policies: tuple[QueuePolicy, ...] = _POLICIES
    readers: tuple[int, ...] = (1, 2)
    most_queue: int = 3
    most_samples: int = 8
    answers: float = 0.3
    """How likely the writer listens to a reader's answers, and so can be idle in its inbox."""
    threads: float = 0.15
    loans: float = 0.3
    views: float = 0.6
    closes: float = 0.0
    """How likely a reader closes its input for good."""
    observers: float = 0.0
    slow: float = 0.2
    """How likely a reader does other things for long."""
    weak: tuple[float, ...] = (0.0,)
    posthumous: float = 0.1
    """How likely a reader that is killed has just given something back."""
    reaping: tuple[int, ...] = (0, 3, 20, 60)
    """How many steps the launcher needs until it has told of a death."""
    starting: tuple[int, ...] = (0, 3, 20, 60)
    """And how many more until it starts the process again."""
    checks_handles: bool = True
    is_latched: bool = False
    """Whether a reader that comes later gets the newest sample first."""
    late: float = 0.0
    """How likely a reader comes later, and is not waited for: a dynamic node."""


@dataclass
class Result:
    """What one schedule was."""

    steps: int
    kills: int
    interrupts: int
    samples: int
    violation: str | None = None


class Signal:
    """Something that a thread of the harness waits for."""

    def __init__(self) -> None:
        self.count = 0


@dataclass(eq=False)
class Node:
    """One life of a process of the flow."""

    process: Process
    life: Life
    ends: Ends | None = None
    held: list[tuple[Event, bytes]] = field(default_factory=list)
    has_closed_input: bool = False
    has_finished: bool = False
    sent: int = 0
    to_send: int = 0


class Schedule:
    """Everything that one seed leads to."""

    def __init__(self, implementation: Implementation, kind: Kind, seed: int) -> None:
        self.rng = rng = Random(seed)
        self.kind = kind
        self._implementation = implementation
        self.scheduler = Scheduler(rng, rng.choice(_SWITCHES))
        self.memory = Memory(self.scheduler, rng, rng.choice(kind.weak))
        readers = tuple(self._reader() for _ in range(rng.choice(kind.readers)))
        self.has_threads = rng.random() < kind.threads
        self.has_loans = rng.random() < kind.loans
        self.flow = Flow(
            readers,
            1 + self.has_threads + (2 if self.has_loans else 0),
            rng.random() < kind.answers,
            kind.is_latched,
        )
        self.plan = make_plan(self.flow)
        self.samples = rng.randint(3, kind.most_samples)
        self.kills_left = rng.choice(kind.kills)
        self.interrupts_left = rng.choice(kind.interrupts)
        self.slow = {number for number in (1, 2) if rng.random() < kind.slow}
        self.closing = {number for number in (1, 2) if rng.random() < kind.closes}
        self.has_observer = rng.random() < kind.observers
        is_late = kind.late and rng.random() < kind.late
        self.late = {rng.randint(1, len(readers))} if is_late else set[int]()
        """Readers that are dynamic nodes, and not there at the start."""
        self.holds = rng.choice((0, 1, 2, 4))
        self.deaths, self.never, self.more = Signal(), Signal(), Signal()
        self.dead: deque[Process] = deque()
        self.nodes: dict[int, Node] = {}
        self.ever_closed: set[int] = set()
        """Readers of which one life has closed its input."""
        self.lives = 0
        here.memory, here.scheduler = self.memory, self.scheduler
        # An observer makes real arrays, and here there are no such bytes.
        copies = self.has_observer or kind.is_latched
        here.has_views = rng.random() < kind.views and not copies
        edges = tuple(edge for output in self.plan.outputs for edge in output.edges)
        outputs = {edge.number: it.number for it in self.plan.outputs for edge in it.edges}
        here.accounts = self.accounts = Accounts(self.memory, edges, outputs)
        self.memory.token_taken = self.accounts.token_taken
        self.scheduler.killed = self._on_death

    def _reader(self) -> Reader:
        policy = self.rng.choice(self.kind.policies)
        queue = 1 if policy is QueuePolicy.LATEST else self.rng.randint(1, self.kind.most_queue)
        return Reader(queue, policy, self.rng.choice((0, 1, 2)))

    def run(self) -> Result:
        """Run to the end, and check."""
        violation = None
        try:
            self._run()
        except ViolationError as error:
            violation = str(error)
        except Interrupted:
            violation = "an exception of a signal handler came out of where none was raised"
        except (Exception, SystemExit) as error:
            violation = f"{type(error).__name__}: {error}\n{_where(error)}"
        finally:
            scheduler = self.scheduler
            scheduler.close()
            for node in self.nodes.values():
                node.held.clear()
        samples = len(self.accounts.samples)
        return Result(
            scheduler.steps, len(scheduler.kills), len(scheduler.interrupts), samples, violation
        )

    def _run(self) -> None:
        self.run_memory = RunMemory.create(self.plan, RUN)
        self.run_memory.start()
        self.launcher = self._new_process("launcher", -1)
        self.scheduler.spawn("launcher", self.launcher, self._launch)
        for process in self.plan.processes:
            number = process.config.number
            if number in self.late:
                self.run_memory.mark_dead(number, returns=True, keeps_queues=False)
        for process in self.plan.processes:
            number = process.config.number
            if number not in self.late:
                self._start(number, self.run_memory.current(process.config))
        if self.has_observer:
            process = self._new_process("observer", -1)
            self.scheduler.spawn("observer", process, self._observe)
        self._plan_befalls()
        self.scheduler.run()
        while self.kills_left:  # of processes that had nothing more to do
            self.kills_left -= 1
            victim = self._victim()
            self.memory.settle()
            if victim.process.is_alive and not victim.has_finished:
                self.scheduler.kill(victim.process)
                self.scheduler.run()
        Checks(self).run()

    # Lives.

    def _new_process(self, name: str, number: int) -> Process:
        process = Process(name, number, self.lives)
        self.lives += 1
        self.memory.begin(process)
        return process

    def _start(self, number: int, plan: NodePlan) -> None:
        config = config_of(plan, RUN)
        process = self._new_process(f"p{number}.{self.lives}", number)
        life = self.accounts.starts(process, config)
        node = Node(process, life)
        self.nodes[number] = node
        program = self._write if number == 0 else self._read
        name = process.name
        self.scheduler.spawn(name, process, lambda: program(node, config))
        process.let_go = lambda: self._let_go(node)

    def _plan_befalls(self) -> None:
        """Decide who is killed, and when, as soon as all are there."""
        rng = self.rng
        for _ in range(self.kills_left):
            if rng.random() < 0.8:
                self._kill_later(self._victim())
        for node in self.nodes.values():
            if here.has_views and rng.random() < 0.3:
                self._befall(node, Befalls(self._moment(), Act.LET_GO))
        for _ in range(self.interrupts_left):
            victim = self._victim()
            self._befall(victim, Befalls(self._moment(), Act.INTERRUPT, rng.randint(0, 12)))

    def _kill_later(self, node: Node) -> None:
        self.kills_left -= 1
        if node.process.number > 0 and self.rng.random() < self.kind.posthumous:
            node.process.posts_to_live = self.rng.randint(1, 8)
        else:
            self._befall(node, Befalls(self._moment(), Act.KILL))

    def _moment(self) -> int:
        return self.rng.randint(1, self.rng.choice((60, 150, 400)))

    def _victim(self) -> Node:
        victims = [node for number, node in self.nodes.items() if number in self.kind.victims]
        return self.rng.choice(victims)

    def _befall(self, node: Node, what: Befalls) -> None:
        befalls = node.process.befalls
        befalls.append(what)
        befalls.sort(key=lambda it: -it.step)

    def _on_death(self, process: Process) -> None:
        self.accounts.dies(process)
        self.dead.append(process)
        self.deaths.count += 1

    def _let_go(self, node: Node) -> None:
        if node.held:
            event, payload = node.held.pop(self.rng.randrange(len(node.held)))
            self._release(node, event, payload)

    def _release(self, node: Node, event: Event, payload: bytes) -> None:
        found = value_of(event.value)
        if found != payload:
            self.scheduler.fail(
                f"overwritten under a live view: {node.process.name} had sample {event.seq}, "
                f"{payload.hex()} became {found.hex()}"
            )

    def has_closed(self, process: Process) -> bool:
        """Tell whether this life of a process has closed its input."""
        node = self.nodes.get(process.number)
        return node is not None and node.process is process and node.has_closed_input

    # Programs.

    def _launch(self) -> None:
        """The launcher: it reaps, tells the peers, starts again, and tidies up."""
        rng, run_memory = self.rng, self.run_memory
        for number in self.late:
            self._pause(rng.choice((0, 20, 60, 150, 400)))
            self._start(number, run_memory.renew(number))
        while True:
            self.scheduler.block(self.deaths, has_deadline=False)
            self.deaths.count -= 1
            process = self.dead.popleft()
            number = process.number
            self.memory.reap(process)
            self.memory.handles.pop(process, None)
            self._pause(rng.choice(self.kind.reaping))
            if process is not self.nodes[number].process:
                continue
            if self.nodes[number].has_finished:
                run_memory.mark_dead(number, returns=False)
                continue
            run_memory.mark_dead(number, returns=True, keeps_queues=number not in self.late)
            self._pause(rng.choice(self.kind.starting))
            self._start(number, run_memory.renew(number))
            if self.kills_left and rng.random() < 0.5:
                self._kill_later(self._victim())
            self._pause(rng.choice((0, 20, 60)))
            run_memory.remove_outdated()

    def _pause(self, steps: int) -> None:
        for _ in range(steps):
            self.scheduler.step()

    def _open(self, node: Node, config: NodeConfig) -> Ends:
        node.ends = ends = self._implementation.open(config)
        self.run_memory.note_attached(config.number)
        node.process.is_open = True
        return ends

    def _write(self, node: Node, config: NodeConfig) -> None:
        ends = self._open(node, config)
        node.to_send = max(self.samples - self._sent_before(), 1)
        if self.has_threads and self.rng.random() < 0.7:
            node.life.is_alone = False
            self.scheduler.spawn(
                f"{node.process.name}+", node.process, lambda: self._send_all(node, ends)
            )
        self._send_all(node, ends)
        while self.flow.has_answers:
            if self._receive(node, ends, config) is None:
                break
        while True:
            self.scheduler.block(self.more, has_deadline=False)
            self.more.count -= 1
            node.to_send += 1
            self._send_all(node, ends, plainly=True)

    def _sent_before(self) -> int:
        return len(self.accounts.samples)

    def _send_all(self, node: Node, ends: Ends, *, plainly: bool = False) -> None:
        rng = self.rng
        patience = 30
        while node.sent < node.to_send:
            node.sent += 1
            payload = self._payload(node)
            try:
                if plainly:
                    ends.send(payload, None)
                elif self.has_loans and rng.random() < 0.3:
                    if rng.random() < 0.3:
                        ends.cancel_loan(payload)
                        continue
                    ends.loan(payload)
                elif rng.random() < 0.1:
                    ends.send(payload, self.memory.now_ns + 50)
                else:
                    ends.send(payload, None)
            except TimeoutError:
                continue
            except TooManyLoansError:
                # What came back may be seen late. With time it is seen: then it is an error.
                patience -= 1
                if not patience or not self.memory.weak:
                    raise
                node.sent -= 1
                self._pause(3)
                continue
            except Interrupted:
                node.life.was_interrupted = True
                continue
            self.accounts.completes(payload)

    def _payload(self, node: Node) -> bytes:
        return (node.process.life << 32 | node.sent).to_bytes(8, "little")

    def _read(self, node: Node, config: NodeConfig) -> None:
        ends = self._open(node, config)
        if self.has_threads and self.rng.random() < 0.5:
            node.life.is_alone = False
            self.scheduler.spawn(
                f"{node.process.name}+", node.process, lambda: self._receive_all(node, ends, config)
            )
        self._receive_all(node, ends, config)
        self.scheduler.block(self.never, has_deadline=False)

    def _receive_all(self, node: Node, ends: Ends, config: NodeConfig) -> None:
        rng = self.rng
        number = config.number
        held = node.held
        while (received := self._receive(node, ends, config)) is not None:
            if isinstance(received, Event) and config.outputs and rng.random() < 0.3:
                node.sent += 1
                try:
                    ends.send(self._payload(node), None)
                except Interrupted:
                    node.life.was_interrupted = True
            del received
            while held and (len(held) > self.holds or rng.random() < 0.6):
                self._let_go(node)
            if number in self.slow and rng.random() < 0.3:
                self._pause(rng.choice((10, 60)))
            if number in self.closing and rng.random() < 0.2:
                self.closing.discard(number)
                node.has_closed_input = True
                self.ever_closed.add(number)
                try:
                    ends.close_input("input")
                except Interrupted:
                    ends.close_input("input")

    def _receive(self, node: Node, ends: Ends, config: NodeConfig) -> object | None:
        """Take one; None at the end, True if there was none this time."""
        (entry,) = config.inputs
        assert entry.edge is not None
        edge = entry.edge.number
        wait = self.accounts.waits(edge, node.life)
        try:
            deadline_ns = self.memory.now_ns + 50 if self.rng.random() < 0.05 else None
            event = ends.wait(deadline_ns)
        except TimeoutError:
            return True
        except Interrupted:
            node.life.was_interrupted = True
            return True
        if event is None:
            return None
        if isinstance(event, Event):
            payload = value_of(event.value)
            self.accounts.delivers(edge, node.life, wait, event, payload)
            node.held.append((event, payload))
        else:
            assert isinstance(event, (InputClosed, SourceRestarted))
        return event

    def _observe(self) -> None:
        """An observer: it looks from time to time, and must never see a torn sample."""
        rng = self.rng
        try:
            looker = self._implementation.observe(RUN, self.plan.outputs[0])
        except SharedMemoryError:
            return  # the writer was started again before
        look: Callable[[], Event | None] = rng.choice((looker.newest, looker.following))
        for _ in range(12):
            event = look()
            if event is not None:
                payload = value_of(event.value)
                sample = self.accounts.samples.get(payload)
                if sample is None or sample.seq != event.seq:
                    self.scheduler.fail(
                        f"torn: an observer got {payload.hex()} as sample {event.seq}; "
                        f"it is {sample}"
                    )
            self._pause(rng.choice((0, 1, 10)))


def _where(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_tb(error.__traceback__)[-6:])


__all__ = ["Kind", "Node", "Result", "Schedule", "replace"]
