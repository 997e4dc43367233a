"""How much memory a process has."""

from __future__ import annotations

from pathlib import Path


def memory_mb(pid: int | str, key: str) -> float:
    """Give a line of the process' memory, `Rss:` or `Pss:`, in MB; `pid` may be "self"."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
