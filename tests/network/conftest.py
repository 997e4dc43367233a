"""Plans of two machines, certificates, and ends of links between them in processes of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dora_rt.network.certificates import make_authority, make_pair
from dora_rt.network.gateway_plan import GatewayPlan, MachinePlan, Security, Stream
from dora_rt.node_config import QueuePolicy
from tests.harness.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).parents[2]


def stream(number: int, source: str, sender: str, receiver: str) -> Stream:
    return Stream(
        number=number,
        source=source,
        sender=sender,
        receiver=receiver,
        port=f"{receiver}/{source}",
        queue_policy=QueuePolicy.LATEST,
        queue_size=1,
        max_nbytes=1 << 20,
        targets=("reader/input",),
    )


def two_machines(port: int, machine: str, security: Security = Security()) -> GatewayPlan:  # noqa: B008
    """Return the plan of `robot`, which listens, or of `laptop`, which dials it."""
    return GatewayPlan(
        machine=machine,
        machines=(
            MachinePlan("robot", listen=(f"127.0.0.1:{port}",)),
            MachinePlan("laptop"),
        ),
        streams=(
            stream(0, "camera/image", "robot", "laptop"),
            stream(1, "planner/speed", "laptop", "robot"),
        ),
        flow="flow",
        fleet="acme",
        robot="r7",
        file_sha256="0" * 64,
        security=security,
    )


class Program:
    """A process whose lines are read as they come."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def tell(self, line: str) -> None:
        """Have a line done, and wait until it is."""
        assert self.process.stdin
        done = self.lines.count(f"DONE {line}")
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        eventually(lambda: self.lines.count(f"DONE {line}") > done)

    def wait_for(self, text: str, within_s: float = PATIENCE_S) -> str:
        """Return the first line that has a text, as soon as there is one."""
        try:
            eventually(lambda: any(text in line for line in self.lines), within_s=within_s)
        except AssertionError:
            raise AssertionError(f"no {text!r} in:\n" + "\n".join(self.lines)) from None
        return next(line for line in self.lines if text in line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return what starts a module of Python; all that was started is killed after the test."""
    with contextlib.ExitStack() as programs:

        def start_module(module: str, *arguments: str) -> Program:
            program = Program(sys.executable, "-m", module, *arguments)
            programs.callback(program.close)
            return program

        yield start_module


@pytest.fixture
def link_end(start: Start) -> Callable[..., Program]:
    """Return what opens one end of a link as a gateway does, with changes of zenoh's settings."""

    def open_end(plan: GatewayPlan, **changes: object) -> Program:
        named = {path.replace("__", "/"): value for path, value in changes.items()}
        return start("tests.network.link_end", plan.to_json(), json.dumps(named))

    return open_end


@dataclasses.dataclass(frozen=True)
class Authority:
    """An authority and the certificates that it has signed, in a folder."""

    folder: Path

    def security(self, name: str) -> Security:
        make_pair(self.folder, name)
        return Security(
            authority=str(self.folder / "authority.pem"),
            certificate=str(self.folder / f"{name}.pem"),
            private_key=str(self.folder / f"{name}.key"),
        )


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """Return ours, and one of somebody else."""
    made = []
    for name in ("ours", "other"):
        folder = tmp_path_factory.mktemp(name) / "pki"
        make_authority(folder)
        made.append(Authority(folder))
    return made[0], made[1]
