"""The command `python -m benchmarks`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describe
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
    "main_job",
    "hot_path",
)

_DESCRIPTION = """\
Measure dora_rt beside what else moves a frame between two Python programs, on this machine.

Everything runs in one go, in rounds in which the contenders take turns; each number is the median
of the rounds. Both sides of a link are pinned, to two cores and then to one, because unpinned
medians jump with what the scheduler likes. What is not installed is skipped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line asks for; give the exit status."""
    options = _parser().parse_args(arguments)
    adopt_orphans()
    quick = options.quick
    session = Session(
        Options(
            rounds=options.rounds or (1 if quick else 3),
            budget_s=0.05 if quick else 0.25,
            contenders=tuple(options.contender or ()),
            is_quick=quick,
        )
    )
    names = options.only or BENCHMARKS
    modules = [importlib.import_module(f"benchmarks.{name}") for name in names]
    for module in modules:
        session.say(f"== {module.NAME}: {_summary(module)}")
        module.measure(session)
    text = []
    for module in modules:
        rows = [row for row in session.rows if row["benchmark"] == module.NAME]
        text += [str(table) for table in module.tables(rows)]
    text += [f"Skipped: {what}: {reason}." for what, reason in session.skipped.items()]
    text += [f"Problem: {problem}" for problem in session.problems]
    report = "\n\n".join(text)
    print(report)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tables.md").write_text(report + "\n")
    (options.out / "results.json").write_text(
        json.dumps(
            {
                "machine": describe(),
                "rows": session.rows,
                "skipped": session.skipped,
                "problems": session.problems,
            },
            indent=1,
        )
    )
    return 1 if session.problems else 0


def _parser() -> argparse.ArgumentParser:
    parts = [f"{name}:\n{_document(name)}" for name in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog="\n\n".join(["what each benchmark measures", *parts]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, help="only these benchmarks")
    parser.add_argument("--rounds", type=int, help="how often all is measured (3)")
    parser.add_argument(
        "--contender",
        nargs="+",
        metavar="PART",
        help="only contenders with one of these in their name, such as dora_rt iceoryx2",
    )
    parser.add_argument("--quick", action="store_true", help="one round, and few samples in it")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmarks/out"),
        help="folder for results.json, tables.md and the plots (%(default)s)",
    )
    return parser


def _document(name: str) -> str:
    return inspect.getdoc(importlib.import_module(f"benchmarks.{name}")) or ""


def _summary(module: object) -> str:
    return (inspect.getdoc(module) or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
