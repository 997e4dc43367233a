"""Links: pictures and commands between two machines, over a fast wire and over 20 Mbit/s.

Two network namespaces are joined by a wire, or by an emulator that delays and limits. One sends
pictures of 1080p at 30 Hz over the wire; then pictures of 200 kB at 30 Hz (as of JPEG) and commands
of 8 bytes at 100 Hz over 20 Mbit/s with 2 ms each way. Measured is the age of each value when the
program at the far end has it; both have one clock. Nothing is pinned.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.far_contenders import FAR_CONTENDERS, FarContender
from benchmarks.placement import placements
from benchmarks.processes import JobError
from benchmarks.session import Session, private_folder
from benchmarks.tables import Table, quantity
from benchmarks.timing import Row, over_rounds
from tests.harness.machines import machines, missing_for_machines

NAME = "links"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes from one machine to the other, as its programs are told."""

    id: str
    nbytes: int
    hz: int
    is_lossless: bool
    """Else the newest counts."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A link, and what goes over it."""

    title: str
    link: dict[str, float]
    """Settings of the emulator; empty: a wire."""
    traffic: tuple[Traffic, ...]


SCENARIOS = (
    Scenario("a fast wire", {}, (Traffic("1080p", 1920 * 1080 * 3, 30, is_lossless=False),)),
    Scenario(
        "20 Mbit/s, 2 ms",
        {"rate": 20, "delay": 2},
        (
            Traffic("200 kB", 200_000, 30, is_lossless=False),
            Traffic("command", 8, 100, is_lossless=True),
        ),
    ),
)


def measure(session: Session) -> None:
    """Let all contenders take turns on each link."""
    if reason := missing_for_machines():
        session.skip(NAME, reason)
        return
    found = []
    for contender in FAR_CONTENDERS:
        if not session.is_wanted(contender.name):
            continue
        if reason := contender.missing():
            session.skip(contender.name, reason)
        else:
            found.append(contender)
    seconds = 2 if session.options.is_quick else 8
    for number in range(session.options.rounds):
        for scenario in SCENARIOS:
            turn = number % max(len(found), 1)
            for contender in (*found[turn:], *found[:turn]):
                session.say(f"round {number + 1}, {scenario.title}, {contender.name}")
                try:
                    rows = _run(session, contender, scenario, seconds)
                except JobError as error:
                    session.note(f"{contender.name}, {NAME}: {error}")
                    continue
                where = {"round": number, "contender": contender.name, "link": scenario.title}
                session.add(NAME, rows, **where)


def _run(session: Session, contender: FarContender, scenario: Scenario, seconds: int) -> list[Row]:
    cores = placements()[0]
    with private_folder() as folder, machines("robot", "laptop") as lab:
        if scenario.link:
            link, robot, laptop = lab.link("robot", "laptop")
            link.set(**scenario.link)
        else:
            robot, laptop = lab.wire("robot", "laptop")
        # That of most machines; a gateway chooses bbr for its own links where it may.
        lab.congestion_control("cubic")
        traffic = [asdict(one) for one in scenario.traffic]
        (folder / "traffic.json").write_text(
            json.dumps({"robot": robot, "laptop": laptop, "seconds": seconds, "traffic": traffic})
        )
        commands = contender.commands(folder, [one.id for one in scenario.traffic], robot)
        session.run_commands(
            [lab.command(machine, *command) for machine, command in commands],
            folder,
            cores=tuple(sorted({cores.writer, cores.readers})),
        )
        return [{"traffic": one.id, **_result(folder, one.id)} for one in scenario.traffic]


def _result(folder: Path, traffic_id: str) -> Row:
    sent = json.loads((folder / f"sent {traffic_id}.json").read_text())
    received = json.loads((folder / f"received {traffic_id}.json").read_text())
    return {**sent, **received}


def tables(rows: list[Row]) -> list[Table]:
    """Give a table for each link."""
    made = []
    for scenario in SCENARIOS:
        lines = []
        for one in scenario.traffic:
            for contender in FAR_CONTENDERS:
                found = [
                    row
                    for row in rows
                    if (row["contender"], row["link"], row["traffic"])
                    == (contender.name, scenario.title, one.id)
                ]
                if found:
                    keys = ("sent", "received", "p50_ms", "p99_ms")
                    lines.append(
                        [
                            one.id,
                            contender.name,
                            *(quantity(over_rounds(found, key)) for key in keys),
                        ]
                    )
        head = ["", "", "sent", "received", "age p50, ms", "age p99, ms"]
        made.append(Table(f"From one machine to another over {scenario.title}", head, lines))
    return made
