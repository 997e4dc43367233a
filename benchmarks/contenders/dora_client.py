"""One client, written in dora's own API, on dora-rs and on dora_rt."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import Command, Contender
from benchmarks.contenders.dora_rt import launch_command, make_dataflow, node_keys
from benchmarks.job import Job
from benchmarks.payload import NUMBER, Bytes, stamp


class _DoraClient(Contender):
    def open_writer(self, job: Job) -> DoraWriter:
        """Open the writer's end."""
        return DoraWriter()

    def open_reader(self, job: Job, number: int) -> DoraReader:
        """Open a reader's end."""
        return DoraReader()


class DoraRs(_DoraClient):
    """The client on dora-rs, started by `dora run`."""

    modules = ("dora", "dora_cli", "pyarrow")
    distribution = "dora-rs"

    def __init__(self, name: str, node_keys: dict[str, Any] | None = None) -> None:
        self.name = name
        self._node_keys = node_keys or {}

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Write the dataflow file in dora-rs's form."""
        dataflow = make_dataflow(job, self._node_keys)
        for node in dataflow["nodes"]:
            arguments = " ".join(node["args"])
            node["args"] = f"-u -m {node.pop('module')} {arguments}"
            node["path"] = sys.executable
            for entry in node["inputs"].values():
                if isinstance(entry, dict) and entry.get("queue_policy") == "block":
                    entry["queue_policy"] = "backpressure"
        file = job.folder / "dataflow.yml"
        file.write_text(json.dumps(dataflow))
        yield [dora_command(file)]


class DoraRtCompat(_DoraClient):
    """The same client on dora_rt, started by `dora-launch`."""

    name = "dora_rt (import dora)"
    modules = ("pyarrow",)
    distribution = "dora_rt"

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Write the dataflow file, for a program in today's form of dora."""
        dataflow = make_dataflow(job, node_keys(spins=False))
        file = job.folder / "dataflow.yml"
        file.write_text(json.dumps(dataflow))
        yield [launch_command(file)]


class DoraWriter:
    """Writes into dora's sample buffers."""

    def __init__(self) -> None:
        from dora import Node

        self.node = Node()

    def send(self, source: Bytes) -> None:
        """Copy into a sample buffer."""
        with self.node.send_output_raw("forward", len(source)) as buffer:
            array = np.frombuffer(buffer, np.uint8)
            np.copyto(array, source)
            del array  # dora-rs refuses to send while a view is alive

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Stamp a sample buffer."""
        with self.node.send_output_raw("forward", nbytes) as buffer:
            array = np.frombuffer(buffer, np.uint8)
            stamp(array, number)
            del array

    def receive_reply(self) -> int:
        """Wait for a reply of any reader."""
        value = _next_value(self.node)
        if value is None:
            raise RuntimeError("all readers are gone")
        return int(NUMBER.unpack(value)[0])


class DoraReader:
    """Receives Arrow arrays as numpy views."""

    def __init__(self) -> None:
        from dora import Node

        self.node = Node()

    def receive(self) -> Bytes | None:
        """Wait for the next input."""
        value: Bytes | None = _next_value(self.node)
        return value

    def reply(self, number: int) -> None:
        """Send eight bytes."""
        self.node.send_output("reply", NUMBER.pack(number))


def dora_command(file: Path) -> list[str]:
    """Give the command by which dora-rs runs a dataflow on this machine."""
    return [str(Path(sys.executable).with_name("dora")), "run", "--log-level", "error", str(file)]


def _next_value(node: Any) -> Any:
    while True:
        event = node.next()
        if event is None or event["type"] == "STOP":
            return None
        if event["type"] == "INPUT":
            return event["value"].to_numpy()
