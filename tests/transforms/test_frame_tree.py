"""The tree of frames, by what tf2 promises: directions, times, errors."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dora_rt.errors import TransformError
from dora_rt.testing import make_event
from dora_rt.transforms import FrameTransform, Transform, TransformTree, encode
from tests.harness.flow import Flow
from tests.transforms.test_transforms import PROPERTY, TRANSFORMS

SECOND = 1_000_000_000


def at(x: float = 0, y: float = 0, z: float = 0) -> Transform:
    return Transform((x, y, z))


def place(transform: Transform) -> list[float]:
    return np.round(transform.translation, 9).tolist()


@pytest.fixture
def robot() -> TransformTree:
    """Give a robot that drives from x = 0 to 10 within 10 s, with a camera 0.5 m above it."""
    tree = TransformTree()
    tree.add("map", "odom", at(y=100), None)
    for second in range(11):
        tree.add("odom", "base", at(x=second), second * SECOND)
    tree.add("base", "camera", at(z=0.5), None)
    return tree


def refusal(tree: TransformTree, *asked: Any) -> str:
    with pytest.raises(TransformError) as caught:
        tree.lookup(*asked)
    return str(caught.value)


def test_lookup_takes_points_of_the_source_to_the_target(robot: TransformTree):
    at_4 = robot.lookup("map", "camera", 4 * SECOND)
    back = robot.lookup("camera", "map", 4 * SECOND)

    assert place(at_4) == [4, 100, 0.5]
    assert at_4.apply([1, 0, 0]).tolist() == [5, 100, 0.5]
    assert place(back) == [-4, -100, -0.5]


def test_place_between_two_times_is_interpolated(robot: TransformTree):
    robot.add("base", "arm", Transform.from_euler(0, 0, 0), 2 * SECOND)
    robot.add("base", "arm", Transform.from_euler(0, 0, math.pi / 2), 4 * SECOND)

    assert place(robot.lookup("odom", "base", 2_250_000_000)) == [2.25, 0, 0]
    turned = robot.lookup("base", "arm", 3 * SECOND)
    assert turned.is_close(Transform.from_euler(0, 0, math.pi / 4), 1e-12)


def test_without_a_time_it_is_the_newest_at_which_all_is_known(robot: TransformTree):
    robot.add("camera", "ball", at(x=1), 3 * SECOND)
    robot.add("camera", "ball", at(x=2), 6 * SECOND)

    assert robot.newest_ns("odom", "base") == 10 * SECOND
    assert robot.newest_ns("odom", "ball") == 6 * SECOND
    assert place(robot.lookup("odom", "ball")) == [6 + 2, 0, 0.5]
    # Between ball and base nothing else moves.
    assert place(robot.lookup("base", "ball")) == [2, 0, 0.5]
    assert robot.newest_ns("map", "odom") is None
    assert place(robot.lookup("map", "odom")) == [0, 100, 0]


def test_static_places_hold_at_any_time(robot: TransformTree):
    assert place(robot.lookup("base", "camera", 10**18)) == [0, 0, 0.5]
    assert robot.lookup("camera", "camera", 5).is_close(Transform())
    assert robot.lookup("map", "map").is_close(Transform())


def test_branches_of_the_tree_meet_where_they_part(robot: TransformTree):
    robot.add("base", "laser", at(x=0.2), None)
    robot.add("other", "lost", at(), None)

    # Nothing of where the robot is is needed, not even that it is known at this time.
    assert place(robot.lookup("laser", "camera", 10**18)) == [-0.2, 0, 0.5]


def test_place_at_one_time_seen_from_another(robot: TransformTree):
    seen = robot.lookup_between("base", 8 * SECOND, "base", 3 * SECOND, "odom")

    assert place(seen) == [-5, 0, 0]


def test_unknown_frame_is_told_with_the_one_that_is_meant(robot: TransformTree):
    assert refusal(robot, "map", "camra") == "there is no frame 'camra'; did you mean 'camera'?"
    assert refusal(robot, "world", "camera") == (
        "there is no frame 'world'; known: base, camera, map, odom"
    )
    assert refusal(TransformTree(), "a", "b").endswith("known: none yet")


def test_frames_of_two_trees_are_told_with_the_gap(robot: TransformTree):
    robot.add("dock", "charger", at(), None)

    assert refusal(robot, "charger", "camera", 5) == (
        "nothing leads from frame 'camera' to 'charger': 'camera' is in the tree of 'map', "
        "'charger' in that of 'dock'; a transform between these two trees is missing, such as from "
        "'map' to 'dock'"
    )
    assert "'camera' is in the tree of 'map'" in refusal(robot, "charger", "camera")


def test_time_outside_of_what_is_known_is_told_with_the_link_and_the_distance(
    robot: TransformTree,
):
    late = refusal(robot, "map", "camera", 10_250_000_000)
    early = refusal(robot, "map", "camera", -1)

    assert late == (
        "where 'base' is in 'odom' is known from 0.000000 to 10.000000 s, and asked for at "
        "10.250000 s, 0.250000 s after the newest; wait for it, or ask for the newest time "
        "(without a time)"
    )
    assert "0.000000 s before the oldest; places are kept for 10 s" in early


def test_one_sample_is_known_at_its_own_time_only():
    tree = TransformTree()
    tree.add("a", "b", at(1), 5)

    assert place(tree.lookup("a", "b", 5)) == [1, 0, 0]
    assert place(tree.lookup("a", "b")) == [1, 0, 0]
    for time_ns in (4, 6):
        assert "is known from" in refusal(tree, "a", "b", time_ns)


def test_samples_may_come_in_any_order_and_the_first_of_a_time_holds():
    tree = TransformTree()
    order = [3, 1, 4, 2, 5]

    assert all(tree.add("a", "b", at(second), second * SECOND) for second in order)
    assert not tree.add("a", "b", at(99), 3 * SECOND)
    found = [place(tree.lookup("a", "b", second * SECOND))[0] for second in range(1, 6)]
    assert found == [1, 2, 3, 4, 5]
    assert place(tree.lookup("a", "b", 3_500_000_000)) == [3.5, 0, 0]


def test_old_samples_go_and_older_ones_are_not_taken():
    tree = TransformTree(keep_s=2)
    for second in range(100):
        tree.add("a", "b", at(second), second * SECOND)

    assert len(tree._frames["b"].times_ns) == 3
    assert "is known from 97.000000 to 99.000000 s" in refusal(tree, "a", "b", 96 * SECOND)
    assert not tree.add("a", "b", at(), 96 * SECOND)
    assert tree.add("a", "b", at(), 97 * SECOND + 1)


def test_frame_may_get_another_parent_in_time_and_is_in_one_at_each_moment():
    tree = TransformTree()
    tree.add("world", "left", at(x=-10), None)
    tree.add("world", "right", at(x=10), None)
    for second, parent in enumerate(["left", "left", "right", "right"]):
        tree.add(parent, "box", at(y=second), second * SECOND)

    found = [place(tree.lookup("world", "box", half * SECOND // 2)) for half in range(7)]

    assert found == [
        [-10, 0, 0],
        [-10, 0.5, 0],
        [-10, 1, 0],
        # In nobody's hand: it counts as where it was.
        [-10, 1, 0],
        [10, 2, 0],
        [10, 2.5, 0],
        [10, 3, 0],
    ]
    assert place(tree.lookup("right", "box")) == [0, 3, 0]


@pytest.mark.parametrize(
    ("parent", "child", "time_ns", "told"),
    [
        ("camera", "map", None, "'camera' in 'base' in 'odom' in 'map' is there already"),
        ("base", "base", 5, "frame 'base' cannot be in itself"),
        ("/map", "x", 5, "'/map' is no name of a frame; names have no slash at the beginning"),
        ("map", "", 5, "'' is no name of a frame"),
        ("odom", "base", None, "frame 'base' moves: it cannot be static as well"),
        ("base", "camera", 5, "frame 'camera' is static in 'base': it cannot move as well"),
    ],
)
def test_what_would_spoil_the_tree_is_refused_and_changes_nothing(
    robot: TransformTree, parent: str, child: str, time_ns: int | None, told: str
):
    before = robot.frames()

    with pytest.raises(TransformError) as caught:
        robot.add(parent, child, at(), time_ns)

    assert told in str(caught.value)
    assert robot.frames() == before
    assert place(robot.lookup("map", "camera", 4 * SECOND)) == [4, 100, 0.5]


def test_static_place_may_be_corrected(robot: TransformTree):
    assert robot.add("base", "camera", at(z=0.7), None)

    assert place(robot.lookup("base", "camera")) == [0, 0, 0.7]


CHAINS = st.lists(st.tuples(TRANSFORMS, TRANSFORMS), min_size=1, max_size=6)


@PROPERTY
@given(CHAINS, st.floats(0, 1))
def test_lookups_agree_with_the_product_of_the_matrices_on_the_way(
    links: list[tuple[Transform, Transform]], fraction: float
):
    tree = TransformTree()
    for number, (begin, end) in enumerate(links):
        tree.add(f"f{number}", f"f{number + 1}", begin, 0)
        tree.add(f"f{number}", f"f{number + 1}", end, SECOND)
    time_ns = int(fraction * SECOND)
    last = f"f{len(links)}"

    expected = np.eye(4)
    for begin, end in links:
        expected = expected @ begin.interpolated(end, time_ns / SECOND).matrix()

    found = tree.lookup("f0", last, time_ns)
    np.testing.assert_allclose(found.matrix(), expected, atol=1e-7)
    assert tree.lookup(last, "f0", time_ns).is_close(found.inverse(), 1e-9)
    middle = f"f{len(links) // 2}"
    parts = tree.lookup("f0", middle, time_ns) @ tree.lookup(middle, last, time_ns)
    assert parts.is_close(found, 1e-7)


def test_threads_may_look_up_while_others_add():
    tree = TransformTree(keep_s=0.001)
    tree.add("a", "b", at(), 0)
    is_over = threading.Event()
    found: list[float] = []

    def look() -> None:
        while not is_over.is_set():
            x, y, _ = tree.lookup("a", "b").translation
            assert x == y
            found.append(x)

    thread = threading.Thread(target=look)
    thread.start()
    for step in range(1, 3000):
        tree.add("a", "b", at(step, step), step * 1000)
    is_over.set()
    thread.join(30)

    assert found == sorted(found)


def test_events_of_a_node_feed_the_tree():
    value, metadata = encode(
        [
            FrameTransform("map", "base", at(1), 5),
            FrameTransform("base", "camera", at(z=1)),
        ]
    )
    tree = TransformTree()

    tree.feed(make_event("frames", value, metadata))

    assert place(tree.lookup("map", "camera", 5)) == [1, 0, 1]
    with pytest.raises(TransformError, match="no sample of transforms"):
        tree.feed(make_event("frames", b"something else"))


@pytest.mark.programs
def test_node_follows_frames_that_another_one_sends(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: drive, path: drive.py, outputs: [frames]}
          - {id: look, path: look.py, inputs: {frames: {source: drive/frames, queue_policy: block}}}
        """,
    )
    flow.write(
        "drive.py",
        """
        from dora_rt import Node
        from dora_rt.transforms import FrameTransform, Transform, encode
        node = Node()
        camera = FrameTransform("base", "camera", Transform((0, 0, 1)))
        node.send_output("frames", *encode([camera]))
        for step in range(3):
            frame = FrameTransform("map", "base", Transform((step, 0, 0)), 1000 * step)
            node.send_output("frames", *encode([frame]))
        """,
    )
    flow.write(
        "look.py",
        """
        from dora_rt import Node
        from dora_rt.transforms import TransformTree
        tree = TransformTree()
        for event in Node():
            tree.feed(event)
        print("camera", tree.lookup("map", "camera", 1500).translation.tolist())
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    assert "look  | camera [1.5, 0.0, 1.0]" in done.out


def test_frames_need_numpy_only():
    folder = Path(__file__).parents[2] / "dora_rt" / "transforms"
    imported = {
        line.split()[1].partition(".")[0]
        for file in folder.glob("*.py")
        for line in file.read_text().splitlines()
        if line.startswith(("import ", "from "))
    }

    known = {"__future__", "bisect", "collections", "dataclasses", "threading", "typing"}
    assert imported <= known | {"numpy", "dora_rt"}
