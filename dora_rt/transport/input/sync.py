"""`sync:`: samples of several inputs that belong to the same moment, matched by their origin.

Boxes carry the origin of the picture in which they were found, so with a tolerance of 0 they find
that very picture; the samples of two cameras find each other within a tolerance.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence

from dora_rt.event import CLOCK_KEY, Change, Event, InputClosed, MatchedEvents, SourceRestarted
from dora_rt.node_config import NodeConfig, SyncConfig
from dora_rt.transport.board import Board
from dora_rt.transport.clock import Clock
from dora_rt.transport.input.inbox import Inbox


def _origin_ns(event: Event) -> int:
    return event.origin_ns


def clock_moment(event: Event) -> int:
    """Return the time of the clock at the origin of a sample; 0 where it has none."""
    clock_ns = event.metadata.get(CLOCK_KEY)
    return clock_ns if type(clock_ns) is int else 0


class Matcher:
    """Holds samples without partners so far, at most `depth` of each input."""

    def __init__(
        self,
        input_ids: Sequence[str],
        *,
        slop_ns: int,
        depth: int,
        moment_of: Callable[[Event], int] = _origin_ns,
    ) -> None:
        """Match the inputs of these names.

        Args:
            input_ids: two or more inputs.
            slop_ns: by how much the origins in a set may differ; 0: not at all.
            depth: how many samples of an input may wait for their partners.
            moment_of: returns the origin of a sample, by the clock that counts.
        """
        self.unmatched = dict.fromkeys(input_ids, 0)
        """The number of samples that found no partners, by input."""
        self.sets = 0
        """The number of complete sets."""
        self._slop_ns = slop_ns
        self._depth = depth
        self._moment_of = moment_of
        self._waiting: dict[str, deque[Event]] = {name: deque() for name in input_ids}
        # Origins only grow; a clock may jump back.
        self._may_jump_back = moment_of is not _origin_ns
        self._moments = dict.fromkeys(input_ids, 0)
        self._closed: set[str] = set()
        self._unmatched_since = 0

    @property
    def is_over(self) -> bool:
        """Whether no set can be complete any more."""
        return any(not self._waiting[name] for name in self._closed)

    def add(self, event: Event) -> MatchedEvents | None:
        """Take a sample; return the set that it completes, if it completes one."""
        if self._may_jump_back:
            moment = self._moment_of(event)
            if moment < self._moments[event.id]:
                self._forget_later(moment)
            self._moments[event.id] = moment
        self._waiting[event.id].append(event)
        self.unmatched[event.id] += event.dropped
        if len(self._waiting[event.id]) > self._depth:
            self._discard(event.id)
        return self.take()

    def take(self) -> MatchedEvents | None:
        """Return a complete set, or None."""
        while all(self._waiting.values()):
            # No partner of an older sample can still come.
            newest_ns = max(self._moment_of(waiting[0]) for waiting in self._waiting.values())
            late = [
                name
                for name, waiting in self._waiting.items()
                if self._moment_of(waiting[0]) < newest_ns - self._slop_ns
            ]
            for name in late:
                self._discard(name)
            if not late:
                return self._take_nearest(newest_ns)
        if self.is_over:
            self._discard_all()
        return None

    def close(self, input_id: str) -> None:
        """Note that an input has ended."""
        self._closed.add(input_id)
        if self.is_over:
            self._discard_all()

    def reopen(self, input_id: str) -> None:
        """Note that an input is back: a dynamic node has attached again."""
        self._closed.discard(input_id)

    def totals(self) -> dict[str, int]:
        """Return the samples without partners by input, with those that still wait for some."""
        return {name: self.unmatched[name] + len(self._waiting[name]) for name in self.unmatched}

    def _take_nearest(self, moment_ns: int) -> MatchedEvents:
        events = {}
        moment_of = self._moment_of
        for name, waiting in self._waiting.items():
            while len(waiting) > 1 and abs(moment_of(waiting[1]) - moment_ns) <= abs(
                moment_of(waiting[0]) - moment_ns
            ):
                self._discard(name)
            events[name] = waiting.popleft()
        unmatched, self._unmatched_since = self._unmatched_since, 0
        self.sets += 1
        return MatchedEvents(events, seq=self.sets - 1, unmatched=unmatched)

    def _forget_later(self, moment: int) -> None:
        """Discard what is later than a sample that came after it: the clock has jumped back."""
        for name, waiting in self._waiting.items():
            while waiting and self._moment_of(waiting[-1]) > moment:
                waiting.pop()
                self._count_unmatched(name)

    def _discard(self, name: str) -> None:
        self._waiting[name].popleft()
        self._count_unmatched(name)

    def _count_unmatched(self, name: str) -> None:
        self.unmatched[name] += 1
        self._unmatched_since += 1

    def _discard_all(self) -> None:
        for name, waiting in self._waiting.items():
            while waiting:
                self._discard(name)


def open_inbox(config: NodeConfig, board: Board, clock: Clock | None = None) -> Inbox:
    """Attach to the inputs of a node, matched if its dataflow file says `sync:`."""
    if config.sync is None:
        return Inbox(config, board, clock)
    return MatchingInbox(config, config.sync, board, clock)


class MatchingInbox(Inbox):
    """An inbox behind which the inputs of `sync` are matched; the others come as they are."""

    def __init__(
        self, config: NodeConfig, sync: SyncConfig, board: Board, clock: Clock | None = None
    ) -> None:
        """Attach to what the launcher made."""
        super().__init__(config, board, clock)
        self._matcher = Matcher(
            sync.input_ids,
            slop_ns=sync.slop_ns,
            depth=sync.depth,
            moment_of=_origin_ns if clock is None else clock_moment,
        )
        self._synced = frozenset(sync.input_ids)
        self._closed_inputs: deque[str] = deque()

    def close_input(self, input_id: str) -> None:
        """Take no more from one input, for good; the others of its sets find no partners."""
        super().close_input(input_id)
        if input_id in self._synced:
            # Not into the matcher, which a thread that waits may be using.
            self._closed_inputs.append(input_id)

    def _wait(self, deadline_ns: int | None, has_waited: bool = False) -> Event | Change | None:
        # With the lock of the threads that wait, as all of this class that changes the matcher.
        matcher = self._matcher
        while self._closed_inputs:
            matcher.close(self._closed_inputs[0])
            self._closed_inputs.popleft()
        matched: Event | None = matcher.take()
        while matched is None:
            event = super()._wait(deadline_ns, has_waited)
            if event is None or event.id not in self._synced:
                return event
            if isinstance(event, Event):
                matched = matcher.add(event)
                continue
            if isinstance(event, SourceRestarted):
                matcher.reopen(event.id)
            elif isinstance(event, InputClosed) and event.is_final:
                matcher.close(event.id)
            return event
        return matched

    def close(self) -> None:
        """Take no more, and log how many samples found no partners."""
        super().close()
        unmatched = self._matcher.totals()
        if any(unmatched.values()):
            counts = ", ".join(f"{name} {count}" for name, count in unmatched.items())
            print(f"dora_rt: sync: {self._matcher.sets} sets; unmatched: {counts}", file=sys.stderr)
