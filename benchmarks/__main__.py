"""The command `python -m benchmarks`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import report
from benchmarks.processes import adopt_orphans
from benchmarks.session import Options, Session

BENCHMARKS = (
    "roundtrip",
    "throughput",
    "fanout",
    "steady",
    "slow_reader",
    "startup",
    "footprint",
    "imports",
    "main_job",
    "hot_path",
    "links",
    "gateway",
    "ros2",
)

_DESCRIPTION = """\
Measure dora_rt beside what else moves a frame between two Python programs, on this machine.

Everything runs in one go, in rounds in which the contenders take turns; each number is the median
of the rounds. Both sides of a link are pinned, to two cores and then to one, because unpinned
medians jump with what the scheduler likes. What is not installed is skipped, and what hangs is
ended and reported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line asks for; give the exit status."""
    options = _parser().parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        _parser().error("--rounds: at least 1")
    adopt_orphans()
    session = Session(
        Options(
            rounds=options.rounds or (1 if options.quick else 3),
            budget_s=0.02 if options.quick else 0.15,
            contenders=tuple(options.contender or ()),
            is_quick=options.quick,
        )
    )
    # A Ctrl-C ends what runs at the moment, and shows what was measured so far.
    measured: list[ModuleType] = []
    try:
        for name in options.only or BENCHMARKS:
            module = importlib.import_module(f"benchmarks.{name}")
            session.say(f"== {name}: {_summary(module)}")
            measured.append(module)
            module.measure(session)
            report.write(session, measured, options.out)
    except KeyboardInterrupt:
        session.note("interrupted: these are the numbers so far")
    print(report.write(session, measured, options.out))
    print(f"\nwritten to {options.out}/: {', '.join(report.files(options.out))}", file=sys.stderr)
    return 1 if session.problems else 0


def _parser() -> argparse.ArgumentParser:
    parts = [f"{name}:\n{_document(name)}" for name in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog="\n\n".join(["what each benchmark measures", *parts]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=BENCHMARKS,
        metavar="BENCHMARK",
        help=f"only these benchmarks, of {', '.join(BENCHMARKS)}",
    )
    parser.add_argument("--rounds", type=int, help="how often all is measured (3)")
    parser.add_argument(
        "--contender",
        nargs="+",
        metavar="NAME",
        help="only these contenders; part of a name stands for all that have it, such as ROS dora",
    )
    parser.add_argument("--quick", action="store_true", help="one round, and few samples in it")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmarks/out"),
        metavar="DIR",
        help="folder for results.json, tables.md and roundtrip.png (%(default)s)",
    )
    return parser


def _document(name: str) -> str:
    return inspect.getdoc(importlib.import_module(f"benchmarks.{name}")) or ""


def _summary(module: ModuleType) -> str:
    return (inspect.getdoc(module) or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
