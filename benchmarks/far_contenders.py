"""What moves values between two machines: dora_rt, zenoh alone, plain TCP, dora-rs."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contender import Command

_PORT = 7447
_REPOSITORY = Path(__file__).parents[1]


class FarContender:
    """One way; its programs run on the machines `robot`, which sends, and `laptop`."""

    name = ""
    modules: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Say why it cannot run here; None if it can."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed (pip install -e '.[bench]')"
        return None

    def commands(self, folder: Path, ids: Sequence[str], robot: str) -> list[tuple[str, Command]]:
        """Give machines and commands; all run side by side to their end, in the folder."""
        raise NotImplementedError


class FarDoraRt(FarContender):
    """Two launchers; pictures with `latest`, commands with `block`."""

    name = "dora_rt"
    modules = ("zenoh",)

    def commands(self, folder: Path, ids: Sequence[str], robot: str) -> list[tuple[str, Command]]:
        """Write the dataflow file, and start its two parts."""
        traffic = json.loads((folder / "traffic.json").read_text())["traffic"]
        writers = [
            {
                "id": f"writer{number}",
                "machine": "robot",
                "module": "benchmarks.far_worker",
                "args": ["dora_rt", "write", one["id"]],
                "outputs": ["values"],
            }
            for number, one in enumerate(traffic)
        ]
        readers = [
            {
                "id": f"reader{number}",
                "machine": "laptop",
                "module": "benchmarks.far_worker",
                "args": ["dora_rt", "read", one["id"]],
                "inputs": {
                    "values": {
                        "source": f"writer{number}/values",
                        "queue_policy": "block" if one["is_lossless"] else "latest",
                        "queue_size": 100 if one["is_lossless"] else 1,
                    }
                },
            }
            for number, one in enumerate(traffic)
        ]
        machines = {"robot": {"listen": f"{robot}:{_PORT}"}, "laptop": {}, "insecure": True}
        file = folder / "dataflow.yml"
        file.write_text(json.dumps({"machines": machines, "nodes": [*writers, *readers]}))
        launch = (sys.executable, "-m", "dora_rt", str(file), "--machine")
        return [(machine, (*launch, machine)) for machine in ("robot", "laptop")]


class _Programs(FarContender):
    """A program at each end, without a launcher."""

    worker = ""

    def commands(self, folder: Path, ids: Sequence[str], robot: str) -> list[tuple[str, Command]]:
        """Start one program at each end."""
        program = (sys.executable, "-m", "benchmarks.far_worker", self.worker)
        return [("robot", (*program, "write", *ids)), ("laptop", (*program, "read", *ids))]


class FarZenoh(_Programs):
    """A publisher for each; it blocks for commands, and drops pictures as its default says."""

    name = "zenoh"
    modules = ("zenoh",)
    worker = "zenoh"


class FarTcp(_Programs):
    """A connection for each, which blocks; what is late is skipped by its writer."""

    name = "plain TCP"
    worker = "tcp"


class FarDoraRs(FarContender):
    """A daemon on each machine and a coordinator, its inputs as dora_rt has them."""

    name = "dora-rs"
    modules = ("dora", "dora_cli", "pyarrow")

    def commands(self, folder: Path, ids: Sequence[str], robot: str) -> list[tuple[str, Command]]:
        """Write the dataflow file, start the daemons, run it, and end them."""
        traffic = json.loads((folder / "traffic.json").read_text())
        nodes = []
        for number, one in enumerate(traffic["traffic"]):
            worker = "-u -m benchmarks.far_worker dora_rs"
            name = shlex.quote(one["id"])
            source = {
                "source": f"writer{number}/values",
                "queue_size": 100 if one["is_lossless"] else 1,
            }
            for role, machine, ports in (
                ("write", "robot", {"outputs": ["values"]}),
                ("read", "laptop", {"inputs": {"values": source}}),
            ):
                node = {
                    "id": f"{'writer' if role == 'write' else 'reader'}{number}",
                    "path": sys.executable,
                    "args": f"{worker} {role} {name}",
                    "deploy": {"machine": machine},
                    "env": {"FAR_FOLDER": str(folder), "PYTHONPATH": str(_REPOSITORY)},
                    **ports,
                }
                nodes.append(node)
        (folder / "dataflow.yml").write_text(json.dumps({"nodes": nodes}))
        # What they share in /dev/shm would go around the link.
        apart = (
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount -t tmpfs none /dev/shm && exec "$@"',
            "sh",
        )
        program = (*apart, sys.executable, "-m", "benchmarks.dora_machine", traffic["laptop"])
        return [(machine, (*program, machine)) for machine in ("laptop", "robot")]


FAR_CONTENDERS: tuple[FarContender, ...] = (FarDoraRt(), FarZenoh(), FarTcp(), FarDoraRs())
