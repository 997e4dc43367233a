"""The benchmarks run, keep what they measured, and leave nothing behind; no number is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import session as session_module
from benchmarks.__main__ import BENCHMARKS
from benchmarks.contender import Command, Contender
from benchmarks.contenders import BARE, DORA_RT, contenders, find
from benchmarks.job import WRITER
from benchmarks.placement import Placement, placements
from benchmarks.processes import descendants
from benchmarks.roundtrip import IN_PLACE, PRODUCED, SIZES
from benchmarks.session import Options, Session, make_job
from tests.harness.machines import missing_for_machines
from tests.harness.objects import SHM, namespace

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]


class Broken(Contender):
    """A contender whose process does what the test says."""

    name = "broken"

    def __init__(self, program: str) -> None:
        self._program = program

    @contextmanager
    def prepared(self, job: Any) -> Iterator[list[Command]]:
        yield [[sys.executable, "-c", self._program]]


@pytest.fixture
def placement() -> Placement:
    return placements()[-1]


def shared_memory() -> set[str]:
    return {path.name for path in SHM.iterdir() if namespace() in path.name}


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(missing_for_machines() is not None, reason=str(missing_for_machines()))
def test_two_machines_are_measured_over_each_link(tmp_path: Path):
    done = run_benchmarks(
        "--quick", "--only", "links", "--contender", "dora_rt", "TCP", "--out", str(tmp_path)
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    measured = {(row["contender"], row["traffic"]) for row in rows}
    assert measured == {
        (contender, traffic)
        for contender in ("dora_rt", "plain TCP")
        for traffic in ("1080p", "200 kB", "command")
    }
    commands = [row for row in rows if row["traffic"] == "command"]
    assert all(row["received"] == row["sent"] == 200 for row in commands)


def test_camera_is_measured_into_ros2_and_beside_it(tmp_path: Path):
    pytest.importorskip("zenoh", reason="the extra [ros2] is not installed")
    ways = {"zenoh + CDR, shared memory", "dora_rt → zenoh + CDR, shared memory"}
    before = shared_memory()

    done = run_benchmarks(
        *("--quick", "--only", "ros2", "--out", str(tmp_path)),
        *("--contender", "zenoh + CDR, shared memory"),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["contender"] for row in rows} == ways
    assert all(0 < row["received"] <= row["sent"] for row in rows)
    assert all(row["p50_ms"] > 0 and row["cpu_percent"] > 0 for row in rows)
    assert shared_memory() <= before


def test_benchmarks_run_through_dora_launch_and_their_findings_are_kept(tmp_path: Path):
    before = shared_memory()
    chosen = ("roundtrip", "throughput", "footprint", "imports")

    done = run_benchmarks(
        "--quick", "--only", *chosen, "--contender", DORA_RT, "--out", str(tmp_path)
    )

    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert {row["benchmark"] for row in results["rows"]} == set(chosen)
    assert results["problems"] == []
    assert (tmp_path / "tables.md").read_text() == done.stdout
    trips = [row for row in results["rows"] if row["benchmark"] == "roundtrip"]
    assert {(row["size"], row["way"], row["placement"]) for row in trips} == {
        (size, way, placement.name)
        for size in SIZES
        for way in (PRODUCED, IN_PLACE)
        for placement in placements()
    }
    assert shared_memory() <= before


def test_help_says_of_each_benchmark_what_is_measured():
    done = run_benchmarks("--help")

    assert done.returncode == 0
    for name in BENCHMARKS:
        assert f"\n{name}:\n" in done.stdout
    assert "From before the writer produces N bytes" in done.stdout


def test_floor_of_bare_semaphores_is_measured_and_removed(placement: Placement):
    before = shared_memory()
    session = Session(Options(budget_s=0.005))
    job = make_job(
        "roundtrip",
        find(BARE),
        placement,
        is_answered=True,
        largest_nbytes=max(SIZES.values()),
        settings={"budget_s": 0.005},
    )

    found = session.run(job)

    assert session.problems == []
    assert found is not None
    assert {row["size"] for row in found[WRITER]} == set(SIZES)
    assert shared_memory() <= before


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(600)", "did not end within 1 s"),
        ("import sys; sys.exit('no such plug')", "no such plug"),
    ],
)
def test_contender_that_hangs_or_fails_is_ended_and_named_and_the_others_go_on(
    program: str, said: str, placement: Placement, monkeypatch: pytest.MonkeyPatch
):
    contender = Broken(program)
    monkeypatch.setattr(session_module, "find", lambda _: contender)
    session = Session(Options(timeout_s=1))
    before = set(descendants())

    found = session.run(make_job("roundtrip", contender, placement))

    assert found is None
    assert len(session.problems) == 1
    assert "broken" in session.problems[0]
    assert said in session.problems[0]
    assert set(descendants()) <= before


def test_what_is_not_installed_is_skipped_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
):
    absent = Contender()
    absent.name, absent.modules = "absent", ("no_such_module",)
    monkeypatch.setattr(session_module, "contenders", lambda: [absent, find(BARE)])
    session = Session(Options())

    found = session.contenders()

    assert [contender.name for contender in found] == [BARE]
    assert session.skipped == {
        "absent": "no_such_module is not installed (pip install -e '.[bench]')"
    }


def test_part_of_a_name_stands_for_all_that_have_it_and_a_whole_name_for_itself():
    part, whole = Session(Options(contenders=("bare",))), Session(Options(contenders=(DORA_RT,)))

    assert [contender.name for contender in part.contenders()] == [BARE, "bare, busy polling"]
    assert [contender.name for contender in whole.contenders()] == [DORA_RT]


def test_names_of_contenders_are_all_different():
    names = [contender.name for contender in contenders()]

    assert len(set(names)) == len(names)


def test_contenders_take_turns_in_each_round():
    session = Session(Options(rounds=2))
    found = [find(BARE), find(DORA_RT)]

    turns = [
        (number, contender.name) for number, _, contender in session.turns(found, placements()[:1])
    ]

    assert turns == [(0, BARE), (0, DORA_RT), (1, DORA_RT), (1, BARE)]
