"""Puts the tables and the plot of the last run into the documentation.

python -m benchmarks.publish
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.report import PLOT, TABLES

_OUT = Path("benchmarks/out")
_NUMBERS = Path("docs/performance-numbers.md")
_PICTURE = Path("docs/images/performance.png")
_HEAD = """\
# The numbers

Written by `make bench` and `make bench-docs`; [performance.md](performance.md) says what they mean.
Compare only within this page: another machine, or another day, gives other ones.
"""


def main() -> int:
    """Write docs/performance-numbers.md and its picture; 1 if there has been no run."""
    if not (_OUT / TABLES).exists():
        print(f"{_OUT / TABLES} is not there; run `make bench` first", file=sys.stderr)
        return 1
    parts = [_HEAD, (_OUT / TABLES).read_text()]
    if (_OUT / PLOT).exists():
        shutil.copyfile(_OUT / PLOT, _PICTURE)
        parts.insert(1, f"![Round trips]({_PICTURE.relative_to('docs')})\n")
    _NUMBERS.write_text("\n".join(parts))
    print(f"written: {_NUMBERS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
