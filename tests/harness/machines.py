"""Machines of a test, each with a network of its own, and the links between them.

A machine is a network namespace that lives as long as a process in it; all of it ends with the
test, however that ends, because the processes end with the pipes that they read from.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def missing_for_machines() -> str | None:
    """Return why no machines can be made here, or None."""
    for program in ("ip", "unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"there is no program {program}"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun cannot be used: {error.strerror}"
    made = subprocess.run(("unshare", "--net", "true"), capture_output=True, text=True)
    if made.returncode != 0:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    return None


class EmulatedLink:
    """A link whose quality a test turns."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout
        assert process.stdout.readline() == "ready\n"

    def set(self, **settings: float) -> None:
        """Set `rate` (Mbit/s), `delay` (ms, each way) and `loss` (percent)."""
        self._ask(" ".join(["set", *(f"{name}={value}" for name, value in settings.items())]))

    def cut(self) -> None:
        """Pull the cable."""
        self._ask("cut")

    def join(self) -> None:
        """Put it in again."""
        self._ask("join")

    def counts(self) -> dict[str, int]:
        """Return packets and bytes of both ways (`packets_a`: of the first machine), and losses."""
        return self._ask("count")

    def _ask(self, line: str) -> dict[str, int]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer


class Machines:
    """Some machines by name; `machines()` makes them."""

    def __init__(self, stack: contextlib.ExitStack, names: Sequence[str]) -> None:
        self._stack = stack
        self._networks = itertools.count(1)
        self._pids = {name: self._hold().pid for name in names}

    def command(self, name: str, *command: str) -> tuple[str, ...]:
        """Return a command that runs a command on a machine."""
        return ("nsenter", f"--net=/proc/{self._pids[name]}/ns/net", "--", *command)

    def congestion_control(self, algorithm: str) -> None:
        """Choose TCP's congestion control on all links that there are; later ones have the default.

        By the routes: a namespace may only choose what the whole machine allows.
        """
        for name in self._pids:
            for route in self.run(name, "ip", "route", "show", "proto", "kernel").splitlines():
                words = route.split()
                target, device, source = words[0], words[2], words[words.index("src") + 1]
                self.run(
                    name, "ip", "route", "replace", target, "dev", device, "src", source,
                    "proto", "kernel", "scope", "link", "congctl", algorithm,
                )  # fmt: skip

    def run(self, name: str, *command: str) -> str:
        """Run a short command on a machine, and return its output."""
        done = subprocess.run(
            self.command(name, *command), capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wire(self, first: str, second: str) -> tuple[str, str]:
        """Join two machines by a fast wire. Return their addresses on it."""
        number = next(self._networks)
        pids = self._pids[first], self._pids[second]
        addresses = f"10.77.{number}.1", f"10.77.{number}.2"
        ends = f"wire{number}a", f"wire{number}b"
        make = ("ip", "link", "add", ends[0], "netns", str(pids[0]), "type", "veth", "peer")
        subprocess.run((*make, "name", ends[1], "netns", str(pids[1])), check=True)
        for name, end, address in zip((first, second), ends, addresses, strict=True):
            self.run(name, "ip", "address", "add", f"{address}/24", "dev", end)
            self.run(name, "ip", "link", "set", end, "up")
        return addresses

    def link(self, first: str, second: str, *, seed: int = 1) -> tuple[EmulatedLink, str, str]:
        """Join two machines by a link whose quality can be turned. Return it and the addresses."""
        number = next(self._networks)
        addresses = f"10.77.{number}.1", f"10.77.{number}.2"
        module = (sys.executable, "-m", "tests.harness.link_emulator")
        pids = str(self._pids[first]), str(self._pids[second])
        ends = (pids[0], addresses[0], pids[1], addresses[1])
        # In a network namespace of its own: the names of its devices are nobody else's.
        process = self._start("unshare", "--net", "--", *module, *ends, str(seed))
        return EmulatedLink(process), *addresses

    def _hold(self) -> subprocess.Popen[str]:
        """Start a process that holds a namespace, and ends when its input does."""
        ready = "ip link set lo up && echo ready && exec cat"
        process = self._start("unshare", "--net", "--", "sh", "-c", ready)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    def _start(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )

        def end() -> None:
            assert process.stdin and process.stdout
            process.stdin.close()
            process.wait(timeout=30)
            process.stdout.close()

        self._stack.callback(end)
        return process


@contextlib.contextmanager
def machines(*names: str) -> Iterator[Machines]:
    """Make machines without links between them."""
    with contextlib.ExitStack() as stack:
        yield Machines(stack, names)
