"""F48: a process that has used up its mappings (vm.max_map_count) is told which limit it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.objects import new_run

LIMIT = int(Path("/proc/sys/vm/max_map_count").read_text())

# In a process of its own, because nothing can be allocated any more.
PROBE = """
import mmap, sys
from dora_rt.transport.primitives.shm import (
    Segment, create_semaphore, unlink_segments, unlink_semaphores
)
from dora_rt.errors import SharedMemoryError

prefix = sys.argv[1]
made = [create_semaphore(f"{prefix}-{number}") for number in range(2)]
Segment.create(f"{prefix}-s", 4096).close()
del made
attempts = {
    "segment": lambda: Segment.create(f"{prefix}-new", 4096),
    "attach": lambda: Segment.attach(f"{prefix}-s", writable=False),
    "semaphore": lambda: create_semaphore(f"{prefix}-more"),
}
used = []
try:
    while True:
        used.append(mmap.mmap(-1, 4096))
except OSError:
    pass
told = []
for name, attempt in attempts.items():
    try:
        attempt()
    except SharedMemoryError as error:
        told.append(f"{name}: {error}")
used.clear()
print("\\n".join(told))
unlink_segments([f"{prefix}-s"], None)
unlink_semaphores([f"{prefix}-{number}" for number in range(2)])
"""


@pytest.mark.skipif(LIMIT > 200_000, reason="it would take long to use up so many")
@pytest.mark.programs
def test_process_without_mappings_left_is_told_the_limit_and_leaves_nothing():
    prefix = f"/drt-{new_run()}"

    done = subprocess.run(
        [sys.executable, "-c", PROBE, prefix], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    what = {
        "segment": f"shared memory {prefix}-new",
        "attach": f"shared memory {prefix}-s",
        "semaphore": f"semaphore {prefix}-more",
    }
    for line, (name, called) in zip(done.stdout.splitlines(), what.items(), strict=True):
        found = re.fullmatch(
            rf"{name}: {re.escape(called)} cannot be mapped: this process has ([\d,]+) mappings, "
            rf"and vm\.max_map_count allows {LIMIT:,}; give its edges shorter queues \(queue_size, "
            rf"max_held\), or: sysctl -w vm\.max_map_count={2 * LIMIT}",
            line,
        )
        assert found is not None, line
        assert int(found[1].replace(",", "")) == pytest.approx(LIMIT, rel=0.05)
