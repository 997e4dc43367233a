"""`python -m tests.protocol.model`: checks the model of the ring, `ring.pml`, in all its states."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_MODEL = Path(__file__).with_name("ring.pml")
_POLICIES = ("DROP", "BLOCK", "LATEST")
_PAIRS = tuple(
    (first, second) for number, first in enumerate(_POLICIES) for second in _POLICIES[number:]
)
_MOST_STEPS = 100_000  # of one way through the states; the longest has about 1,000
_LIMIT_S = 1800


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is defined when the model is compiled."""

    name: str
    defines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model checker said of one configuration."""

    states: str
    transitions: str
    seconds: str
    mebibytes: str
    errors: int
    is_complete: bool
    complaint: str


def _two_readers(name: str, pair: tuple[str, str], *more: str) -> Configuration:
    defines = ("E=2", "S=3", "N=3", f"P0={pair[0]}", f"P1={pair[1]}", "Q0=1", "Q1=1", *more)
    return Configuration(f"{name}, {pair[0].lower()} and {pair[1].lower()}", defines)


def _one_reader(name: str, policy: str, *more: str) -> Configuration:
    return Configuration(f"{name}, {policy.lower()}", ("E=1", f"P0={policy}", *more))


def _configurations() -> Iterable[Configuration]:
    for policy in _POLICIES:
        more = ("S=3", "N=4", "Q0=1", "HOLD", "AGES")
        yield _one_reader("one reader, killed or closed", policy, "VICTIM=0", "CLOSES", *more)
        yield _one_reader("one reader, writer killed", policy, "WRITER_DIES", "M=2", *more)
    for policy in ("DROP", "BLOCK"):
        more = ("S=4", "N=5", "Q0=2")
        yield _one_reader("one reader with a longer queue, killed", policy, "VICTIM=0", *more)
    for pair in _PAIRS:
        yield _two_readers("nobody killed", pair)
    for pair in _PAIRS:
        yield _two_readers("first reader killed", pair, "VICTIM=0")
        if pair[0] != pair[1]:
            yield _two_readers("second reader killed", pair, "VICTIM=1")
    for pair in _PAIRS:
        yield _two_readers("writer killed", pair, "WRITER_DIES")


def _faults() -> Iterable[Configuration]:
    small = ("S=3", "N=3", "Q0=1")
    longer = ("S=4", "N=5", "Q0=2", "VICTIM=0")
    yield _one_reader("F01: no ring for an idle writer", "DROP", *small, "VICTIM=0", "F01")
    yield _one_reader("F04: hands freed, log not read", "DROP", *small, "VICTIM=0", "F04")
    yield _one_reader("F04: hands freed, log not read", "BLOCK", *small, "VICTIM=0", "F04")
    yield _one_reader("F10: no rule for gaps", "DROP", *longer, "F10")
    yield _one_reader("GAP: kept claims do not tell of a gap", "DROP", *longer, "GAP")
    yield _one_reader("GAP: kept claims do not tell of a gap", "BLOCK", *longer, "GAP")
    yield _one_reader("F12: no look at FLOOR before a claim", "DROP", *small, "AGES", "F12")


def check(configuration: Configuration) -> Outcome:
    """Go through all states of one configuration.

    Raises:
        subprocess.CalledProcessError: the model cannot be compiled.
    """
    defines = [f"-D{define}" for define in configuration.defines]
    # The names of policies are numbers in the model, and the preprocessor has to compare them.
    defines += [f"-D{policy}={number}" for number, policy in enumerate(_POLICIES)]
    with tempfile.TemporaryDirectory() as folder:
        _run(["spin", "-a", *defines, str(_MODEL)], folder)
        # All states are stored whole (COLLAPSE loses nothing).
        options = ["-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=6000"]
        _run(["gcc", "-O2", "-w", *options, "-o", "pan", "pan.c"], folder)
        try:
            ran = subprocess.run(
                ["nice", "-n", "5", "./pan", f"-m{_MOST_STEPS}", "-w26"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return Outcome("?", "?", str(_LIMIT_S), "?", 0, False, "took too long")
    return _read(ran.stdout, ran.returncode)


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def _read(report: str, code: int) -> Outcome:
    def find(pattern: str) -> str:
        found = re.search(pattern, report)
        return found[1] if found else "?"

    def number(pattern: str) -> str:
        text = find(pattern)
        return text if text == "?" else f"{float(text):,.0f}"

    errors = find(r"errors: (\d+)")
    complaint = find(r"pan:\d+: (.*)\n")
    is_incomplete = (
        "Search not completed" in report or "max search depth" in report or errors == "?"
    )
    return Outcome(
        states=number(r"([\d.e+]+) states, stored"),
        transitions=number(r"([\d.e+]+) transitions"),
        seconds=find(r"elapsed time ([\d.e+]+)"),
        mebibytes=number(r"([\d.]+)\s+total actual memory"),
        errors=int(errors) if errors != "?" else 0,
        is_complete=not is_incomplete,
        complaint=complaint if complaint != "?" else f"pan ended with {code}" if code else "",
    )


def main() -> int:
    """Do what the command line asks for; 1 if the model does not hold, or a fault goes unseen."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol.model", description=__doc__)
    parser.add_argument("--faults", action="store_true", help="plant faults, and expect violations")
    parser.add_argument("--only", default="", help="only configurations with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="how many side by side")
    arguments = parser.parse_args()
    for program in ("spin", "gcc"):
        if shutil.which(program) is None:
            print(f"the model is checked with {program}, which is not here (Debian: {program})")
            return 2
    chosen = _faults() if arguments.faults else _configurations()
    configurations = [one for one in chosen if arguments.only in one.name]
    failed = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for configuration, outcome in zip(
            configurations, pool.map(check, configurations), strict=True
        ):
            if arguments.faults:
                is_right = outcome.errors > 0
                verdict = "found, as it must be" if is_right else "NOT FOUND"
            else:
                is_right = outcome.is_complete and not outcome.errors
                verdict = "complete" if outcome.is_complete else "NOT COMPLETE"
            failed += not is_right
            print(
                f"{configuration.name} ({' '.join(configuration.defines)}): {verdict}, "
                f"{outcome.states} states, {outcome.transitions} transitions, "
                f"{outcome.errors} errors, {outcome.seconds} s, {outcome.mebibytes} MiB"
                f"{'; ' if outcome.complaint else ''}{outcome.complaint}",
                flush=True,
            )
    print(f"{len(configurations)} configurations, {failed} not as they should be")
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"
    sys.exit(main())
