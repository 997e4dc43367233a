"""The `follow` request: the nodes' lines for programs at the socket of the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from dora_rt.launcher.requests import Requester

_BACKLOG_NBYTES = 1024 * 1024
_UNSENT_NBYTES = 1024 * 1024


class LineFollowers:
    """The lines of one run; if it has a relay, they are kept as long as that one is not there."""

    def __init__(self, *, has_relay: bool) -> None:
        self._has_relay = has_relay
        self._relay: Requester | None = None
        self._followers: list[Requester] = []
        self._missed: dict[Requester, int] = {}
        self._backlog: deque[dict[str, Any]] = deque()
        self._backlog_nbytes = 0
        self._backlog_missed = 0
        self._over: list[str] = []

    @property
    def is_wanted(self) -> bool:
        """Whether there is any follower."""
        return self._has_relay or bool(self._followers)

    def follow(self, requester: Requester, request: dict[str, Any]) -> None:
        """Answer `follow`: send all lines from now on; the relay also gets those kept for it."""
        self._followers.append(requester)
        self._missed[requester] = 0
        if request.get("is_relay"):
            self._relay = requester
            self._missed[requester], self._backlog_missed = self._backlog_missed, 0
            for entry in self._backlog:
                self._send(requester, entry)
            self._backlog.clear()
            self._backlog_nbytes = 0
        for name in self._over:
            self._tell(requester, {"over": name})

    def write(self, name: str, lines: Iterable[tuple[str, bool]]) -> None:
        """Hand on lines that a node printed, each with whether it is loud enough to be kept."""
        self._followers = [one for one in self._followers if not one.is_gone]
        for line, is_kept in lines:
            entry = {"node": name, "line": line, "is_kept": is_kept}
            for follower in self._followers:
                self._send(follower, entry)
            if self._has_relay and (self._relay is None or self._relay.is_gone):
                self._keep(entry)

    def end(self, name: str) -> None:
        """Announce that a node is over and prints no more."""
        self._over.append(name)
        for follower in self._followers:
            self._tell(follower, {"over": name})

    def _send(self, follower: Requester, entry: dict[str, Any]) -> None:
        # A slow follower must neither hold up the run nor fill its memory.
        if follower.unsent_nbytes > _UNSENT_NBYTES:
            self._missed[follower] += 1
        else:
            self._tell(follower, entry)

    def _tell(self, follower: Requester, entry: dict[str, Any]) -> None:
        missed, self._missed[follower] = self._missed[follower], 0
        follower.reply({**entry, "missed": missed} if missed else entry)

    def _keep(self, entry: dict[str, Any]) -> None:
        self._backlog.append(entry)
        self._backlog_nbytes += len(entry["line"])
        while self._backlog_nbytes > _BACKLOG_NBYTES:
            self._backlog_nbytes -= len(self._backlog.popleft()["line"])
            self._backlog_missed += 1
