"""`sync:`: samples of several inputs that belong to the same moment, matched by their origin.

Boxes carry the origin of the picture in which they were found, so with a tolerance of 0 they find
that very picture; the samples of two cameras find each other within a tolerance.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence

from dora_rt.event import Change, Event, InputClosed, MatchedEvents, SourceRestarted
from dora_rt.node_config import NodeConfig, SyncConfig
from dora_rt.transport.board import Board
from dora_rt.transport.input.inbox import Inbox


class Matcher:
    """Holds samples without partners so far, at most `depth` of each input."""

    def __init__(self, input_ids: Sequence[str], *, slop_ns: int, depth: int) -> None:
        """Match the inputs of these names.

        Args:
            input_ids: two or more inputs.
            slop_ns: by how much the origins in a set may differ; 0: not at all.
            depth: how many samples of an input may wait for their partners.
        """
        self.unmatched = dict.fromkeys(input_ids, 0)
        """The number of samples that found no partners, by input."""
        self.sets = 0
        """The number of complete sets."""
        self._slop_ns = slop_ns
        self._depth = depth
        self._waiting: dict[str, deque[Event]] = {name: deque() for name in input_ids}
        self._closed: set[str] = set()
        self._unmatched_since = 0

    @property
    def is_over(self) -> bool:
        """Whether no set can be complete any more."""
        return any(not self._waiting[name] for name in self._closed)

    def add(self, event: Event) -> MatchedEvents | None:
        """Take a sample; return the set that it completes, if it completes one."""
        self._waiting[event.id].append(event)
        self.unmatched[event.id] += event.dropped
        if len(self._waiting[event.id]) > self._depth:
            self._discard(event.id)
        return self.take()

    def take(self) -> MatchedEvents | None:
        """Return a complete set, or None."""
        while all(self._waiting.values()):
            # No partner of an older sample can still come: origins only grow.
            newest_ns = max(waiting[0].origin_ns for waiting in self._waiting.values())
            late = [
                name
                for name, waiting in self._waiting.items()
                if waiting[0].origin_ns < newest_ns - self._slop_ns
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
        for name, waiting in self._waiting.items():
            while len(waiting) > 1 and abs(waiting[1].origin_ns - moment_ns) <= abs(
                waiting[0].origin_ns - moment_ns
            ):
                self._discard(name)
            events[name] = waiting.popleft()
        unmatched, self._unmatched_since = self._unmatched_since, 0
        self.sets += 1
        return MatchedEvents(events, seq=self.sets - 1, unmatched=unmatched)

    def _discard(self, name: str) -> None:
        self._waiting[name].popleft()
        self.unmatched[name] += 1
        self._unmatched_since += 1

    def _discard_all(self) -> None:
        for name, waiting in self._waiting.items():
            while waiting:
                self._discard(name)


def open_inbox(config: NodeConfig, board: Board) -> Inbox:
    """Attach to the inputs of a node, matched if its dataflow file says `sync:`."""
    if config.sync is None:
        return Inbox(config, board)
    return MatchingInbox(config, config.sync, board)


class MatchingInbox(Inbox):
    """An inbox behind which the inputs of `sync` are matched; the others come as they are."""

    def __init__(self, config: NodeConfig, sync: SyncConfig, board: Board) -> None:
        """Attach to what the launcher made."""
        super().__init__(config, board)
        self._matcher = Matcher(sync.input_ids, slop_ns=sync.slop_ns, depth=sync.depth)
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
