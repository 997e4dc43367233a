"""Shows that the schedules find faults in compiled code: `python -m tests.protocol.mutants`.

Each fault is planted into a copy of the sources of the cores, which is compiled, explored, and has
to be found.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_SECONDS = 60


@dataclass(frozen=True)
class Mutant:
    """A fault in one of the files of the cores."""

    what: str
    file: str
    right: str
    wrong: str


MUTANTS = (
    Mutant(
        "a sample's number is seen before the sample",
        "writer.pxi",
        "        if words.at == NULL:\n            self.fence_stores()\n",
        "",
    ),
    Mutant(
        "FLOOR is not written behind a drop",
        "writer.pxi",
        "        if dropped:\n            self._write_floor(edge)\n",
        "",
    ),
    Mutant(
        "a token counts as taken back though a reader has it",
        "writer.pxi",
        "        if try_wait(token):\n            edge.won.append(slot)\n",
        "        edge.won.append(slot)\n",
    ),
    Mutant(
        "a claim of a later sample counts as one of the earlier",
        "reader.pxi",
        "        if place >> SLOT_BITS != seq:\n"
        "            self.claimed_place = place\n"
        "            return ANOTHER\n",
        "",
    ),
    Mutant(
        "a slot is given back before its view is let go of",
        "subscriber.pxi",
        "            reader.do_keep(slot, self._is_blocking)\n",
        "            reader.do_give_back(slot)\n",
    ),
)


def main() -> int:
    """Plant each; 1 if one was not found."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("dora_rt", "nodes", "tests", "setup.py", "setup.cfg", "README.md"):
            source, target = _ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.so"))
            else:
                shutil.copy(source, target)
        for mutant in MUTANTS:
            file = Path(folder) / "dora_rt/compiled" / mutant.file
            text = file.read_text()
            assert text.count(mutant.right) == 1, f"{mutant.what}: {mutant.file} has changed"
            file.write_text(text.replace(mutant.right, mutant.wrong))
            is_found = _is_found(Path(folder))
            missed += not is_found
            print("found: " if is_found else "MISSED:", mutant.what, flush=True)
            file.write_text(text)
    return min(missed, 1)


def _is_found(folder: Path) -> bool:
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    command = [sys.executable, "-m", "tests.protocol", "--seed", "0", "--seconds", str(_SECONDS)]
    explored = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    # A crash is found, too.
    return explored.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
