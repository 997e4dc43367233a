"""One process of a job: pins itself, opens its end of the link, and runs its half of a benchmark.

python -m benchmarks.worker job.json writer
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from benchmarks.job import WRITER, Job


def main(file: str, role: str) -> None:
    """Run one role of a job, and write what it found, or why it failed."""
    job = Job.load(Path(file))
    # Before anything starts a thread: threads inherit it.
    os.sched_setaffinity(0, job.writer_cores if role == WRITER else job.reader_cores)
    try:
        result = run(job, role)
    except BaseException:
        write_result(job, role, {"error": traceback.format_exc()})
        raise
    write_result(job, role, result)


def run(job: Job, role: str) -> dict[str, object]:
    """Run one role of a job and give what it found."""
    from benchmarks.contenders import find

    benchmark = importlib.import_module(f"benchmarks.{job.benchmark}")
    contender = find(job.contender)
    if role == WRITER:
        return {"rows": benchmark.write(job, contender.open_writer(job))}
    number = int(role.removeprefix("reader"))
    return {"rows": benchmark.read(job, contender.open_reader(job, number), number)}


def write_result(job: Job, role: str, result: dict[str, object]) -> None:
    """Write it so that who looks for the file sees it whole or not at all."""
    file = job.result_file(role)
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(result))
    draft.rename(file)


if __name__ == "__main__":
    main(*sys.argv[1:3])
