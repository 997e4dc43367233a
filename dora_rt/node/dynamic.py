"""Dynamic nodes: a program that dora-launch did not start attaches to a run, and leaves it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
import weakref
from collections.abc import Callable, Collection
from typing import Any

from dora_rt.errors import LaunchError, NotInDataflowError
from dora_rt.node_config import (
    CONFIG_VARIABLE,
    CONFIG_VERSION,
    Descriptors,
    NodeConfig,
    NodePlan,
    RunFacts,
    make_config,
)
from dora_rt.run_status import NodeDescription
from dora_rt.runs import RUN_VARIABLE, Connection, RefusedError, base_folder, find_runs, names_run
from dora_rt.transport.board import Board
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import Segment, attach_semaphore

_GOODBYE_S = 1.0


def find_config(node_id: str | None, run: str | None) -> NodeConfig:
    """Return this process' configuration, from the environment or, for a dynamic node, the run.

    Raises:
        NotInDataflowError: there is none: neither in the environment, nor for this node id in a
            run; or it is that of the process that started this one.
    """
    text = os.environ.get(CONFIG_VARIABLE)
    if text is not None:
        # Also with an id: programs for dora give one that the dataflow file need not know.
        config = NodeConfig.from_json(text)
        _check_place(config)
        return config
    if node_id is not None:
        return config_of(node_id, run)
    raise NotInDataflowError(
        "Node() works only in a program that dora-launch started: put this script into a "
        "dataflow file (- id: my_node, path: this_script.py) and run "
        "`dora-launch dataflow.yml`; to start it yourself, write `path: dynamic` there and "
        'Node("my_node") here; to test its logic alone, use dora_rt.testing.FakeNode'
    )


def _check_place(config: NodeConfig) -> None:
    """Check that this process is the node itself, and no child that inherited its environment.

    Raises:
        NotInDataflowError: it is a child.
    """
    try:
        # Other files may have got their numbers in a child.
        status, lock = os.fstat(config.status_fd), os.fstat(config.lock_fd)
        if stat.S_ISFIFO(status.st_mode) and stat.S_ISDIR(lock.st_mode):
            return
    except OSError:
        pass  # closed, as in a child of subprocess or of multiprocessing
    raise NotInDataflowError(
        f"this process is not node {config.node!r}, but was started by it (or by a wrapper that "
        "closes what it inherits): a child has no part in the dataflow; call Node() in the program "
        "that the dataflow file names and pass on to its children what they need, or give this "
        "script a node of its own there (- id: my_node, path: this_script.py); a wrapper ends with "
        "exec, or passes on all open descriptors"
    )


def config_of(node_id: str, run: str | None = None) -> NodeConfig:
    """Ask a run to let this process be its dynamic node of that name.

    The connection in the configuration belongs to the caller: `Attachment` keeps it and ends it.
    Its end, however it comes, is the end of the node for the run.

    Args:
        node_id: the node's id in the dataflow file.
        run: the name of the run, or the beginning of it, or its dataflow file (see
            `dora_rt.runs.names_run`); None: the one that `DORA_RT_RUN` names, or the only one that
            has such a node.

    Raises:
        NotInDataflowError: no run has such a node to give, or several have it.
    """
    run = run or os.environ.get(RUN_VARIABLE) or None
    with contextlib.ExitStack() as connections:
        found = [_Run(connections.enter_context(one)) for one in _connections()]
        chosen = _choose(found, node_id, run)
        answer, (status_fd, lock_fd) = _attach(chosen, node_id)
        # The launcher has looked at the version: this cannot fail and leave descriptors behind.
        plan, facts = NodePlan.from_fields(answer["plan"]), RunFacts(**answer["run"])
        descriptors = Descriptors(status_fd, lock_fd, chosen.connection.detach())
        return make_config(plan, facts, descriptors, restart_count=0)


def hang_up(config: NodeConfig) -> None:
    """End a connection that `config_of` has made and that no `Attachment` keeps."""
    if config.connection_fd is not None:
        for descriptor in (config.connection_fd, config.status_fd, config.lock_fd):
            os.close(descriptor)


class Attachment:
    """This process' part in a run that did not start it; ends with `leave`, or with the run."""

    def __init__(self, config: NodeConfig, on_end: Callable[[], None]) -> None:
        """Watch over the connection of a configuration that `config_of` gave.

        Args:
            config: the configuration.
            on_end: called, in a thread of its own, when the run ends first.
        """
        self._node = config.node
        self._link = socket.socket(fileno=config.connection_fd)
        self._descriptors = [config.status_fd, config.lock_fd]
        self._on_end = on_end
        self._has_left = False
        self._lock = threading.Lock()
        _attachments.add(self)
        self._thread = threading.Thread(target=self._watch, name="dora_rt", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Tell the run that this process is no longer the node; the run may be over already.

        Waits up to a second for the answer: then another process may be the node.
        """
        with self._lock:
            if self._has_left:
                return
            self._has_left = True
        request = json.dumps({"request": "leave", "node": self._node}).encode() + b"\n"
        with contextlib.suppress(OSError):
            self._link.sendall(request)
            # The answer is the end of the connection.
            self._thread.join(_GOODBYE_S)
            self._link.shutdown(socket.SHUT_RDWR)
        self._let_go()

    def forget(self) -> None:
        """Close everything without a word, in a fork: the node is the parent."""
        self._has_left = True
        self._let_go()

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while self._link.recv(4096):
                pass
        with self._lock:
            is_first, self._has_left = not self._has_left, True
        if is_first:
            self._on_end()
            self._let_go()

    def _let_go(self) -> None:
        self._link.close()
        # As long as the lock is open somewhere, the run counts as alive.
        while self._descriptors:
            os.close(self._descriptors.pop())


class _Run:
    """A run as it describes itself, and a connection to it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.name = connection.run
        self.error, self.file = "", ""
        nodes: tuple[NodeDescription, ...] = ()
        try:
            description = connection.describe()
            self.file, nodes = description.file, description.nodes
        except (OSError, ValueError) as error:
            self.error = f"no answer ({error})"
        except RefusedError as error:
            self.error = str(error)
        self.dynamic = [node.id for node in nodes if node.is_dynamic]
        self.others = [node.id for node in nodes if not node.is_dynamic]

    def __str__(self) -> str:
        return f"{self.name} ({self.error or self.file})"


def _connections() -> list[Connection]:
    try:
        base = base_folder(os.environ)
    except LaunchError as error:
        raise NotInDataflowError(str(error)) from error
    opened = [Connection.open(base, run) for run in find_runs(base)]
    return [connection for connection in opened if connection is not None]


def _choose(found: list[_Run], node_id: str, run: str | None) -> _Run:
    called = [one for one in found if run is None or names_run(run, one.name, one.file)]
    having = [one for one in called if node_id in one.dynamic]
    if len(having) == 1:
        return having[0]
    if having:
        raise NotInDataflowError(
            f"{len(having)} runs have a dynamic node {node_id!r}: "
            f"{', '.join(map(str, having))}; say which: "
            f"Node({node_id!r}, run={having[0].name!r}), or {RUN_VARIABLE}={having[0].name} in the "
            "environment"
        )
    raise NotInDataflowError(_explain_absence(found, called, node_id, run))


def _explain_absence(found: list[_Run], called: list[_Run], node_id: str, run: str | None) -> str:
    if not found:
        return (
            f"node {node_id!r} cannot be attached to, because no dataflow of this user is running "
            f"(looked in {base_folder(os.environ)}): start one with dora-launch in which it has "
            "`path: dynamic`"
        )
    if not called:
        return f"no run is called {run!r}; there are: {', '.join(map(str, found))}"
    started = [one for one in called if node_id in one.others]
    if started:
        return (
            f"node {node_id!r} of run {started[0]} is started by dora-launch; give it "
            "`path: dynamic` to start it yourself"
        )
    dynamic = [f"{one} has {', '.join(one.dynamic) or 'none'}" for one in called]
    return f"no run has a dynamic node {node_id!r}; run {'; run '.join(dynamic)}"


def _attach(chosen: _Run, node_id: str) -> tuple[dict[str, Any], list[int]]:
    obstacle = f"node {node_id!r} of run {chosen} cannot be attached to: "
    try:
        answer, descriptors = chosen.connection.ask("attach", node=node_id, version=CONFIG_VERSION)
    except OSError as error:
        raise NotInDataflowError(f"run {chosen} has ended meanwhile: {error}") from error
    except RefusedError as error:
        raise NotInDataflowError(f"{obstacle}{error}") from None  # it says nothing else
    if len(descriptors) != 2:
        raise NotInDataflowError(f"{obstacle}the answer had no descriptors")
    return answer, descriptors


def _forget_all() -> None:
    for attachment in _attachments:
        attachment.forget()


_attachments: weakref.WeakSet[Attachment] = weakref.WeakSet()
# A child that lives longer must neither keep the run alive nor seem to be the node.
os.register_at_fork(after_in_child=_forget_all)


def when_abandoned(config: NodeConfig, publishers: Collection[Publisher]) -> Callable[[], None]:
    """Return a function that ends the node's loop and its sends, in any thread.

    It attaches now: the names may be gone when the launcher is.
    """
    # The launcher alone writes the board; this says in its place what it can no longer say.
    segment = Segment.attach(object_names.board(config.run), writable=True)
    segment.close()
    board = Board(segment.words(), config.processes, config.edges, segment.name)
    doorbell = attach_semaphore(object_names.doorbell(config.run, config.number))

    def end() -> None:
        board.stop(config.number)
        doorbell.release()
        for publisher in publishers:
            publisher.close()

    return end
