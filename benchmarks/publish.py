"""Puts the tables and the plot of the last run into the documentation.

What a gateway costs stands where one reads about gateways, too, between two marks.

python -m benchmarks.publish
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import gateway
from benchmarks.report import PLOT, RESULTS, TABLES
from benchmarks.timing import Row

_OUT = Path("benchmarks/out")
_NUMBERS = Path("docs/performance-numbers.md")
_PICTURE = Path("docs/images/performance.png")
_MACHINES = Path("docs/several-machines.md")
_MARKS = "<!-- from make bench: gateway -->\n", "<!-- end -->\n"
_HEAD = """\
# The numbers

Written by `make bench` and `make bench-docs`; [performance.md](performance.md) says what they mean.
Compare only within this page: another machine, or another day, gives other ones.
"""


def main() -> int:
    """Write what a run has measured; 1 if there has been no run."""
    if not (_OUT / TABLES).exists():
        print(f"{_OUT / TABLES} is not there; run `make bench` first", file=sys.stderr)
        return 1
    results = json.loads((_OUT / RESULTS).read_text())
    costs = [row for row in results["rows"] if row["benchmark"] == gateway.NAME]
    if costs:
        _MACHINES.write_text(with_gateways(_MACHINES.read_text(), costs, results))
        print(f"written: {_MACHINES}")
    if len(costs) < len(results["rows"]):
        _write_numbers()
    return 0


def _write_numbers() -> None:
    parts = [_HEAD, (_OUT / TABLES).read_text()]
    if (_OUT / PLOT).exists():
        shutil.copyfile(_OUT / PLOT, _PICTURE)
        parts.insert(1, f"![Round trips]({_PICTURE.relative_to('docs')})\n")
    _NUMBERS.write_text("\n".join(parts))
    print(f"written: {_NUMBERS}")


def with_gateways(page: str, rows: list[Row], results: dict[str, Any]) -> str:
    """Return a page with the table of a run between the marks."""
    before, begin, rest = page.partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    assert begin and end, "the page has both marks"
    (table,) = gateway.tables(rows)
    machine = results["machine"]
    rounds = results["rounds"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, both ends on it; median of {rounds} "
        f"rounds of 15 s; load average when it began: {results['load']:.1f}."
    )
    return f"{before}{begin}{where}\n\n{replace(table, title='')}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
