"""What a program of dora_rt has printed when it has ended."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Edge:
    """One row of the summary's edge table."""

    sent: int
    delivered: int
    dropped: int


@dataclass(frozen=True)
class Finished:
    """A launcher or a verb that has ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.exit_code == 0, self.err
        return json.loads(self.out)

    def lines(self, node: str) -> list[str]:
        """Return what a node printed."""
        found = re.findall(rf"^{re.escape(node)} *\| (.*)$", self.out, re.M)
        return [line.strip() for line in found]

    def ending(self, node: str) -> str:
        """Return how a node ended, as the summary says it."""
        table = self.out[self.out.index("how it ended") :]
        row = re.search(rf"^{re.escape(node)}  +(.*?)  +\d+  ", table, re.M)
        assert row is not None, self.out
        return row[1]

    def edge(self, source: str, target: str) -> Edge:
        """Return what the summary says of an edge."""
        pattern = rf"^{re.escape(source)} -> {re.escape(target)}  +(\d+)  +(\d+)  +(\d+)"
        row = re.search(pattern, self.out, re.M)
        assert row is not None, self.out
        return Edge(*map(int, row.groups()))
