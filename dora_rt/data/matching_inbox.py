"""The inbox of a node with `sync`: gives sets of samples in place of the samples themselves."""

from __future__ import annotations

import sys

from dora_rt.contract import NodeConfig, SyncConfig
from dora_rt.data.board import Board
from dora_rt.data.inbox import Inbox
from dora_rt.data.matching import Matcher
from dora_rt.event import Change, Event, InputClosed


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

    def wait(self, deadline_ns: int | None) -> Event | Change | None:
        """Give the next set, or the next event of another input; else as `Inbox.wait`."""
        matched: Event | None = self._matcher.take()
        while matched is None:
            event = super().wait(deadline_ns)
            if isinstance(event, InputClosed) and event.is_final and event.id in self._synced:
                self._matcher.close(event.id)
            if not isinstance(event, Event) or event.id not in self._synced:
                return event
            matched = self._matcher.add(event)
        return matched

    def close(self) -> None:
        """Take no more, and say how many samples found no partners."""
        super().close()
        matcher = self._matcher
        if any(matcher.unmatched.values()):
            counts = ", ".join(f"{name} {count}" for name, count in matcher.unmatched.items())
            print(f"dora_rt: sync: {matcher.sets} sets; unmatched: {counts}", file=sys.stderr)
