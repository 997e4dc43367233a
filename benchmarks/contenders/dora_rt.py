"""dora_rt itself, by its own API, started by dora-launch as its users start it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contender import Command, Contender
from benchmarks.job import WRITER, Job
from benchmarks.payload import NUMBER, Bytes, stamp
from dora_rt.compiled import IS_COMPILED, PURE_VARIABLE


class DoraRt(Contender):
    """A dataflow of a writer and its readers; each reader has an edge back."""

    distribution = "dora_rt"

    def __init__(
        self, name: str, *, spins: bool, spin_us: int | None = None, is_pure: bool = False
    ) -> None:
        self.name = name
        self.spins = spins
        self.spin_us = spin_us
        self.is_pure = is_pure

    def missing(self) -> str | None:
        """Say why it cannot run, or would be the row before once more."""
        if self.is_pure and not IS_COMPILED:
            return "there is no compiled code, so all rows of dora_rt are in pure Python"
        return super().missing()

    @contextmanager
    def prepared(self, job: Job) -> Iterator[list[Command]]:
        """Write the dataflow file."""
        file = job.folder / "dataflow.yml"
        # JSON is YAML.
        file.write_text(json.dumps(make_dataflow(job, self._keys()), indent=1))
        yield [launch_command(file, is_pure=self.is_pure)]

    def _keys(self) -> dict[str, Any]:
        return node_keys(spins=self.spins) if self.spin_us is None else {"spin_us": self.spin_us}

    def open_writer(self, job: Job) -> DoraRtWriter:
        """Open the writer's end."""
        return DoraRtWriter()

    def open_reader(self, job: Job, number: int) -> DoraRtReader:
        """Open a reader's end."""
        return DoraRtReader()


class DoraRtWriter:
    """Sends arrays, or writes into loans."""

    def __init__(self) -> None:
        from dora_rt import Node

        self.node = Node()

    def send(self, source: Bytes) -> None:
        """Send an array."""
        self.node.send_output("forward", source)

    def send_in_place(self, nbytes: int, number: int) -> None:
        """Stamp a loan."""
        with self.node.loan("forward", nbytes) as array:
            stamp(array, number)

    def receive_reply(self) -> int:
        """Wait for a reply of any reader."""
        event = self.node.next()
        if event is None:
            raise RuntimeError("all readers are gone")
        return int(NUMBER.unpack(event.value)[0])


class DoraRtReader:
    """Receives views of shared memory."""

    def __init__(self) -> None:
        from dora_rt import Node

        self.node = Node()

    def receive(self) -> Bytes | None:
        """Wait for the next array."""
        event = self.node.next()
        return None if event is None else event.value

    def reply(self, number: int) -> None:
        """Send eight bytes."""
        self.node.send_output("reply", NUMBER.pack(number))


def launch_command(file: Path, *, is_pure: bool = False) -> list[str]:
    """Give the command that runs a dataflow: what `dora-launch` is.

    In pure Python all of it is: with the variable in the `env` of the nodes they would not start as
    copies of the fork server, and that alone is another speed.
    """
    command = [sys.executable, "-m", "dora_rt", str(file)]
    return ["env", f"{PURE_VARIABLE}=1", *command] if is_pure else command


def node_keys(*, spins: bool) -> dict[str, Any]:
    """Give the keys that each node needs: it spins by itself, unless it is told not to."""
    return {} if spins else {"spin_us": 0}


def make_dataflow(job: Job, keys: dict[str, Any]) -> dict[str, Any]:
    """Give the dataflow file of a job."""
    policy = {"queue_policy": "block"} if job.lossless else {}
    readers = job.roles[1:]

    def node(role: str, **wiring: Any) -> dict[str, Any]:
        arguments = [str(job.file), role]
        return {"id": role, "module": "benchmarks.worker", "args": arguments, **wiring, **keys}

    forward = {"source": f"{WRITER}/forward", "queue_size": job.queue_size, **policy}
    return {
        "nodes": [
            node(
                WRITER,
                inputs={f"from_{reader}": f"{reader}/reply" for reader in readers},
                outputs=["forward"],
            ),
            *(node(reader, inputs={"forward": forward}, outputs=["reply"]) for reader in readers),
        ]
    }
