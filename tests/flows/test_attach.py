"""Watching the outputs of a running dataflow: in Python, and by `echo` and `view`."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pytest

import dora_rt
from dora_rt.compat.dora._run import run as compat_run
from dora_rt.errors import DescriptorError, RunNotFoundError
from dora_rt.live.attach import Watch
from dora_rt.runs import base_folder, find_runs
from tests.harness.camera_flow import SOURCE, write_camera_flow
from tests.harness.flow import Flow
from tests.harness.processes import open_files
from tests.harness.verbs import started_run, status_of, verb
from tests.harness.waiting import eventually
from tests.pictures.no_pictures import NO_PICTURES

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, own_runs: Path) -> Iterator[str]:
    """Give the name of a run that goes on during all tests of this file that only look at it."""
    flow = Flow(tmp_path_factory.mktemp("watched"))
    write_camera_flow(flow)
    launcher = flow.start()
    yield started_run(launcher.pid)
    flow.close()


def test_watch_gives_samples_whole_and_in_order(run: str):
    with dora_rt.attach("camera/image") as watch:
        events = [next(watch) for _ in range(20)]

    seqs = [event.seq for event in events]
    assert seqs == sorted(set(seqs))
    assert [event.dropped for event in events[1:]] == [
        after - before - 1 for before, after in itertools.pairwise(seqs)
    ]
    for event in events:
        assert event.id == "camera/image"
        assert event.value.shape == (6, 8, 3)
        assert (event.value == event.metadata["number"] % 200).all()
    assert watch.has_ended
    assert watch.newest() is None


def test_newest_passes_over_what_is_older_and_counts_it(run: str):
    with dora_rt.attach(f"{run[:6]}/camera/text") as watch:
        first = watch.newest()
        assert first is not None
        begin = first.seq
        eventually(lambda: sent(run, "camera/text") > begin + 5)
        last = watch.newest()

    assert last is not None
    assert last.dropped == last.seq - begin - 1
    assert watch.dropped == last.dropped >= 4
    assert last.value == f"number {last.seq}".encode()


def sent(run: str, source: str) -> int:
    return next(one["sent"] for one in status_of(run)["outputs"] if one["source"] == source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("camera/imag", r"no run has an output 'camera/imag'; did you mean 'camera/image'\?"),
        ("abc/camera/image", r"no run has an output 'abc/camera/image'.*there are: "),
    ],
)
def test_output_that_is_not_there_is_an_error_that_lists_those_that_are(
    run: str, name: str, message: str
):
    with pytest.raises(RunNotFoundError, match=message):
        dora_rt.attach(name)


def test_dataflow_file_names_the_run(run: str):
    for called in ("flow.yml", "flow", run):
        with dora_rt.attach(f"{called}/camera/image") as watch:
            assert watch.output.run == run


def test_waiting_has_an_end(run: str):
    silent = pytest.raises(TimeoutError, match=r"no sample of .*/camera/image within 0 s")
    with dora_rt.attach("camera/image") as watch, silent:
        for _ in range(10_000):
            watch.next(timeout=0)


def test_echo_sums_up_arrays_and_shows_text(run: str):
    picture = verb("echo", "camera/image", "--once")
    assert picture.exit_code == 0, picture.err
    assert "uint8  (6, 8, 3)  min " in picture.out
    assert '"number": ' in picture.out

    text = verb("echo", "camera/text", "--once")
    assert re.search(r"bytes  \d+ bytes  'number \d+'", text.out), text.out

    numbers = json.loads(verb("echo", "camera/numbers", "--once", "--json").out)
    assert (numbers["type"], numbers["shape"], numbers["not_finite"]) == ("float32", [3], 1)
    assert (numbers["min"], numbers["max"]) == (1.5, numbers["values"][0])

    whole = json.loads(verb("echo", "camera/image", "--once", "--json", "--full").out)
    assert np.array(whole["values"]).shape == (6, 8, 3)


def test_echo_of_nothing_is_a_usage_error(run: str):
    done = verb("echo", "camera/nothing")

    assert done.exit_code == 2
    assert "no run has an output 'camera/nothing'" in done.err
    assert "Traceback" not in done.err


def test_view_keeps_a_picture_with_its_boxes(run: str, tmp_path: Path):
    plain = verb("view", "camera/image", "--save", str(tmp_path / "plain.png"))
    boxed = verb(
        "view",
        "camera/image",
        "--boxes",
        "camera/bbox",
        "--save",
        str(tmp_path / "boxed.png"),
    )

    assert plain.exit_code == boxed.exit_code == 0, plain.err + boxed.err
    picture = cv2.imread(str(tmp_path / "plain.png"))
    assert picture.shape == (6, 8, 3)
    assert (picture == picture[0, 0]).all()
    assert len(np.unique(cv2.imread(str(tmp_path / "boxed.png")))) > 1
    nothing = verb("view", "camera/text", "--save", str(tmp_path / "text.png"))
    assert nothing.exit_code == 1
    assert re.search(r"output '\S+/camera/text': .* are no picture; expected uint8", nothing.err)
    assert nothing.err.count("no picture; expected") == 1


def test_view_of_pictures_that_cannot_be_decoded_ends_though_their_boxes_come(
    flow: Flow, tmp_path: Path
):
    flow.write("flow.yml", "nodes: [{id: broken, path: broken.py, outputs: [image, bbox]}]")
    flow.write(
        "broken.py",
        f"""
        import time
        import numpy as np
        from dora_rt import Node
        node = Node()
        while not node.is_stopped():
            now_ns = time.monotonic_ns()
            node.send_output("image", {NO_PICTURES["PNG without its pixels"]!r}, captured_ns=now_ns)
            node.send_output("bbox", np.zeros((0, 6), np.float32), captured_ns=now_ns)
            time.sleep(0.01)
        """,
    )
    flow.start()
    eventually(lambda: "broken/image" in verb("ps", "--outputs").out)

    done = verb("view", "broken/image", "--boxes", "broken/bbox", "--save", str(tmp_path / "a.png"))

    assert done.exit_code == 1
    assert re.search(r"output '\S+/broken/image': a png file of \d+ bytes that cannot", done.err)
    assert "/broken/bbox" not in done.err


def test_view_serves_a_web_page(run: str):
    command = "from dora_rt.cli import main; main()"
    words = ["view", "camera/image", "--output", "web", "--port", "0"]
    view = subprocess.Popen([sys.executable, "-c", command, *words], stdout=subprocess.PIPE)
    with view:
        assert view.stdout is not None
        line = view.stdout.readline().decode()
        url = line.split()[1]
        from urllib.request import urlopen

        with urlopen(f"{url}/snapshot.jpg", timeout=10) as answer:
            jpeg = answer.read()
        view.send_signal(signal.SIGINT)
        assert view.wait(30) == 130

    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (6, 8, 3)


READER = """
import time, dora_rt
watches = [dora_rt.attach("camera/image") for _ in range(25)]
seen = [next(watch).seq for watch in watches]
print(len(seen), flush=True)
while True:
    for watch in watches:
        watch.newest()
    time.sleep(0.005)
"""


def test_a_hundred_readers_come_and_go_and_are_killed_and_no_node_can_tell(run: str):
    objects = names_of(run)
    files_before = open_files(status_of(run)["pid"])
    with dora_rt.attach("camera/image") as watch:
        calm = median(gap_s(watch, 10) for _ in range(7))
        readers = [
            subprocess.Popen(["nice", sys.executable, "-c", READER], stdout=subprocess.PIPE)
            for _ in range(4)
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"25\n"
        busy = median(gap_s(watch, 10) for _ in range(7))
        for reader in readers:
            reader.kill()
            reader.communicate()
        after = median(gap_s(watch, 10) for _ in range(7))

    # The node sends at the ticks of a timer: had it waited for the readers, ticks were gone. Of
    # several spans the one in the middle, because a busy machine may stand still for a moment.
    assert (calm, busy, after) == pytest.approx((0.01, 0.01, 0.01), rel=0.1)
    status = status_of(run)
    edge = status["edges"][0]
    assert edge["dropped"] == 0
    assert edge["sent"] - edge["delivered"] <= 10
    assert names_of(run) == objects
    assert open_files(status["pid"]) <= files_before + 1


def gap_s(watch: Watch, count: int) -> float:
    """Give the mean time between sends, from the numbers and times of samples."""
    first = last = next(watch)
    while last.seq < first.seq + count:
        last = next(watch)
    return (last.sent_ns - first.sent_ns) / (last.seq - first.seq) / 1e9


def names_of(run: str) -> set[str]:
    """Give the objects of a run, but for the tokens, which a writer makes when it needs them."""
    names = {path.name for path in Path("/dev/shm").iterdir() if f"-{run}-" in f"-{path.name}"}
    return {name for name in names if re.search(r"-e\d+\.\d+t\d+$", name) is None}


def test_watch_goes_on_with_the_restarted_node_and_ends_with_the_run(flow: Flow):
    flow.write("camera.py", SOURCE + "        if number == 30: raise SystemExit(3)\n")
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: camera
            path: camera.py
            restart_policy: on-failure
            restart_delay: 0.05
            max_restarts: 1
            inputs: {tick: dora/timer/millis/5}
            outputs: [image, text, numbers, bbox]
        """,
    )
    launcher = flow.start()
    run = started_run(launcher.pid)

    with dora_rt.attach(f"{run}/camera/image") as watch:
        events = list(watch)
        launcher.communicate(timeout=30)

    seqs = [event.seq for event in events]
    starts = [place for place, seq in enumerate(seqs) if place and seq < seqs[place - 1]]
    assert len(starts) == 1, seqs
    # Each start sends 31 samples: those that were not seen were counted as missed.
    assert len(events) + watch.dropped == 31 - seqs[0] + 31
    assert watch.has_ended


def test_dataflow_runs_from_python_and_gives_its_report(
    flow: Flow, capsys: pytest.CaptureFixture[str]
):
    file = write_camera_flow(flow)
    flow.write("camera.py", SOURCE + "        if number == 20: break\n")

    report = dora_rt.run(file)

    (edge,) = report.edges
    assert (edge.source, edge.sent, edge.delivered, edge.dropped) == ("camera/image", 21, 21, 0)
    assert [process.ending.is_failure for process in report.processes] == [False, False]
    assert not report.failures
    assert "camera/image -> sink/image" in capsys.readouterr().out

    flow.write("camera.py", "raise SystemExit('no camera here')")
    report = dora_rt.run(file, quiet=True)
    assert [failure.name for failure in report.failures] == ["camera"]
    assert "no camera here" in report.failures[0].tail[-1]
    assert capsys.readouterr().out == ""


def test_file_with_problems_is_an_error_in_python(flow: Flow):
    file = flow.write("flow.yml", "nodes: 3\n")

    with pytest.raises(DescriptorError, match=r"flow\.yml:1:"):
        dora_rt.run(file)


def test_interrupt_stops_the_dataflow_before_python_goes_on(flow: Flow):
    file = write_camera_flow(flow)
    before = set(find_runs(base_folder(os.environ)))
    code = f"import dora_rt\ntry: dora_rt.run({str(file)!r})\nexcept KeyboardInterrupt: print('so')"

    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with program:
        eventually(lambda: is_sending(before))
        program.send_signal(signal.SIGINT)
        printed, _ = program.communicate(timeout=30)

    assert printed.endswith("so\n")
    assert "SIGINT: stopping" in printed
    assert set(find_runs(base_folder(os.environ))) <= before


def is_sending(others: set[str]) -> bool:
    """Tell whether there is a run beside the others that sends."""
    runs = set(find_runs(base_folder(os.environ))) - others
    statuses = [status_of(run) for run in runs]
    return any(status and all(one["sent"] for one in status["outputs"]) for status in statuses)


@pytest.mark.parametrize("stop_after", [0, -1, float("nan"), float("inf"), True, "5"])
def test_stop_after_of_run_must_be_seconds_above_0(stop_after: object):
    for run in (dora_rt.run, compat_run):
        with pytest.raises(ValueError, match=rf"^stop_after is {stop_after!r}: seconds above 0"):
            run("flow.yml", stop_after=stop_after)
