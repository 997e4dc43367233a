"""The trace of a run, from what its nodes record on the way."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dora_rt.launcher.perfetto import check_target
from dora_rt.tracing.record_file import Kind, Record, TraceWriter, read_trace
from tests.harness.finished import Finished
from tests.harness.flow import Flow

FLOW = """
    nodes:
      - id: camera
        path: camera.py
        inputs: {tick: dora/timer/millis/10, end: fragile/end}
        outputs: [image]
      - id: detector
        operators:
          - {id: find, python: find.py, inputs: {image: camera/image}, outputs: [boxes]}
          - {id: choose, python: choose.py, inputs: {boxes: detector/find/boxes}, outputs: [best]}
      - id: plot
        path: plot.py
        inputs:
          image: {source: camera/image, queue_size: 1, queue_policy: block}
          best: detector/choose/best
      - id: fragile
        path: fragile.py
        restart_policy: on-failure
        max_restarts: 1
        restart_delay: 0.1
        inputs: {image: {source: camera/image, queue_size: 50, queue_policy: drop_oldest}}
        outputs: [end]
"""

CAMERA = """
    import numpy as np
    from dora_rt import Node
    with Node() as node:
        for event in node:
            if event.id == "end":
                break
            node.send_output("image", np.full(10, event.seq), captured_ns=event.sent_ns)
"""

OPERATOR = """
    from dora_rt import DoraStatus
    class Operator:
        def on_input(self, dora_input, send_output):
            send_output({output!r}, dora_input["data"])
            return DoraStatus.CONTINUE
"""

PLOT = """
    import time
    from dora_rt import Node
    with Node() as node:
        for number, event in enumerate(node):
            # The writer comes to a full queue of one: that is what is looked at.
            time.sleep(0.1 if number == 5 else 0.001)
"""

FRAGILE = """
    import os, signal
    from dora_rt import Node
    from dora_rt.node.session import Session
    node = Node()
    for number, event in enumerate(node):
        if number == 3:
            if Session.of(node).config.restart_count == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            node.send_output("end", b"")
"""


class Traced:
    """A run that has ended, and its trace."""

    def __init__(self, done: Finished, path: Path) -> None:
        self.done = done
        self.path = path
        self.events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
        self.processes = {
            event["pid"]: event["args"]["name"]
            for event in self.events
            if event["name"] == "process_name"
        }
        self.tracks = {
            (event["pid"], event["tid"]): event["args"]["name"]
            for event in self.events
            if event["name"] == "thread_name"
        }

    def track_of(self, event: dict[str, Any]) -> str:
        process = self.processes[event["pid"]]
        track = self.tracks[event["pid"], event["tid"]]
        return track if track.startswith(process) else f"{process}/{track}"

    def slices(self, track: str, name: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if event["ph"] == "X" and event["name"] == name and self.track_of(event) == track
        ]

    def around(self, event: dict[str, Any]) -> str:
        """Name the innermost slice in which an event lies, as a viewer finds it."""
        where = event["pid"], event["tid"]
        found = [
            one
            for one in self.events
            if one["ph"] == "X"
            and (one["pid"], one["tid"]) == where
            and one["ts"] <= event["ts"] <= one["ts"] + one["dur"]
        ]
        innermost = max(found, key=lambda one: (one["ts"], -one["dur"]))
        return f"{self.track_of(innermost)}: {innermost['name']}"


@pytest.fixture(scope="module")
def traced(starts_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    flow = Flow(folder)
    flow.write("flow.yml", FLOW)
    flow.write("camera.py", CAMERA)
    flow.write("find.py", OPERATOR.format(output="boxes"))
    flow.write("choose.py", OPERATOR.format(output="best"))
    flow.write("plot.py", PLOT)
    flow.write("fragile.py", FRAGILE)
    done = flow.run("--trace", str(folder / "out.json"))
    assert done.exit_code == 0, done.out + done.err
    yield Traced(done, folder / "out.json")
    flow.close()


def test_summary_says_where_the_trace_is_and_how_many_events_it_has(traced: Traced):
    events = sum(event["ph"] != "M" for event in traced.events)

    assert f"trace: {traced.path} ({events:,} events)" in traced.done.out
    assert "left out" not in traced.done.out
    assert [path.name for path in traced.path.parent.glob("*out.json*")] == ["out.json"]


def test_each_node_and_each_operator_has_a_track_of_its_own(traced: Traced):
    slices = (event for event in traced.events if event["ph"] == "X")

    assert {traced.track_of(event) for event in slices} == {
        "camera",
        "detector/find",
        "detector/choose",
        "plot",
        "fragile",
    }


@pytest.mark.parametrize(
    ("track", "name", "source", "target"),
    [
        ("plot", "best", "detector/choose", "plot"),
        ("plot", "image", "camera/image", "plot/image"),
    ],
)
def test_each_input_that_was_delivered_is_a_slice(
    traced: Traced, track: str, name: str, source: str, target: str
):
    slices = traced.slices(track, name)
    row = next(
        line
        for line in traced.done.out.splitlines()
        if line.startswith(source) and f"-> {target}" in line and name in line
    )

    delivered = int(row.split("->")[1].split()[2])
    assert len(slices) == delivered
    assert all(one["dur"] >= 0 and one["args"]["latency_us"] > 0 for one in slices)
    assert [one["args"]["seq"] for one in slices] == sorted(one["args"]["seq"] for one in slices)
    assert slices[0]["args"]["dropped"] == slices[0]["args"]["seq"]


def test_slice_lasts_until_the_node_asks_for_the_next_input(traced: Traced):
    longest = max(traced.slices("plot", "image") + traced.slices("plot", "best"), key=duration_us)

    assert 100_000 <= longest["dur"] < 1_000_000
    together = sorted(
        (event for event in traced.events if event["ph"] == "X" and event["cat"] == "input"),
        key=lambda event: event["ts"],
    )
    for track in traced.tracks:
        mine = [event for event in together if (event["pid"], event["tid"]) == track]
        for one, after in pairwise(mine):
            assert one["ts"] + one["dur"] <= after["ts"] + 0.001


def test_arrows_lead_from_each_send_to_each_receipt(traced: Traced):
    starts = {(event["cat"], event["id"]): event for event in traced.events if event["ph"] == "s"}
    ends = [event for event in traced.events if event["ph"] == "f"]

    found = {
        (traced.around(starts[end["cat"], end["id"]]), traced.around(end))
        for end in ends
        if (end["cat"], end["id"]) in starts
    }
    assert found == {
        ("camera: send image", "detector/find: image"),
        ("detector/find: image", "detector/choose: boxes"),
        ("camera: send image", "plot: image"),
        ("detector/choose: send best", "plot: best"),
        ("camera: send image", "fragile: image"),
        ("fragile: send end", "camera: end"),
    }
    assert all((end["cat"], end["id"]) in starts for end in ends)
    assert all(end["ts"] >= starts[end["cat"], end["id"]]["ts"] for end in ends)


def test_wait_for_a_blocking_reader_lies_in_the_send_that_waits(traced: Traced):
    waits = traced.slices("camera", "wait for readers of image")

    longest = max(waits, key=duration_us)
    assert longest["dur"] > 20_000
    outer = [
        one
        for one in traced.slices("camera", "send image")
        if one["ts"] <= longest["ts"] and longest["ts"] + longest["dur"] <= one["ts"] + one["dur"]
    ]
    assert [one["args"]["seq"] for one in outer] == [longest["args"]["seq"]]


def test_killed_node_has_left_all_up_to_what_it_was_at(traced: Traced):
    slices = traced.slices("fragile", "image")

    unfinished = [one for one in slices if "unfinished" in one["args"]]
    assert [one["args"]["seq"] for one in unfinished] == [3]
    earlier = [one for one in slices if one["ts"] < unfinished[0]["ts"]]
    later = [one for one in slices if one["ts"] > unfinished[0]["ts"]]
    assert [one["args"]["seq"] for one in earlier] == [0, 1, 2]
    assert later
    assert unfinished[0]["ts"] + unfinished[0]["dur"] <= later[0]["ts"]


def duration_us(event: dict[str, Any]) -> float:
    return float(event["dur"])


def test_interrupted_run_has_its_trace(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, inputs: {tick: dora/timer/millis/5}}]")
    flow.write(
        "a.py", "from dora_rt import Node\nfor number, _ in enumerate(Node()): print(number)\n"
    )
    path = flow.folder / "out.json"
    launcher = flow.start("--trace", str(path))
    assert launcher.stdout is not None
    while "| 3" not in launcher.stdout.readline():
        pass

    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)

    names = [event["name"] for event in json.loads(path.read_text())["traceEvents"]]
    assert names.count("tick") >= 4


def test_trace_that_cannot_be_written_is_told_before_the_start(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py}]")
    flow.write("a.py", "print('started')")

    done = flow.run("--trace", str(flow.folder))

    assert done.exit_code == 2
    assert "is a folder" in done.err
    assert "started" not in done.out
    with pytest.raises(PermissionError, match="does not exist"):
        check_target(flow.folder / "no" / "where.json")


def test_full_file_counts_what_it_leaves_out(tmp_path: Path):
    writer = TraceWriter(tmp_path / "part", limit_nbytes=1)
    room = 0
    while writer.write(record(room)) is not None:
        room += 1
    writer.write(record(room + 1))

    trace = read_trace(tmp_path / "part")

    assert trace.left_out == 2
    assert [one.seq for one in trace.records] == list(range(room))


def test_file_that_grows_has_all_in_their_order(tmp_path: Path):
    writer = TraceWriter(tmp_path / "part")
    places = [writer.write(record(seq)) for seq in range(20_000)]
    for seq, place in enumerate(places):
        assert place is not None
        writer.end(place, 2 * seq + 1)

    trace = read_trace(tmp_path / "part")

    assert trace.left_out == 0
    found = [(one.seq, one.end_ns) for one in trace.records]
    assert found == [(seq, 2 * seq + 1) for seq in range(20_000)]


def test_foreign_file_is_no_trace(tmp_path: Path):
    (tmp_path / "part").write_bytes(b"x" * 4000)
    (tmp_path / "empty").touch()

    for name in ("part", "empty"):
        with pytest.raises(ValueError, match="no trace"):
            read_trace(tmp_path / name)


def record(seq: int) -> Record:
    return Record(Kind.INPUT, 0, 0, 0, seq, 1, 0, 1)
