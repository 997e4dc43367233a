"""The rerun node: what it writes is read back with Rerun's own SDK; its viewers hang and vanish."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from dora_rt.nodes.rerun import parse_options, stream
from dora_rt.nodes.rerun.feed import Feed
from dora_rt.nodes.rerun.loop import run
from dora_rt.nodes.rerun.stream import Target, open_stream

from dora_rt.testing import FakeNode, make_event
from tests.harness.flow import Flow
from tests.harness.ports import free_port
from tests.harness.waiting import PATIENCE_S
from tests.nodes.node_helpers import file_env, photo_on_its_side

FLOW = """
    nodes:
      - {id: camera, path: camera.py, inputs: {tick: dora/timer/hz/40}, outputs: [image, speed]}
      - id: detector
        path: detector.py
        inputs: {image: {source: camera/image, queue_policy: latest}}
        outputs: [bbox]
      - id: viewer
        module: dora_rt.nodes.rerun
        args: ARGS
        inputs:
          image: {source: camera/image, queue_policy: latest}
          bbox: {source: detector/bbox, queue_policy: latest}
          speed: {source: camera/speed, queue_policy: latest}
"""
CAMERA = """
    import numpy as np
    from dora_rt import Node
    node = Node()
    for count, event in enumerate(node):
        if count == 60:
            break
        node.send_output("image", np.full((48, 64, 3), count, np.uint8))
        node.send_output("speed", np.array([count, 1.5]))
"""
DETECTOR = """
    import numpy as np
    from dora_rt import Node
    node = Node()
    for event in node:
        box = np.array([[event.value[0, 0, 0], 8, 63, 40, 0.9, 1]], np.float32)
        node.send_output("bbox", box, {"labels": ["dog", "cat"]})
"""


@pytest.fixture
def flow(flow: Flow) -> Flow:
    flow.write("camera.py", CAMERA)
    flow.write("detector.py", DETECTOR)
    return flow


@pytest.fixture
def silent_viewer() -> Iterator[str]:
    """Give the address of a viewer that hangs: it takes connections and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                pass  # the test is over

        thread = threading.Thread(target=take)
        thread.start()
        yield f"rerun+http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in taken:
            one.close()


def rows(path: Path) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """Read a file with the SDK: by entity, the time and the components of each row."""
    reader = pytest.importorskip("rerun.chunk").RrdReader(str(path))
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for chunk in reader.stream():
        batch = chunk.to_record_batch()
        if "capture" not in batch.schema.names:
            continue
        # Whole nanoseconds, which no datetime has.
        moments = batch.column("capture").cast("int64").to_pylist()
        names = [name for name in batch.schema.names if ":" in name]
        for number, moment in enumerate(moments):
            values = {name.split(":")[-1]: batch.column(name)[number].as_py() for name in names}
            fields = {name: value for name, value in values.items() if value}
            found.setdefault(chunk.entity_path.strip("/"), []).append((moment, fields))
    return {entity: sorted(rows, key=lambda row: row[0]) for entity, rows in found.items()}


def test_file_has_pictures_with_their_boxes_at_the_rate_that_was_asked_for(flow: Flow):
    pytest.importorskip("rerun", reason="the extra [rerun] is not installed")
    flow.write("flow.yml", FLOW.replace("ARGS", "--save out/drive.rrd --rate 10"))

    finished = flow.run()

    assert finished.exit_code == 0, finished.out + finished.err
    assert finished.ending("viewer") == "finished"
    found = rows(flow.folder / "out" / "drive.rrd")
    pictures, boxes = found["image"], found["image/boxes"]
    assert 10 <= len(pictures) <= 17  # in one second and a half
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(pictures)]
    assert np.median(gaps) == pytest.approx(1e8, rel=0.3)
    assert [moment for moment, _ in boxes] == [moment for moment, _ in pictures]
    for (_, picture), (_, box) in zip(pictures, boxes, strict=True):
        jpeg = np.array(picture["blob"][0], np.uint8)
        grey = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert grey.shape == (48, 64, 3)
        if "labels" in box:
            assert box["labels"] == ["cat 0.90"]
            left = box["centers"][0][0] - box["half_sizes"][0][0]
            assert abs(left - float(grey.mean())) <= 2
    assert sum("labels" in box for _, box in boxes) >= len(boxes) - 1
    speeds = [fields["scalars"] for _, fields in found["speed"]]
    assert all(speed[1] == 1.5 for speed in speeds)
    assert abs(time.time_ns() - pictures[-1][0]) < 60e9


def test_viewer_that_hangs_holds_up_neither_the_node_nor_its_end(flow: Flow, silent_viewer: str):
    pytest.importorskip("rerun", reason="the extra [rerun] is not installed")
    flow.write("flow.yml", FLOW.replace("ARGS", f"--connect {silent_viewer} --rate 100"))

    began_s = time.monotonic()
    finished = flow.run()

    assert finished.exit_code == 0, finished.out + finished.err
    assert "the viewer has not taken all that it was sent" in finished.lines("viewer")
    assert finished.edge("camera/image", "detector/image").dropped <= 5
    assert finished.edge("camera/image", "viewer/image").dropped <= 5
    assert time.monotonic() - began_s < PATIENCE_S


def test_viewer_that_is_away_is_waited_for_and_what_it_missed_is_counted(flow: Flow):
    pytest.importorskip("rerun", reason="the extra [rerun] is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rerun+http://127.0.0.1:{server.getsockname()[1]}"
    flow.write("flow.yml", FLOW.replace("ARGS", f"--connect {url}"))

    finished = flow.run()

    assert finished.exit_code == 0, finished.out + finished.err
    said = finished.lines("viewer")
    assert sum("waiting for one" in line for line in said) == 1
    assert f"sent 0 samples to {url}; " in said[-1]
    assert "left out, the viewer was not there or too slow" in said[-1]


def test_web_page_is_served(tmp_path: Path):
    pytest.importorskip("rerun", reason="the extra [rerun] is not installed")
    port = free_port()
    stream = open_stream(Target.WEB, "", port=port, memory_nbytes=10**7)

    with urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        page = answer.read()

    stream.close()
    assert b"<html" in page


@pytest.mark.parametrize("work_ms", [80, 400])
def test_boxes_are_logged_with_their_own_picture_or_it_says_that_there_are_none(
    flow: Flow, work_ms: int
):
    pytest.importorskip("rerun", reason="the extra [rerun] is not installed")
    slow = DETECTOR.replace("    box =", f"    time.sleep({work_ms / 1000})\n        box =")
    flow.write("detector.py", slow.replace("    import numpy", "    import time\n    import numpy"))
    flow.write("flow.yml", FLOW.replace("ARGS", "--save out/drive.rrd --rate 100"))

    finished = flow.run()

    assert finished.exit_code == 0, finished.out + finished.err
    found = rows(flow.folder / "out" / "drive.rrd")
    about = {moment: fields["text"] for moment, fields in found["image/about"]}
    boxes = {moment: box for moment, box in found["image/boxes"] if "labels" in box}
    for moment, picture in found["image"]:
        assert about[moment] == [f"{'' if moment in boxes else 'no '}boxes of this picture"]
        if moment in boxes:
            jpeg = np.array(picture["blob"][0], np.uint8)
            box = boxes[moment]
            left = box["centers"][0][0] - box["half_sizes"][0][0]
            assert abs(left - cv2.imdecode(jpeg, cv2.IMREAD_COLOR).mean()) <= 0.5
    assert len(boxes) >= 900 // work_ms


class Slow:
    """What the feed takes for the viewer: it stands still until it may go on."""

    name = "a slow viewer"
    left_out = 0

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.seen: list[int] = []

    def log_value(self, event: Any) -> None:
        assert self.may_go_on.wait(30)
        self.seen.append(event.seq)

    def close(self) -> None:
        pass


def test_feed_keeps_the_newest_for_a_viewer_that_stands_still():
    viewer = Slow()
    feed = Feed(viewer, rate_hz=1000, quality=75, clock=itertools.count(0, 10**7).__next__)
    node = FakeNode([make_event("speed", np.zeros(2), seq=number) for number in range(100)])

    run(node, feed, expects_boxes=False)
    viewer.may_go_on.set()

    assert feed.close()
    assert viewer.seen[-1] == 99
    assert len(viewer.seen) == 100 - feed.skipped <= 3


def test_options_that_contradict_each_other_are_refused(capsys: pytest.CaptureFixture[str]):
    for words in (["--save", "a.rrd", "--spawn"], ["--connect", "x", "--serve-web"]):
        with pytest.raises(SystemExit, match="2"):
            parse_options(words, {})
        assert "choose one of --save" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        parse_options(["--memory-limit", "much"], {})
    assert "'much' is no amount of memory, such as 512MB" in capsys.readouterr().err
    assert parse_options([], file_env(MEMORY_LIMIT="1 GiB")).memory_limit == 2**30


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "rerun", None)

    with pytest.raises(Exception, match=r"pip install 'dora_rt\[rerun\]'"):
        open_stream(Target.FILE, str(tmp_path / "a.rrd"), port=1, memory_nbytes=1)


def test_photo_that_lies_on_its_side_is_sent_upright_as_its_boxes_are():
    event = make_event("image", photo_on_its_side(20, 30), metadata={"encoding": "jpeg"})

    content, media_type, size = stream._encoded(event, 80)

    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    assert cv2.imdecode(np.frombuffer(content, np.uint8), flags).shape == (30, 20, 3)
    assert (media_type, size) == ("image/jpeg", (20, 30))
