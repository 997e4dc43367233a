"""`python -m tests.protocol`: explores schedules for long, or shows one of them."""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from contextlib import nullcontext
from itertools import count

from tests.protocol import kinds
from tests.protocol.explore import Explored, explore
from tests.protocol.faults import FAULTS, planted
from tests.protocol.implementation import Implementation, PythonImplementation
from tests.protocol.mixed import MixedImplementation
from tests.protocol.schedule import Kind

_BY_NAME = {name: kind for name, kind in vars(kinds).items() if isinstance(kind, Kind)}


def main() -> int:
    """Do what the command line asks for; 1 if something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="for how long to explore")
    parser.add_argument("--seed", type=int, help="the first seed (default: any)")
    parser.add_argument("--kind", choices=_BY_NAME, action="append", help="only this kind")
    parser.add_argument("--plant", choices=[fault.number for fault in FAULTS], help="have a fault")
    parser.add_argument("--mixed", action="store_true", help="compiled code and Python code")
    parser.add_argument("--trace", action="store_true", help="one schedule, step by step")
    parser.add_argument("--processes", type=int, default=1, help="how many explore side by side")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else secrets.randbits(40)
    chosen = [_BY_NAME[name] for name in arguments.kind or ()] or list(kinds.ALL)
    if arguments.processes > 1:
        return _explore_side_by_side(arguments, seed)
    implementation: Implementation = PythonImplementation()
    if arguments.mixed:
        implementation = MixedImplementation(seed % 2)
    fault = next((fault for fault in FAULTS if fault.number == arguments.plant), None)
    with planted(fault) if fault is not None else nullcontext():
        if arguments.trace:
            from tests.protocol.trace import show

            return show(chosen[0], seed, implementation)
        explored = explore(
            chosen, count(seed), seconds=arguments.seconds, implementation=implementation
        )
    print(report(explored), flush=True)
    return 1 if explored.violations else 0


def report(explored: Explored) -> str:
    """Say what was explored, and how to see each violation again."""
    lines = [
        f"{explored.schedules:,} schedules (seeds {explored.first_seed} to {explored.last_seed}): "
        f"{explored.steps:,} steps, {explored.samples:,} samples, {explored.kills:,} kills, "
        f"{explored.interrupts:,} exceptions of signal handlers, "
        f"{len(explored.violations)} violations, {explored.cpu_s:.0f} s of CPU",
        *(f"  {schedules:9,}  {kind}" for kind, schedules in explored.by_kind.items()),
    ]
    names = {kind.name: name for name, kind in _BY_NAME.items()}
    for kind, seed, violation in explored.violations:
        lines.append(f"{kind}: {violation}")
        lines.append(
            f"  see it with: python -m tests.protocol --trace --kind {names[kind]} --seed {seed}"
            " (and the options and the environment of this run)"
        )
    return "\n".join(lines)


def _explore_side_by_side(arguments: argparse.Namespace, seed: int) -> int:
    """Let each core explore seeds of its own."""
    command = [sys.executable, "-m", "tests.protocol", "--seconds", str(arguments.seconds)]
    if arguments.mixed:
        command.append("--mixed")
    for name in arguments.kind or ():
        command += ["--kind", name]
    if arguments.plant is not None:
        command += ["--plant", arguments.plant]
    explorers = [
        # So far apart that they never meet; odd and even, for --mixed.
        subprocess.Popen([*command, "--seed", str(seed + number * 1_000_000_001)], env=os.environ)
        for number in range(arguments.processes)
    ]
    return max(explorer.wait() for explorer in explorers)


if __name__ == "__main__":
    sys.exit(main())
