"""The inbox of a node with `sync`: gives sets of samples in place of the samples themselves."""

from __future__ import annotations

import sys
from collections import deque

from dora_rt.event import Change, Event, InputClosed, SourceRestarted
from dora_rt.node_config import NodeConfig, SyncConfig
from dora_rt.transport.board import Board
from dora_rt.transport.input.inbox import Inbox
from dora_rt.transport.input.sync import Matcher


def open_inbox(config: NodeConfig, board: Board) -> Inbox:
    """Attach to the inputs of a node, as its dataflow file wants them."""
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

    def _wait(self, deadline_ns: int | None) -> Event | Change | None:
        # With the lock of the threads that wait, as all of this class that changes the matcher.
        matcher = self._matcher
        while self._closed_inputs:
            matcher.close(self._closed_inputs[0])
            self._closed_inputs.popleft()
        matched: Event | None = matcher.take()
        while matched is None:
            event = super()._wait(deadline_ns)
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
        """Take no more, and say how many samples found no partners."""
        super().close()
        unmatched = self._matcher.totals()
        if any(unmatched.values()):
            counts = ", ".join(f"{name} {count}" for name, count in unmatched.items())
            print(f"dora_rt: sync: {self._matcher.sets} sets; unmatched: {counts}", file=sys.stderr)
