"""A session: all that is measured in one run, with rounds in which the contenders take turns."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.contender import Command, Contender
from benchmarks.contenders import contenders, find
from benchmarks.job import WRITER, Job
from benchmarks.placement import Placement, placements
from benchmarks.processes import JobError, run_to_end
from benchmarks.timing import Row
from dora_rt.runs import namespace_of


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for.

    Attributes:
        rounds: how often all is measured.
        budget_s: seconds for each number of a round.
        contenders: names, or else parts of names, to measure; empty: all.
        timeout_s: how long one job may take until it is killed.
        is_quick: only whether all of it works, with few numbers of readers and nodes.
    """

    rounds: int = 3
    budget_s: float = 0.15
    contenders: tuple[str, ...] = ()
    timeout_s: float = 60
    is_quick: bool = False


@dataclass(slots=True)
class Session:
    """Runs jobs, and collects what they found.

    Attributes:
        rows: all findings so far.
        problems: what did not work, for the reader of the tables.
        skipped: contenders that cannot run here, and why.
        load: how many processes of others wanted to run when it began.
    """

    options: Options
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    _began: float = field(default_factory=time.monotonic)

    def contenders(self, names: Sequence[str] | None = None) -> list[Contender]:
        """Give the contenders that can run here and are wanted, in the order of the tables."""
        found = []
        for contender in contenders():
            if names is not None and contender.name not in names:
                continue
            if not self.is_wanted(contender.name):
                continue
            if reason := contender.missing():
                self.skip(contender.name, reason)
            else:
                found.append(contender)
        return found

    def is_wanted(self, name: str) -> bool:
        """Whether a contender of this name is asked for."""
        names = {contender.name for contender in contenders()}
        wanted = self.options.contenders
        return not wanted or any(
            part == name or (part not in names and part in name) for part in wanted
        )

    def turns(
        self, found: Sequence[Contender], where: Sequence[Placement] | None = None
    ) -> Iterator[tuple[int, Placement, Contender]]:
        """Give each contender its turn at each placement in each round, rotated by round."""
        where = placements() if where is None else where
        total = self.options.rounds * len(where) * len(found)
        done = 0
        for number in range(self.options.rounds):
            for placement in where:
                turn = number % max(len(found), 1)
                for contender in (*found[turn:], *found[:turn]):
                    done += 1
                    self.say(
                        f"{done}/{total}: round {number + 1}, {placement.name}, {contender.name}"
                    )
                    yield number, placement, contender

    def run(self, job: Job) -> dict[str, list[Row]] | None:
        """Run a job and give the rows of each role; None, and a problem noted, if it failed."""
        with private_folder() as folder:
            job = replace(job, folder=folder)
            job.write()
            try:
                with find(job.contender).prepared(job) as commands:
                    self.run_commands(commands, folder, cores=job.cores)
                return {role: _result(job, role) for role in job.roles}
            except JobError as error:
                self.note(f"{job.contender}, {job.benchmark}: {_cause(job) or error}")
                return None

    def run_commands(
        self, commands: Iterable[Command], folder: Path, *, cores: tuple[int, ...]
    ) -> None:
        """Run commands to their end, in this folder.

        Raises:
            JobError: one failed, or did not end in time.
        """
        log = folder / "output.log"
        run_to_end(commands, cores=cores, timeout_s=self.options.timeout_s, log=log)

    def add(self, benchmark: str, rows: Sequence[Row], **where: Any) -> None:
        """Keep findings, each with where it was found."""
        self.rows += [{"benchmark": benchmark, **where, **row} for row in rows]

    def note(self, problem: str) -> None:
        """Note what did not work, and go on."""
        self.problems.append(problem)
        self.say(f"PROBLEM: {problem}")

    def skip(self, what: str, reason: str) -> None:
        """Note, once, what cannot run here."""
        if what not in self.skipped:
            self.skipped[what] = reason
            self.say(f"skipped: {what}: {reason}")

    def say(self, text: str) -> None:
        """Show how far it is, on standard error."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder of a short, random name, and remove it with all that is in it.

    The contenders name after it what they share. It has the name space of dora_rt in it.
    """
    namespace = namespace_of(os.environ)
    name = "_".join(filter(None, (namespace, secrets.token_hex(4))))
    folder = Path(tempfile.gettempdir()) / f"drtbench-{name}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_job(benchmark: str, contender: Contender, placement: Placement, **keys: Any) -> Job:
    """Make the job of a benchmark for a contender at a placement."""
    return Job(
        benchmark,
        contender.name,
        folder=Path(),
        writer_cores=(placement.writer,),
        reader_cores=(placement.readers,),
        **keys,
    )


def _result(job: Job, role: str) -> list[Row]:
    file = job.result_file(role)
    if not file.exists():
        raise JobError(f"{role} wrote no result")
    result = json.loads(file.read_text())
    if "error" in result:
        raise JobError(f"{role}: {result['error']}")
    rows: list[Row] = result["rows"]
    return rows


def _cause(job: Job) -> str | None:
    """Find what a process said of its own failure: it tells more than how another one ended."""
    for role in (*job.roles[1:], WRITER):
        file = job.result_file(role)
        if file.exists() and "error" in (result := json.loads(file.read_text())):
            last_line: str = result["error"].strip().splitlines()[-1]
            if last_line != "KeyboardInterrupt":  # that was us, because of something else
                return f"{role}: {last_line}"
    return None
