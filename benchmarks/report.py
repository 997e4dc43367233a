"""What a run leaves: tables in Markdown, all numbers in JSON, and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import aims, plot, roundtrip
from benchmarks.machine import describe
from benchmarks.session import Session

TABLES, RESULTS, PLOT = "tables.md", "results.json", "roundtrip.png"


def write(session: Session, measured: Sequence[ModuleType], folder: Path) -> str:
    """Write the files of a run that is over, or in the middle; give the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    text = render(session, measured)
    (folder / TABLES).write_text(text + "\n")
    results = {
        "machine": describe(),
        "load": session.load,
        "rounds": session.options.rounds,
        "budget_s": session.options.budget_s,
        "rows": session.rows,
        "skipped": session.skipped,
        "problems": session.problems,
    }
    (folder / RESULTS).write_text(json.dumps(results, indent=1))
    if any(row["benchmark"] == roundtrip.NAME for row in session.rows):
        if reason := plot.missing():
            session.skip("plot", reason)
        else:
            plot.draw(session.rows, folder / PLOT)
    return text


def files(folder: Path) -> list[str]:
    """Name the files of a run that are there."""
    return [name for name in (TABLES, RESULTS, PLOT) if (folder / name).exists()]


def render(session: Session, measured: Sequence[ModuleType]) -> str:
    """Return the machine, the aims, tables for each benchmark, and what did not work."""
    tables = [aims.table(session.rows)]
    for module in measured:
        tables += module.tables([row for row in session.rows if row["benchmark"] == module.NAME])
    parts = [_machine(session), *(str(table) for table in tables if table.lines)]
    parts += [f"Skipped: {what}: {reason}." for what, reason in session.skipped.items()]
    parts += [f"Problem: {problem}" for problem in session.problems]
    return "\n\n".join(parts)


def _machine(session: Session) -> str:
    machine = describe()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['machine']}, "
        f"Linux {machine['kernel']}, Python {machine['python']}; {versions}. "
        f"{session.options.rounds} rounds; load average when it began: {session.load:.1f}."
    )
