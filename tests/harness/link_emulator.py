"""The way of packets between two machines of a test: delay, loss, rate, and a cable to pull.

A process between two TUN devices, because sch_netem is missing in many kernels. It is told line by
line on its standard input, answers each with its counts, and ends with the input:

    python -m tests.harness.link_emulator PID_A ADDRESS_A PID_B ADDRESS_B SEED
    set rate=20 delay=20 loss=5    Mbit/s (0: no limit), ms for each way, percent
    cut                            nothing passes any more, and what is under way is lost
    join
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_MTU = 1500
# What waits longer for its turn is dropped, as by the queue of a network card.
_QUEUE_S = 0.1
_BURST = 64


@dataclass
class Way:
    """One direction of the link."""

    source: int
    target: int
    free_at: float = 0.0
    """When the last packet has left."""
    packets: int = 0
    nbytes: int = 0
    lost: int = 0
    overflown: int = 0


@dataclass
class Link:
    """Both directions, and the packets under way."""

    ways: tuple[Way, Way]
    random: random.Random
    rate: float = 0.0
    delay: float = 0.0
    loss: float = 0.0
    is_cut: bool = False
    _under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _number: int = 0

    def wait_s(self) -> float:
        """Return the time until a packet arrives."""
        return max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else 1.0

    def take(self, way: Way) -> None:
        """Take what one end has sent."""
        for packet in _packets(way.source):
            way.packets += 1
            way.nbytes += len(packet)
            if self.is_cut or (self.loss and self.random.random() * 100 < self.loss):
                way.lost += 1
                continue
            now = time.monotonic()
            leaves_at = now
            if self.rate:
                if way.free_at - now > _QUEUE_S:
                    way.overflown += 1
                    continue
                leaves_at = max(now, way.free_at) + len(packet) * 8 / (self.rate * 1e6)
                way.free_at = leaves_at
            self._number += 1
            entry = (leaves_at + self.delay / 1000, self._number, way.target, packet)
            heapq.heappush(self._under_way, entry)

    def deliver(self) -> None:
        """Hand on what has arrived."""
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            *_, target, packet = heapq.heappop(self._under_way)
            if not self.is_cut:
                try:
                    os.write(target, packet)
                except OSError:
                    return  # the namespace at the other end is gone

    def obey(self, line: str) -> None:
        """Do what a line says."""
        act, *settings = line.split()
        if act == "cut":
            self.is_cut = True
            self._under_way.clear()
        elif act == "join":
            self.is_cut = False
        elif act == "set":
            for setting in settings:
                name, _, value = setting.partition("=")
                assert name in ("rate", "delay", "loss"), line
                setattr(self, name, float(value))
        else:
            assert act == "count", line

    def counts(self) -> dict[str, int]:
        """Return the counts of both ways, the one from the first end first."""
        return {
            f"{name}_{end}": getattr(way, name)
            for end, way in zip("ab", self.ways, strict=True)
            for name in ("packets", "nbytes", "lost", "overflown")
        }


def main() -> None:
    """Run until the standard input ends."""
    pid_a, address_a, pid_b, address_b, seed = sys.argv[1:]
    # A namespace may be at the end of several links.
    network = address_a.split(".")[2]
    end_a = _open_end(f"link{network}a", pid_a, address_a)
    end_b = _open_end(f"link{network}b", pid_b, address_b)
    ways = (Way(end_a, end_b), Way(end_b, end_a))
    link = Link(ways, random.Random(int(seed)))
    print("ready", flush=True)
    commands = sys.stdin.fileno()
    while True:
        readable, _, _ = select.select([end_a, end_b, commands], [], [], link.wait_s())
        for way in ways:
            if way.source in readable:
                link.take(way)
        link.deliver()
        if commands in readable:
            # Never more than one line is under way: its sender waits for the answer.
            line = os.read(commands, 4096).decode()
            if not line:
                return
            link.obey(line)
            print(json.dumps(link.counts()), flush=True)


def _open_end(name: str, pid: str, address: str) -> int:
    """Make a device here, and put it into the network namespace of a process."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
    subprocess.run(("ip", "link", "set", name, "netns", pid), check=True)
    subprocess.run((*inside, "address", "add", f"{address}/24", "dev", name), check=True)
    settings = ("mtu", str(_MTU), "txqueuelen", "1000", "up")
    subprocess.run((*inside, "link", "set", name, *settings), check=True)
    return descriptor


def _packets(descriptor: int) -> Iterator[bytes]:
    for _ in range(_BURST):
        try:
            yield os.read(descriptor, 65536)
        except (BlockingIOError, OSError):
            return


if __name__ == "__main__":
    main()
