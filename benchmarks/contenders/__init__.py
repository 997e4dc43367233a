"""All contenders, in the order of the tables."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.contender import Contender
from benchmarks.contenders.bare import Bare
from benchmarks.contenders.dora_client import DoraRs, DoraRtCompat
from benchmarks.contenders.dora_rt import DoraRt
from benchmarks.contenders.iceoryx import Iceoryx
from benchmarks.contenders.queues import Queues
from benchmarks.contenders.ros import Ros
from benchmarks.contenders.zenoh_peer import Zenoh
from benchmarks.contenders.zeromq import ZeroMq
from benchmarks.timing import Row

BARE = "bare semaphores"
BARE_POLLING = "bare, busy polling"
DORA_RT = "dora_rt"
DORA_RT_SPINNING = "dora_rt (spinning)"
DORA_RT_POLLING = "dora_rt, busy polling"
DORA_RT_PURE = "dora_rt (pure Python)"
DORA_RS = "dora-rs"
ICEORYX2 = "iceoryx2"
ICEORYX2_POLLING = "iceoryx2, busy polling"
PYZMQ = "pyzmq"

SELECTED = (
    BARE,
    DORA_RT,
    DORA_RT_SPINNING,
    DORA_RT_PURE,
    "dora_rt (import dora)",
    DORA_RS,
    ICEORYX2,
    PYZMQ,
    "zenoh, shared memory",
    "ROS 2 rclpy, tuned",
)
"""One of each product, for what takes long."""

FEW = (BARE, DORA_RT, DORA_RT_SPINNING, DORA_RS, ICEORYX2, PYZMQ, "zenoh, shared memory")
"""Fewer, for what takes longest."""


def contenders() -> list[Contender]:
    """Give all contenders, also those that cannot run here."""
    return [
        Bare(BARE, spins=False),
        Bare(BARE_POLLING, spins=True),
        DoraRt(DORA_RT, spins=False),
        DoraRt(DORA_RT_SPINNING, spins=True),
        DoraRt(DORA_RT_POLLING, spins=True, spin_us=1_000_000),
        DoraRt(DORA_RT_PURE, spins=False, is_pure=True),
        DoraRt("dora_rt (pure Python, spinning)", spins=True, is_pure=True),
        DoraRtCompat(),
        DoraRs(DORA_RS),
        DoraRs("dora-rs (512 MB pool)", {"shared_memory_pool_size": "512MB"}),
        Iceoryx(ICEORYX2, spins=False),
        Iceoryx(ICEORYX2_POLLING, spins=True),
        ZeroMq(),
        Zenoh("zenoh", shares_memory=False),
        Zenoh("zenoh, shared memory", shares_memory=True),
        Ros("ROS 2 rclpy", is_tuned=False),
        Ros("ROS 2 rclpy, tuned", is_tuned=True),
        Queues(),
    ]


def in_order(rows: Iterable[Row]) -> list[str]:
    """Name the contenders of the rows in the order of the tables, floors first."""
    names = [contender.name for contender in contenders()]
    found = dict.fromkeys(row["contender"] for row in rows)
    return sorted(found, key=lambda name: names.index(name) if name in names else -1)


def find(name: str) -> Contender:
    """Give the contender of this name."""
    return next(contender for contender in contenders() if contender.name == name)
