"""The tracker node: ids stay with objects, on computed paths, in the scene and in a video."""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.plot.drawing import draw_boxes
from dora_rt.nodes.tracker import parse_options
from dora_rt.nodes.tracker.assignment import assign
from dora_rt.nodes.tracker.loop import run
from dora_rt.nodes.tracker.tracks import Tracker, TrackerOptions, overlaps
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dora_rt.dashboard.picture_codec import boxes_on, encode
from dora_rt.detections import read_detections
from dora_rt.testing import FakeNode, make_event
from tests.harness.flow import Flow

FRAME_NS = 33_333_333
BEGIN_NS = 10**12


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    """Return boxes of 40 x 80 pixels with the given left, top, confidence and class."""
    found = [(left, top, left + 40, top + 80, score, kind) for left, top, score, kind in rows]
    return np.array(found, np.float32).reshape(-1, 6)


def follow(
    tracker: Tracker, pictures: list[np.ndarray], step_ns: int = FRAME_NS
) -> list[list[int]]:
    return [
        tracker.update(picture, BEGIN_NS + number * step_ns)[1]
        for number, picture in enumerate(pictures)
    ]


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
        elements=st.floats(0, 1, width=16),
    ),
    st.sampled_from([0.3, 0.8, 1.0]),
)
def test_assignment_is_the_best_of_all(costs: np.ndarray, most: float):
    pairs = assign(costs, most)

    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(costs[pair] <= most for pair in pairs)
    assert (-len(pairs), sum(costs[pair] for pair in pairs)) == pytest.approx(best(costs, most))


def best(costs: np.ndarray, most: float) -> tuple[int, float]:
    """Return minus the number of pairs, and their costs, of the best of all assignments."""
    table = costs if costs.shape[0] <= costs.shape[1] else costs.T
    rows, columns = table.shape
    found = []
    for order in itertools.permutations(range(columns), rows):
        allowed = [table[row, column] for row, column in enumerate(order)]
        allowed = [cost for cost in allowed if cost <= most]
        found.append((-len(allowed), sum(allowed)))
    return min(found)


def test_assignment_of_many_is_that_of_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(3)
    for shape in ((60, 60), (20, 90), (90, 20), (1, 7), (0, 3)):
        costs = random.random(shape)

        pairs = assign(costs, 1.0)

        rows, columns = optimize.linear_sum_assignment(costs)
        assert sum(costs[pair] for pair in pairs) == pytest.approx(costs[rows, columns].sum())


def test_overlap_of_boxes():
    first = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], float)
    second = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], float)

    np.testing.assert_allclose(overlaps(first, second), [[1, 1 / 3, 0], [0, 0, 0]])


def test_objects_that_pass_each_other_keep_their_ids():
    pictures = []
    for number in range(60):
        right, left = (10 + 5 * number, 100, 0.9, 0), (310 - 5 * number, 110, 0.8, 0)
        # The order of a detector says nothing.
        pictures.append(boxes(right, left) if number % 2 else boxes(left, right))

    ids = follow(Tracker(TrackerOptions()), pictures)

    # Ids in the order (right, left), whatever the order of the boxes.
    assert {tuple(one if number % 2 else one[::-1]) for number, one in enumerate(ids)} == {(2, 1)}


def test_object_that_is_hidden_for_a_while_is_known_again_where_it_is_expected():
    pictures = [boxes((10 + 3 * number, 100, 0.9, 0)) for number in range(60)]
    pictures[20:40] = [boxes()] * 20

    ids = follow(Tracker(TrackerOptions()), pictures)

    assert ids == [[1]] * 20 + [[]] * 20 + [[1]] * 20


def test_object_that_was_away_for_long_is_another_one():
    pictures = [boxes((10, 100, 0.9, 0))] * 10 + [boxes()] * 40 + [boxes((10, 100, 0.9, 0))] * 3
    tracker = Tracker(TrackerOptions(lost_s=1))

    ids = follow(tracker, pictures)

    assert ids[-3:] == [[], [2], [2]]
    assert tracker.known == 1


def test_faint_boxes_continue_objects_and_begin_none():
    pictures = [boxes((10, 100, 0.9, 0))] * 3
    pictures += [boxes((11, 100, 0.15, 0), (300, 100, 0.15, 0))] * 5

    ids = follow(Tracker(TrackerOptions()), pictures)

    assert ids == [[1]] * 8


def test_box_that_is_there_once_gets_no_id_and_takes_none():
    pictures = [boxes((10, 100, 0.9, 0))] * 10
    pictures[4] = boxes((300, 100, 0.9, 0), (10, 100, 0.9, 0))
    pictures += [boxes((10, 100, 0.9, 0), (200, 20, 0.9, 0))] * 3

    ids = follow(Tracker(TrackerOptions()), pictures)

    assert ids == [[1]] * 10 + [[1], [1, 2], [1, 2]]


def test_object_keeps_its_class_unless_it_may_change_it():
    pictures = [boxes((10, 100, 0.9, number // 3)) for number in range(6)]

    apart = follow(Tracker(TrackerOptions()), pictures)
    across = follow(Tracker(TrackerOptions(crosses_classes=True)), pictures)

    assert apart == [[1], [1], [1], [], [2], [2]]
    assert across == [[1]] * 6


@pytest.mark.parametrize("step_s", [0.005, 0.1, 0.5, 2.0])
def test_times_count_and_not_pictures(step_s: float):
    # 8 pixels a second, whatever the rate of the detector is.
    pictures = [boxes((10 + 8 * step_s * number, 100, 0.9, 0)) for number in range(20)]
    pictures[10] = boxes()

    ids = follow(Tracker(TrackerOptions()), pictures, round(step_s * 1e9))

    assert ids == [[1]] * 10 + [[]] + [[1]] * 9


def test_source_that_begins_anew_has_new_objects():
    tracker = Tracker(TrackerOptions())
    picture = boxes((10, 100, 0.9, 0))

    first = [tracker.update(picture, BEGIN_NS + number * FRAME_NS)[1] for number in range(3)]
    again = [tracker.update(picture, BEGIN_NS + number * FRAME_NS)[1] for number in range(3)]

    assert (first, again) == ([[1]] * 3, [[2]] * 3)


def test_boxes_without_a_size_and_the_same_moment_twice_are_no_error():
    tracker = Tracker(TrackerOptions())
    flat = np.array([[5, 5, 5, 5, 0.9, 0], [9, 9, 3, 3, 0.9, 0], [1, 1, 1e9, 1e9, 0.9, 1]])

    for _ in range(5):
        found, ids = tracker.update(flat.astype(np.float32), BEGIN_NS)

    assert len(found) == len(ids) <= 3


def test_many_objects_keep_their_ids():
    random = np.random.default_rng(5)
    grid = [(100 * column, 120 * row) for row in range(6) for column in range(12)]
    speeds = random.uniform(-1, 1, (len(grid), 2))
    pictures, orders = [], []
    for number in range(30):
        order = random.permutation(len(grid))
        rows = [(*(grid[one] + speeds[one] * number), 0.9, 0) for one in order]
        pictures.append(boxes(*rows))
        orders.append(order)

    ids = follow(Tracker(TrackerOptions()), pictures)

    owners = [dict(zip(order, one, strict=True)) for order, one in zip(orders, ids, strict=True)]
    assert all(owner == owners[0] for owner in owners)


def test_answer_has_the_metadata_of_its_boxes_and_what_are_no_boxes_is_told_once(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO)
    picture = boxes((10, 100, 0.9, 1))
    node = FakeNode(
        [
            make_event("bbox", picture, {"labels": ["dog", "cat"], "seq": 7}, origin_ns=5),
            make_event("bbox", np.zeros((2, 4), np.float32), origin_ns=6),
            make_event("bbox", np.zeros((2, 4), np.float32), origin_ns=7),
            make_event("bbox", np.zeros((0, 6), np.float32), origin_ns=8),
        ]
    )

    run(node, Tracker(TrackerOptions()))

    first, last = node.sent
    np.testing.assert_array_equal(first.value, picture)
    assert first.metadata == {"labels": ["dog", "cat"], "seq": 7, "ids": [1]}
    assert last.value.shape == (0, 6)
    assert last.metadata["ids"] == []
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert texts[0].startswith("input 'bbox': float32 (2, 4) are no boxes")
    assert texts[1] == "1 objects in the boxes of 2 pictures"


def test_ids_are_shown_beside_the_names_of_the_classes():
    rows = np.array([[20, 60, 60, 140, 0.5, 1], [100, 60, 140, 140, 0.9, 0]], np.float32)
    found = read_detections(rows, {"labels": ["dog", "cat"], "ids": [12, 3]})
    by_id, by_name = np.zeros((200, 200, 3), np.uint8), np.zeros((200, 200, 3), np.uint8)

    draw_boxes(by_id, found.boxes, found.labels, found.ids)
    shown = boxes_on(encode(make_event("image", by_id)), found)

    draw_boxes(by_name, found.boxes, ["dog #3", "cat #12"])
    np.testing.assert_array_equal(by_id, by_name)
    assert shown is not None
    assert [box["label"] for box in shown] == ["dog #3", "cat #12"]


@pytest.mark.parametrize("ids", [None, [1], [1, 2, 3], ["a", "b"], 7, [1, 2.5]])
def test_ids_that_are_not_one_for_each_box_are_not_shown(ids: object):
    rows = np.array([[20, 60, 60, 140, 0.5, 1], [100, 60, 140, 140, 0.9, 0]], np.float32)

    assert read_detections(rows, {"ids": ids}).ids == ()


def test_options_that_contradict_each_other_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        parse_options(["--low", "0.5", "--high", "0.4"], {})
    assert "--low 0.5 is above --high 0.4" in capsys.readouterr().err


SINK = """
    import json
    from dora_rt import Node
    truth, rows = {}, []
    for event in Node():
        if event.id == "image":
            truth[event.origin_ns] = event.metadata.get("truth", [])
        else:
            rows.append([event.origin_ns, event.value.tolist(), event.metadata["ids"]])
    with open("tracks.json", "w") as file:
        json.dump([[truth[at], boxes, ids] for at, boxes, ids in rows], file)
"""


def overlap(first: list[float], second: list[float]) -> float:
    return float(overlaps(np.array([first[:4]]), np.array([second[:4]]))[0, 0])


def test_flow_gives_each_toy_of_the_scene_one_id(flow: Flow):
    flow.write("sink.py", SINK)
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source test://scene?frames=150&seed=2&objects=4
            outputs: [image]
          - id: detector
            module: dora_rt.nodes.object_detection
            args: --confidence 0.1
            inputs: {image: {source: webcam/image, queue_policy: block}}
            outputs: [bbox]
          - id: tracker
            module: dora_rt.nodes.tracker
            inputs: {bbox: {source: detector/bbox, queue_policy: block}}
            outputs: [tracks]
          - id: sink
            path: sink.py
            inputs:
              image: {source: webcam/image, queue_policy: block}
              tracks: {source: tracker/tracks, queue_policy: block}
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    pictures = json.loads((flow.folder / "tracks.json").read_text())
    assert len(pictures) == 150
    ids_of: dict[int, set[int]] = {}
    followed = visible = 0
    for truths, found, ids in pictures:
        visible += len(truths)
        for truth in truths:
            for box, one in zip(found, ids, strict=True):
                if int(box[5]) == truth[4] and overlap(box, truth) > 0.5:
                    followed += 1
                    ids_of.setdefault(truth[4], set()).add(one)
    assert followed > 0.9 * visible
    # Four toys of different kinds, each with one id of its own all the time.
    assert len(ids_of) == 4
    assert all(len(ids) == 1 for ids in ids_of.values())
    assert len(set.union(*ids_of.values())) == 4


def test_persons_of_a_real_video_keep_their_ids_for_seconds(flow: Flow, shared_data: Path):
    flow.write("sink.py", SINK)
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source {shared_data}/vtest.avi
            outputs: [image]
          - id: detector
            module: dora_rt.nodes.object_detection
            args: --model {shared_data}/yolox_nano.onnx --confidence 0.1
            inputs: {{image: {{source: webcam/image, queue_policy: block}}}}
            outputs: [bbox]
          - id: tracker
            module: dora_rt.nodes.tracker
            inputs: {{bbox: {{source: detector/bbox, queue_policy: block}}}}
            outputs: [tracks]
          - id: sink
            path: sink.py
            inputs:
              image: {{source: webcam/image, queue_policy: block}}
              tracks: {{source: tracker/tracks, queue_policy: block}}
        """,
    )

    done = flow.run("--stop-after", "5s", timeout_s=50)

    assert done.exit_code == 0, done.out + done.err
    pictures = json.loads((flow.folder / "tracks.json").read_text())[:100]
    assert len(pictures) > 20
    lengths = Counter(one for _, _, ids in pictures for one in ids)
    # Five seconds at a crossing: five persons are there all the time, others come and go. Of what
    # was found, nearly all belongs to persons who were followed for a second at least.
    assert sum(length == len(pictures) for length in lengths.values()) >= 4
    assert len(lengths) <= 20
    long = sum(length for length in lengths.values() if length >= 10)
    assert long > 0.9 * lengths.total()
