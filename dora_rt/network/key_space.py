"""The names under which machines of one dataflow speak with each other over zenoh."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dora_rt.network.gateway_plan import GatewayPlan, Stream

ROOT = "dora_rt"
_PLAIN = re.compile(rb"[A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class KeySpace:
    """All keys of one dataflow of one robot.

    The machine that writes under a key comes first in it, so that one rule for each machine says
    what it may send; nothing else can be said of a certificate.
    """

    base: str

    @classmethod
    def of(cls, plan: GatewayPlan) -> KeySpace:
        """Return the keys of the dataflow of a plan."""
        return cls("/".join((ROOT, segment(plan.fleet), segment(plan.robot), segment(plan.flow))))

    def alive(self, machine: str, run: str) -> str:
        """Return the key of the liveliness token of a machine's run."""
        return f"{self.base}/{segment(machine)}/alive/{segment(run)}"

    def all_alive(self) -> str:
        """Return what matches the tokens of all machines."""
        return f"{self.base}/*/alive/*"

    def sample(self, stream: Stream) -> str:
        """Return the key under which the samples of a stream are put, by its sender."""
        way = f"{segment(stream.sender)}/sample/{segment(stream.receiver)}/{stream.number}"
        return f"{self.base}/{way}/{'/'.join(map(segment, stream.source.split('/')))}"

    def acknowledgement(self, stream: Stream) -> str:
        """Return the key under which the receiver of a stream tells its sender what it has."""
        return (
            f"{self.base}/{segment(stream.receiver)}/ack/{segment(stream.sender)}/{stream.number}"
        )

    def message(self, sender: str, receiver: str, about: str) -> str:
        """Return the key under which one gateway puts a message for another."""
        return f"{self.base}/{segment(sender)}/tell/{segment(receiver)}/{segment(about)}"

    def question(self, machine: str, about: str) -> str:
        """Return the key under which a machine answers queries of the others."""
        return f"{self.base}/{segment(machine)}/ask/{segment(about)}"


def segment(name: str) -> str:
    """Return a name as one part of a key: what zenoh gives a meaning to is written as `=2F`.

    Two names never give the same part.
    """
    return "".join(
        chr(byte) if _PLAIN.match(bytes((byte,))) else f"={byte:02X}" for byte in name.encode()
    )


def name_in(part: str) -> str:
    """Return the name that `segment` made a part of."""
    pieces = re.sub(
        rb"=([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), part.encode()
    )
    return pieces.decode()
