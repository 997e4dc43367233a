"""The plan of a gateway: which outputs leave its machine, which come in, and who else there is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dora_rt.node_config import QueuePolicy, to_fields

GATEWAY_VERSION = 1


@dataclass(frozen=True, slots=True)
class OverNetwork:
    """What an input asks of the way between two machines: `over_network:` in the file."""

    compress: str | None = None
    """`jpeg`: pictures cross as JPEG; None: as they are."""
    quality: int = 80
    """Of the JPEG, 1 to 100."""
    max_width: int | None = None
    """Wider pictures are scaled down before they cross, in pixels."""
    max_hz: float | None = None
    """At most so many samples cross in a second; the newest then."""
    decode: bool = True
    """Whether the reader gets the picture back as an array, or the bytes of the JPEG."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One output on its way from one machine to one other.

    Inputs of one machine that read the same output and ask the same of the network share one.
    """

    number: int
    """Counts the streams of the whole dataflow; the same on all machines."""
    source: str
    """The output, as `node/output`."""
    sender: str
    """The machine that it leaves."""
    receiver: str
    """The machine that it reaches."""
    port: str
    """Name of the gateway's input at the sender, and of its output at the receiver."""
    queue_policy: QueuePolicy
    """The strictest of the inputs behind it: `block`, then `drop_oldest`, then `latest`."""
    queue_size: int
    """The longest queue of the inputs behind it."""
    max_nbytes: int
    """What comes in and is larger is refused."""
    targets: tuple[str, ...]
    """The inputs behind it, as `node/input`."""
    over_network: OverNetwork = OverNetwork()
    is_latched: bool = False
    """Whether a receiver that comes later gets the newest sample first."""

    @property
    def ends(self) -> str:
        """The two machines as people read them: `robot > laptop`."""
        return f"{self.sender} > {self.receiver}"


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """One machine of the dataflow."""

    name: str
    listen: tuple[str, ...] = ()
    """Endpoints that the others can reach, as `HOST:PORT`; empty: it dials."""
    is_optional: bool = False
    """Whether it may come and go: nobody waits for it, and its end ends nothing."""
    timeout_s: float | None = None
    """Silence after which it counts as failed; None: it is waited for."""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Security:
    """What protects the links; all paths are absolute."""

    is_insecure: bool = False
    """Whether the file says `insecure: true`: plain TCP, also beyond loopback."""
    authority: str | None = None
    """Certificate of the authority that has signed those of the machines."""
    certificate: str | None = None
    """Certificate of this machine; its common name is that of the machine."""
    private_key: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """Everything that the gateway of one machine is told."""

    machine: str
    machines: tuple[MachinePlan, ...]
    """All of the dataflow, this one too."""
    streams: tuple[Stream, ...]
    """All of the dataflow; those of which this machine is an end are its own."""
    flow: str
    """Part of the key space: the name of the file without its ending."""
    fleet: str
    robot: str
    """Parts of the key space, in front of `flow`: `dora_rt/FLEET/ROBOT/FLOW/...`."""
    file_sha256: str
    """Of the dataflow file and its streams: machines that differ in them do not talk."""
    via: tuple[str, ...] = ()
    """Routers that all machines dial, as `HOST:PORT`; then none listens."""
    security: Security = Security()

    def own_streams(self) -> tuple[list[Stream], list[Stream]]:
        """Return the streams that leave this machine, and those that reach it."""
        leaving = [one for one in self.streams if one.sender == self.machine]
        return leaving, [one for one in self.streams if one.receiver == self.machine]

    def to_json(self) -> str:
        """Return the text that the gateway gets as its argument."""
        return json.dumps({"version": GATEWAY_VERSION, **to_fields(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> GatewayPlan:
        """Read what `to_json` returned."""
        fields = json.loads(text)
        fields.pop("version")
        return cls(
            **{
                **fields,
                "machines": tuple(_machine(entry) for entry in fields["machines"]),
                "streams": tuple(_stream(entry) for entry in fields["streams"]),
                "via": tuple(fields["via"]),
                "security": Security(**fields["security"]),
            }
        )


def _machine(fields: dict[str, Any]) -> MachinePlan:
    listen, nodes = tuple(fields["listen"]), tuple(fields["nodes"])
    return MachinePlan(**{**fields, "listen": listen, "nodes": nodes})


def _stream(fields: dict[str, Any]) -> Stream:
    return Stream(
        **{
            **fields,
            "queue_policy": QueuePolicy(fields["queue_policy"]),
            "targets": tuple(fields["targets"]),
            "over_network": OverNetwork(**fields["over_network"]),
        }
    )
