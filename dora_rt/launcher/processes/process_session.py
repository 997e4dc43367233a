"""A node's process and all that it has started: asked to end one by one, killed together."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from dora_rt.launcher.processes.ending import Rung
from dora_rt.launcher.processes.kernel import Kernel, Member
from dora_rt.report import Ending

_NAMED = 3


class ProcessSession:
    """The session of a node, in which each member climbs the stop ladder for itself.

    Not only its process group: a `timeout` in a shell, and a shell with job control, put the driver
    that they start into a group of its own.

    A signal for all would be one for none: a shell handles SIGINT and no SIGTERM, the driver that
    it waits for has a handler for SIGTERM, and one that it has started with & ignores SIGINT.
    """

    def __init__(self, leader: int, kernel: Kernel) -> None:
        self._leader = leader
        self._kernel = kernel
        self._sent: dict[int, list[Rung]] = {}
        self._awaited: dict[int, set[int]] = {}
        self._killed: dict[int, str] = {}
        self._out_of_reach: set[int] = set()

    @property
    def is_leader_out_of_reach(self) -> bool:
        """Whether the kernel refused to signal the node itself: it is another user now."""
        return self._leader in self._out_of_reach

    @property
    def was_leader_interrupted(self) -> bool:
        """Whether the node itself was sent SIGINT, and not only others of its session."""
        return Rung.INTERRUPTED in self._sent.get(self._leader, ())

    @property
    def waits(self) -> bool:
        """Whether a member is asked once others have ended, which no event announces."""
        return bool(self._awaited)

    def out_of_reach(self) -> list[int]:
        """Return the members that live and may not be signalled."""
        if not self._out_of_reach:
            return []
        return sorted(self._out_of_reach & {member.pid for member in self._members()})

    def has_others(self) -> bool:
        """Whether a member other than the node itself lives."""
        return any(member.pid != self._leader for member in self._members())

    def gentlest_rung(self) -> Rung:
        """Return the rung of a session whose members each get their gentlest signal."""
        members = self._members()
        rungs = [_gentlest_rung(member, members) for member in members]
        return Rung.INTERRUPTED if Rung.INTERRUPTED in rungs else Rung.TERMINATED

    def ask(self) -> None:
        """Send each member its gentlest signal, or the next one if it has had that."""
        members = self._members()
        for member in members:
            awaited = _cleaning_children(member, members)
            is_new = member.pid not in self._sent and member.pid not in self._awaited
            if is_new and awaited and _handles(member, signal.SIGTERM):
                # `timeout` and the like pass it on: to a Python that would die of it, or a second
                # time to one that cleans up.
                self._awaited[member.pid] = awaited
            else:
                self._awaited.pop(member.pid, None)
                self._ask(member, members)

    def ask_rest(self) -> None:
        """Ask the members that had to wait for others, once these have ended."""
        if not self._awaited:
            return
        members = self._members()
        living = {member.pid for member in members}
        for member in members:
            if member.pid in self._awaited and not self._awaited[member.pid] & living:
                del self._awaited[member.pid]
                self._ask(member, members)
        self._awaited = {pid: these for pid, these in self._awaited.items() if pid in living}

    def kill(self) -> None:
        """Kill all members that may be killed."""
        members = self._members()
        self._awaited.clear()
        # Together: nobody starts anything in between.
        self._kernel.kill_session(self._leader)
        for member in members:
            self._send(member, Rung.KILLED)

    def complete(self, ending: Ending, *, was_asked: bool) -> Ending:
        """Return the ending of a node, with what is not well with the rest of its session added.

        Args:
            ending: of the node itself.
            was_asked: whether they had been asked to end; all others just end with the node.
        """
        if was_asked and self._killed and not ending.is_failure:
            ending = Ending(True, f"{ending.text}; killed: {_enumerate(self._killed.values())}")
        left = [pid for pid in self.out_of_reach() if pid != self._leader]
        if left:
            text = f"{ending.text}; {_enumerate(map(self.describe_foreign, left))}; it goes on"
            ending = Ending(True, text)
        return ending

    def describe_foreign(self, pid: int) -> str:
        """Say why a process is beyond the launcher."""
        owner = self._kernel.owner_of(pid)
        return f"process {pid} belongs to {owner}, and may not be signalled"

    def _members(self) -> list[Member]:
        return self._kernel.members(self._leader)

    def _ask(self, member: Member, members: list[Member]) -> None:
        rungs = self._sent.get(member.pid)
        if rungs is None:
            self._send(member, _gentlest_rung(member, members))
        elif rungs[-1] is Rung.INTERRUPTED:
            self._send(member, Rung.TERMINATED)

    def _send(self, member: Member, rung: Rung) -> None:
        number, pid = rung.signal, member.pid
        assert number is not None, "only rungs with a signal are sent"
        rungs = self._sent.setdefault(pid, [])
        try:
            self._kernel.signal(pid, self._leader, number)
        except ProcessLookupError:
            return
        except PermissionError:
            self._out_of_reach.add(pid)
            return
        finally:
            rungs.append(rung)
        is_deadly = rung is Rung.TERMINATED and not _heeds(member, signal.SIGTERM)
        if rung is Rung.KILLED or (is_deadly and Rung.INTERRUPTED in rungs):
            self._killed[pid] = f"{member.name} (process {pid})"


def _gentlest_rung(member: Member, members: list[Member]) -> Rung:
    """Return the signal by which a program's own cleanup code runs, as far as it has any.

    Python has no handler for SIGTERM, which so ends a program without its `finally`, but one for
    SIGINT. A program with a handler for SIGTERM has it for its cleanup.
    """
    if _handles(member, signal.SIGTERM) or member.ignored & _bit(signal.SIGINT):
        return Rung.TERMINATED
    if _handles(member, signal.SIGINT):
        return Rung.INTERRUPTED
    # A shell goes on with its next command, unless the one that it waits for dies of SIGINT.
    return Rung.INTERRUPTED if len(members) > 1 else Rung.TERMINATED


def _cleaning_children(parent: Member, members: list[Member]) -> set[int]:
    return {
        member.pid
        for member in members
        if member.parent == parent.pid
        and (_handles(member, signal.SIGTERM) or _handles(member, signal.SIGINT))
    }


def _handles(member: Member, number: signal.Signals) -> bool:
    return bool(member.caught & _bit(number))


def _heeds(member: Member, number: signal.Signals) -> bool:
    """Whether a signal does anything else than to end a program on the spot."""
    return bool((member.caught | member.ignored) & _bit(number))


def _bit(number: signal.Signals) -> int:
    return 1 << (number - 1)


def _enumerate(texts: Iterable[str]) -> str:
    every = list(texts)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")
