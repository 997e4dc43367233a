"""When a node that has ended is started again: the policy, the back-off, and the limit."""

from __future__ import annotations

import random
from collections import deque

from dora_rt.descriptor.tree.model import RestartPolicy, Supervision

_JITTER = 0.2
_MOST_DOUBLINGS = 32  # a node may be restarted thousands of times, and no delay is that long


class Restarts:
    """The restarts of one node.

    As with systemd's StartLimitIntervalSec and StartLimitBurst, at most `max_restarts` are done
    within `restart_window_s`. The delay doubles with each restart within the window.
    """

    def __init__(self, supervision: Supervision, chance: random.Random) -> None:
        self._supervision = supervision
        self._chance = chance
        # Without a limit, no more of them than what makes a difference.
        self._recent_ns: deque[int] = deque(maxlen=supervision.max_restarts or _MOST_DOUBLINGS)
        self.count = 0
        self.by_policy = 0
        """How many of them the policy has decided since the last one by hand."""

    def begin_anew(self) -> None:
        """Count a restart by hand: it uses up nothing of the limit, and forgets what did."""
        self._recent_ns.clear()
        self.count += 1
        self.by_policy = 0

    def delay_ns(self, now_ns: int, *, is_failure: bool) -> int | None:
        """Decide whether and when a node that has just ended starts again.

        Returns:
            The wait before its next start, or None if there is none.
        """
        policy = self._supervision.restart
        if policy is RestartPolicy.NEVER:
            return None
        if policy is RestartPolicy.ON_FAILURE and not is_failure:
            return None
        window_ns = int(self._supervision.restart_window_s * 1e9)
        while self._recent_ns and self._recent_ns[0] <= now_ns - window_ns:
            self._recent_ns.popleft()
        limit = self._supervision.max_restarts
        if limit and len(self._recent_ns) >= limit:
            return None
        delay_s = min(
            self._supervision.restart_delay_s * 2.0 ** min(len(self._recent_ns), _MOST_DOUBLINGS),
            self._supervision.max_restart_delay_s,
        )
        self._recent_ns.append(now_ns)
        self.count += 1
        self.by_policy += 1
        # Nodes that fell together do not get up together.
        return int(delay_s * (1 + self._chance.uniform(0, _JITTER)) * 1e9)
