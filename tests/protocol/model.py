"""`python -m tests.protocol.model`: checks `ring.pml` in all its states, with spin and gcc."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_MODEL = Path(__file__).with_name("ring.pml")
_TWO_READERS = ("E=2", "S=3", "N=2", "Q0=1")
_ONE_READER = ("E=1", "S=3", "N=5", "P0=DROP", "Q0=2", "VICTIM=0")
HOLD = [
    (*_TWO_READERS, f"P0={policy}", kill)
    for policy in ("DROP", "BLOCK", "LATEST")
    for kill in ("VICTIM=0", "WRITER_DIES")
]
"""What must hold: for each queue policy, a reader or the writer is killed once and comes back."""
FAIL = [(*_ONE_READER, fault) for fault in ("F01", "F04", "F10", "F12")]
"""The faults that were there once: the checker must find each of them."""


def main() -> int:
    """Check all of them; 1 if one is not as it must be, 2 if it cannot be checked here."""
    missing = [program for program in ("spin", "gcc") if shutil.which(program) is None]
    if missing:
        print(f"{' and '.join(missing)} not found (Debian: apt install spin gcc)", file=sys.stderr)
        return 2
    is_right = True
    for defines in (*HOLD, *FAIL):
        errors, states, is_whole, seconds = check(defines)
        must_fail = defines in FAIL
        right = bool(errors) if must_fail else not errors and is_whole
        is_right &= right
        said = f"{errors} errors" if errors or is_whole else "not complete"
        print(
            f"{'ok  ' if right else 'WRONG'} {' '.join(defines)}: {states:,} states, {said}"
            f"{' (as planted)' if must_fail else ''}, {seconds:.0f} s",
            flush=True,
        )
    return 0 if is_right else 1


def check(defines: tuple[str, ...]) -> tuple[int, int, bool, float]:
    """Search all states of one configuration.

    Returns:
        Errors (the search ends at the first), states stored, whether all were searched, seconds.
    """
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        options = [f"-D{define}" for define in defines]
        compiler = ["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=7000", "-o", "pan"]
        for command in (["spin", "-a", *options, str(_MODEL)], [*compiler, "pan.c"]):
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run(
            ["./pan", "-m1000000", "-w26"], cwd=folder, capture_output=True, text=True, check=False
        )
    errors = re.search(r"errors: (\d+)", done.stdout)
    states = re.search(r"(\S+) states, stored", done.stdout)
    if errors is None or states is None:
        raise RuntimeError(f"spin said nothing of {defines}: {done.stdout}{done.stderr}")
    is_cut = re.search(r"Search not completed|max search depth too small", done.stdout)
    return int(errors[1]), int(float(states[1])), not is_cut, time.monotonic() - began_s


if __name__ == "__main__":
    sys.exit(main())
