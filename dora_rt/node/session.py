"""`Session`: the part of this process in a run, on which a `Node` stands.

Users meet `Node`. The runtime of operators, the log relay and the layer for dora work on the
session as well.
"""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from dora_rt.compiled import SessionCore, prefer_compiled
from dora_rt.errors import (
    DoraRtError,
    NotInDataflowError,
    SentAfterStopError,
    ServerGone,
    UnknownOutputError,
)
from dora_rt.event import Change, Event
from dora_rt.node.dynamic import Attachment, find_config, hang_up, when_abandoned
from dora_rt.node_config import NodeConfig
from dora_rt.transport.board import Board
from dora_rt.transport.input.unreadable_samples import Losses
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.ports import Ports
from dora_rt.transport.primitives import forks, object_names
from dora_rt.transport.primitives.shm import Segment
from dora_rt.transport.ring import protocol
from dora_rt.transport.status_pipe import Kind, LinkCounters, StatusWriter

if TYPE_CHECKING:
    from dora_rt.node.node import Node

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_READY_NODES = _PACKAGE + "nodes" + os.sep


@prefer_compiled
class Session(SessionCore):
    """The ports of a node's process, and its messages to the launcher.

    Attributes:
        config: what the launcher told this process.
        where: the node's name, for errors.
        ports, inbox, publishers, origins: what the process receives and sends through.
        losses: the samples that could not be read.
        has_started: whether the inputs of the run flow, as far as this process has looked.
    """

    _attached: ClassVar[str | None] = None

    def __init__(self, config: NodeConfig, board: Board, ports: Ports) -> None:
        """Take the ports that `attach` has opened."""
        self.config = config
        self.where = f"node {config.node!r}"
        self.ports = ports
        self.inbox, self.publishers, self.origins = ports.inbox, ports.publishers, ports.origins
        self.losses = Losses()
        self.has_started = False
        self._board = board
        self._status = StatusWriter(config.status_fd, config.number)
        self._is_ready = self._reads_events = self._goes_on_after_stop = False
        self._attachment: Attachment | None = None

    @classmethod
    def of(cls, node: Node) -> Session:
        """Return the session of a node, for modules of dora_rt."""
        return node._session

    @classmethod
    def attach(cls, node_id: str | None, run: str | None) -> Session:
        """Attach to the run that the environment, or these names, lead to.

        Raises:
            NotInDataflowError: there is no such run or node, or this process is a node already.
            VersionMismatchError: the launcher is of another version of dora_rt.
            SharedMemoryError: the run has ended meanwhile.
        """
        if Session._attached is not None:
            raise NotInDataflowError(
                f"node {Session._attached!r} is in use in this process already: a process is one "
                "node; pass the Node object on instead of making a second one"
            )
        config = find_config(node_id, run)
        try:
            session = cls._open(config)
        except BaseException:
            hang_up(config)
            raise
        Session._attached = config.node
        return session

    @classmethod
    def _open(cls, config: NodeConfig) -> Session:
        # What this process starts is no part of the run, and must not keep it alive.
        for descriptor in (config.status_fd, config.lock_fd):
            os.set_inheritable(descriptor, False)
        segment = Segment.attach(object_names.board(config.run), writable=False)
        segment.close()
        board = Board(segment.words(), config.processes, config.edges, segment.name)
        session = cls(config, board, _open_ports(config, board))
        forks.watch()
        _report_uncaught(session)
        if config.connection_fd is not None:
            on_end = when_abandoned(config, session.publishers.values())
            session._attachment = Attachment(config, on_end)
        if not config.inputs:
            # A node without inputs can lose nothing: the flow need not wait for it.
            session._get_ready()
        return session

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Wait for what comes next; what this thread sends from now on answers it.

        Raises:
            TimeoutError: the deadline passed, or another thread called `inbox.wake`.
            NodeClosedError: the node is closed, or this process is a fork of it.
            CorruptSampleError: a sample was overwritten; the next call goes on behind it.
            SharedMemoryError: the objects of a writer that was started again are gone.
        """
        if forks.is_forked:
            forks.refuse(self.where, "receive")
        if not (self._reads_events and self._is_ready):
            self._announce_reading()
            self._get_ready()
        event = self.inbox.wait(deadline_ns)
        if isinstance(event, Event):
            # Only what an answer needs: the event itself would keep its slot in use.
            self.origins.cause = event.origin_ns, event.metadata_json, ""
        return event

    def wait_intact(self, deadline_ns: int | None) -> Event | Change | None:
        """Do what `wait` does, but pass over samples that cannot be read, metadata included."""
        return self.losses.pass_over(self.wait, deadline_ns)

    def look_for_stop(self) -> bool:
        """Look whether the loop must end, as a node that does not wait for inputs.

        The launcher learns that this node looks by itself, and need not be interrupted.
        """
        if not forks.is_forked:
            self._announce_reading()
            self.inbox.beat()
            self.inbox.hear_news()
        return self.inbox.has_ended or self._board.is_stopped(self.config.number)

    def publisher(self, output_id: str) -> Publisher:
        """Return an output to send on, once the run has started.

        Raises:
            UnknownOutputError: the dataflow file declares no such output.
            SentAfterStopError: `wait` has returned None because of a stop.
            NodeClosedError: this process is a fork of the node.
        """
        publisher = self._declared(output_id)
        forks.refuse(publisher.where, "send")
        if self.inbox.was_told_to_stop and not self._goes_on_after_stop:
            raise SentAfterStopError(
                f"{publisher.where}: sent after next() returned None because the dataflow is "
                "being stopped; send before the loop ends"
            )
        if not self._board.start_ns:
            self._get_ready()
            self.inbox.wait_for_start()
        self.has_started = bool(self._board.start_ns)
        return publisher

    def follow_rules_of_dora(self) -> None:
        """Be ready at once, wait for the stop without inputs, and send on after it."""
        self._get_ready()
        self._goes_on_after_stop = True
        self.inbox.ends_by_itself &= bool(self.config.inputs)
        # dora's nodes have no other way to learn a value than by an event.
        self.inbox.tell_all_parameters()

    def stop_dataflow(self) -> None:
        """Ask the launcher to stop the whole dataflow.

        Raises:
            NodeClosedError: this process is a fork of the node.
        """
        forks.refuse(self.where, "stop the dataflow")
        self._status.send(Kind.STOP_DATAFLOW)

    def report_link(self, link: LinkCounters) -> None:
        """Tell the launcher the counters of an edge between two operators of this process."""
        self._status.send(Kind.LINK, link)

    def close_input(self, input_id: str) -> None:
        """Take no more from one input; its writer stops feeding it.

        Raises:
            NodeClosedError: this process is a fork of the node.
        """
        forks.refuse(self.where, "close an input")
        self.inbox.close_input(input_id)

    def close_output(self, output_id: str) -> None:
        """Send no more on one output; its readers see the end of it.

        Raises:
            UnknownOutputError: the dataflow file declares no such output.
            NodeClosedError: this process is a fork of the node.
        """
        forks.refuse(self.where, "close an output")
        self._declared(output_id).close(protocol.CLOSED_FOR_GOOD)

    def close(self) -> None:
        """Send and receive no more. In a fork it does nothing: the parent goes on."""
        if forks.is_forked:
            return
        self.ports.close()
        if self._attachment is not None:
            self._attachment.leave()
            # A notebook may come back as another node, or as the same.
            Session._attached = None

    def _declared(self, output_id: str) -> Publisher:
        publisher = self.publishers.get(output_id)
        if publisher is None:
            raise UnknownOutputError.of(self.where, output_id, self.publishers)
        return publisher

    def _get_ready(self) -> None:
        if not self._is_ready:
            # In this order: an exception in between may let it be said twice, and never not at all.
            self._status.send(Kind.READY)
            self._is_ready = True

    def _announce_reading(self) -> None:
        # A node that never looks for events cannot be told to stop by one.
        if not self._reads_events:
            self._status.send(Kind.READS_EVENTS)
            self._reads_events = True


def _open_ports(config: NodeConfig, board: Board) -> Ports:
    # The choice is made here, once: a node that is not traced asks nothing at each sample.
    if not config.is_traced:
        return Ports.open(config, board)
    from dora_rt.tracing.traced_ports import TracedPorts

    return TracedPorts.open(config, board)


def _end_where_the_program_ends(trace: TracebackType | None) -> None:
    """Cut the frames of dora_rt off the end of a traceback: the mistake is where it was called."""
    last_of_program = None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_PACKAGE) or file.startswith(_READY_NODES):
            last_of_program = trace
        trace = trace.tb_next
    if last_of_program is not None:
        last_of_program.tb_next = None


def _report_uncaught(session: Session) -> None:
    """Tell the launcher if the stop made this process end by an error: that is no failure."""
    previous, status = sys.excepthook, session._status
    # Weak: the hook stays, also when a notebook has left the run.
    session_or_gone = weakref.ref(session)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, SentAfterStopError):
            status.send(Kind.SENT_AFTER_STOP)
        elif issubclass(kind, ServerGone):
            living = session_or_gone()
            if living is not None and living.look_for_stop():
                status.send(Kind.CALLED_AT_STOP)
        if issubclass(kind, DoraRtError):
            _end_where_the_program_ends(trace)
        previous(kind, error, trace)

    sys.excepthook = hook
