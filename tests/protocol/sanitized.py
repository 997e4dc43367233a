"""`python -m tests.protocol.sanitized`: the steps of the compiled cores under ThreadSanitizer.

The steps are written down in C once more, between threads (`sanitized.c`); the loads, stores and
fences are those of the cores. Then faults are planted, and have to be reported.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_STEPS = Path(__file__).with_name("sanitized.c")
_PRIMITIVES = Path(__file__).parents[2] / "dora_rt/compiled/primitives.pxi"
_LIMIT_S = 600


@dataclass(frozen=True)
class Fault:
    """One that ThreadSanitizer must report."""

    what: str
    right: str = ""
    wrong: str = ""
    define: str = ""


FAULTS = (
    Fault(
        "words are stored without release",
        "#define drt_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)",
        "#define drt_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)",
    ),
    Fault(
        "words are loaded without acquire",
        "#define drt_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)",
        "#define drt_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)",
    ),
    Fault("a slot is given back before it is read", define="GIVES_BACK_FIRST"),
)


def main() -> int:
    """Run the steps, with and without faults; 1 if anything is other than it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol.sanitized", description=__doc__)
    parser.add_argument("--samples", type=int, default=3_000_000, help="how many to send")
    samples = parser.parse_args().samples
    macros = read_macros(_PRIMITIVES.read_text(encoding="utf-8"))
    done = run_steps(macros, samples)
    print(done.stdout, done.stderr, sep="", end="", flush=True)
    wrong = done.returncode != 0
    print("VIOLATED" if wrong else f"nothing to report in {samples:,} samples", flush=True)
    for fault in FAULTS:
        is_reported = is_found(fault, macros, samples)
        wrong |= not is_reported
        print("found: " if is_reported else "MISSED:", fault.what, flush=True)
    return int(wrong)


def read_macros(primitives: str) -> str:
    """Return what the cores define in C, of the text of `primitives.pxi`."""
    found = re.search(r'^cdef extern from \*:\n    """\n(.*?)^    """', primitives, re.M | re.S)
    assert found is not None, "primitives.pxi has changed"
    return found[1]


def is_found(fault: Fault, macros: str, samples: int) -> bool:
    """Plant a fault; return whether it is reported."""
    if fault.right:
        assert macros.count(fault.right) == 1, f"{fault.what}: primitives.pxi has changed"
        macros = macros.replace(fault.right, fault.wrong)
    return "data race" in run_steps(macros, samples, fault.define).stderr


def run_steps(macros: str, samples: int, define: str = "") -> subprocess.CompletedProcess[str]:
    """Compile the steps with these macros, and run them to their end or the first report."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "macros.h").write_text(macros, encoding="utf-8")
        program = Path(folder) / "steps"
        subprocess.run(
            [
                *("gcc", "-O1", "-g", "-fsanitize=thread", "-w", "-D_GNU_SOURCE", f"-I{folder}"),
                *([f"-D{define}"] if define else []),
                *(str(_STEPS), "-o", str(program), "-pthread", "-ldl"),
            ],
            check=True,
        )
        # With some kernels it does not find its place in a memory that is laid out at random.
        fixed = ["setarch", "-R"] if shutil.which("setarch") else []
        return subprocess.run(
            [*fixed, str(program), str(samples)],
            env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )


if __name__ == "__main__":
    sys.exit(main())
