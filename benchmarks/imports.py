"""Imports: what a node costs before it does anything, in pure Python and with the compiled code.

A new interpreter that has numpy imports the node API: its processor time from before the import to
after it, and the memory that this adds. Then a node that dora-launch starts, as a copy of the
process that has done the imports, has sent itself one sample: its memory. Pure and compiled take
turns, in pairs; the difference is the median over the pairs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.contenders import DORA_RT
from benchmarks.contenders.dora_rt import launch_command, node_keys
from benchmarks.processes import JobError
from benchmarks.session import Session, private_folder
from benchmarks.tables import Table
from benchmarks.timing import Row, over_rounds
from dora_rt.compiled import IS_COMPILED, PURE_VARIABLE

NAME = "imports"
PURE, COMPILED = "pure Python", "compiled"
_IMPORT, _NODE = "import", "node"
_PAIRS = 8
"""In each round: one import differs from the next one by more than the compiled code takes."""
_LINES = (
    (_IMPORT, "cpu_ms", "import of the node API: processor time in ms"),
    (_IMPORT, "rss_mb", "memory that the import adds: RSS in MB"),
    (_IMPORT, "pss_mb", "the same: PSS in MB"),
    (_NODE, "rss_mb", "a node that has sent itself a sample: RSS in MB"),
    (_NODE, "pss_mb", "the same: PSS in MB"),
)


def measure(session: Session) -> None:
    """Let pure and compiled take turns, each first as often as the other one."""
    if not any(contender.name == DORA_RT for contender in session.contenders([DORA_RT])):
        return
    codes = (PURE, COMPILED) if IS_COMPILED else (PURE,)
    pairs = 1 if session.options.is_quick else _PAIRS * session.options.rounds
    for number in range(pairs):
        session.say(f"pair {number + 1} of {pairs}")
        for code in codes if number % 2 else codes[::-1]:
            for what, look in ((_IMPORT, _look_at_import), (_NODE, _look_at_node)):
                _add(session, what, look, code, number)


def tables(rows: list[Row]) -> list[Table]:
    """Give one table."""
    codes = [code for code in (PURE, COMPILED) if any(row["code"] == code for row in rows)]
    is_both = len(codes) == 2
    lines = []
    for what, key, title in _LINES:
        found = [row for row in rows if row["what"] == what]
        of_code = [[row for row in found if row["code"] == code] for code in codes]
        cells = [_text(over_rounds(mine, key)) for mine in of_code]
        if is_both:
            cells.append(_text(_difference(of_code, key), "+.2f"))
        lines.append([title, *cells])
    head = ["", *codes, *(["difference"] if is_both else [])]
    return [Table("What the import of a node costs", head, lines)] if rows else []


def _add(
    session: Session, what: str, look: Callable[[Session, bool], Row], code: str, number: int
) -> None:
    try:
        row = look(session, code == PURE)
    except JobError as error:
        session.note(f"{NAME}, {what}, {code}: {error}")
    else:
        session.add(NAME, [row], what=what, code=code, round=number, contender=DORA_RT)


def _difference(of_code: Sequence[list[Row]], key: str) -> float | None:
    pure, compiled = ({row["round"]: row[key] for row in mine} for mine in of_code)
    pairs = [{"more": compiled[number] - pure[number]} for number in pure.keys() & compiled.keys()]
    return over_rounds(pairs, "more")


def _text(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else f"{value:{form}}"


def _look_at_import(session: Session, is_pure: bool) -> Row:
    command = [sys.executable, "-m", "benchmarks.import_worker", _IMPORT]
    if is_pure:
        command = ["env", f"{PURE_VARIABLE}=1", *command]
    with private_folder() as folder:
        result = folder / "import.json"
        session.run_commands([[*command, str(result)]], folder, cores=_all_cores())
        return _read(result)


def _look_at_node(session: Session, is_pure: bool) -> Row:
    with private_folder() as folder:
        result = folder / "node.json"
        node = {
            "id": "alone",
            "module": "benchmarks.import_worker",
            "args": [_NODE, str(result)],
            "inputs": {"back": "alone/out"},
            "outputs": ["out"],
            **node_keys(spins=False),
        }
        file = folder / "dataflow.yml"
        file.write_text(json.dumps({"nodes": [node]}))
        command = launch_command(file, is_pure=is_pure)
        session.run_commands([command], folder, cores=_all_cores())
        return _read(result)


def _read(result: Path) -> Row:
    row: Row = json.loads(result.read_text())
    return row


def _all_cores() -> tuple[int, ...]:
    return tuple(os.sched_getaffinity(0))
