from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from dora_rt.nodes.webcam import scene
from dora_rt.nodes.webcam.scene import (
    SCENE_LABELS,
    Scene,
    SceneOptions,
    parse_scene,
    scene_metadata,
)
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240


def draw(index: int, seed: int = 3, objects: int = 6) -> NDArray[np.uint8]:
    out = blank()
    Scene(WIDTH, HEIGHT, seed, objects).render(index, out)
    return out


def blank() -> NDArray[np.uint8]:
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def test_frame_100_drawn_at_once_equals_the_one_drawn_after_all_before_it() -> None:
    walked, direct = blank(), blank()
    walking = Scene(WIDTH, HEIGHT, seed=3)
    for index in range(100):
        walking.render(index, walked)

    walked_boxes = walking.render(100, walked)
    direct_boxes = Scene(WIDTH, HEIGHT, seed=3).render(100, direct)

    assert np.array_equal(walked, direct)
    assert np.array_equal(walked_boxes, direct_boxes)


def test_drawing_does_not_depend_on_what_the_array_held() -> None:
    drawing = Scene(WIDTH, HEIGHT, seed=3)
    black, white = blank(), blank()
    white.fill(255)

    drawing.render(7, black)
    drawing.render(7, white)

    assert np.array_equal(black, white)


def test_another_seed_and_another_index_are_another_picture() -> None:
    picture = draw(5)

    assert np.mean(picture != draw(5, seed=4)) > 0.9
    assert np.mean(picture != draw(6)) > 0.5


def test_frame_is_drawn_into_the_memory_that_was_given() -> None:
    memory = bytearray(WIDTH * HEIGHT * 3)
    out = np.frombuffer(memory, np.uint8).reshape(HEIGHT, WIDTH, 3)

    Scene(WIDTH, HEIGHT, seed=3).render(5, out)

    assert memory == draw(5).tobytes()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((WIDTH, HEIGHT, 3), np.uint8),
        np.zeros((HEIGHT, WIDTH, 3), np.float32),
        np.zeros((HEIGHT, WIDTH, 4), np.uint8)[:, :, :3],
    ],
    ids=["shape", "dtype", "strides"],
)
def test_array_that_cannot_hold_the_frame_is_refused(out: NDArray[np.uint8]) -> None:
    drawing = Scene(WIDTH, HEIGHT)

    with pytest.raises(ValueError, match=r"expected a C-contiguous uint8 array of \(240, 320, 3\)"):
        drawing.render(0, out)


def test_boxes_are_float32_rows_of_six_inside_the_frame() -> None:
    drawing, out = Scene(WIDTH, HEIGHT, seed=8, objects=12), blank()
    touches_an_edge = False

    for index in range(0, 600, 20):
        boxes = drawing.render(index, out)

        assert boxes.dtype == np.float32
        assert boxes.shape[1] == 6
        assert np.all(boxes[:, :2] >= 0)
        assert np.all(boxes[:, 2:4] <= (WIDTH, HEIGHT))
        assert np.all(boxes[:, 2:4] - boxes[:, :2] >= 10)
        assert np.all(boxes[:, 4] == 1.0)
        assert set(boxes[:, 5]) <= set(range(len(SCENE_LABELS)))
        touches_an_edge |= bool(np.any(boxes[:, :2] == 0))

    assert touches_an_edge


def test_truth_is_the_boxes_of_what_is_seen_of_each_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without shadows a toy changes just the pixels that it covers: scenes with 0, 1, 2, ... toys
    # show one after the other what each toy is, without asking the code under test.
    monkeypatch.setattr(scene, "draw_shadow", lambda sprite: np.full_like(sprite[:, :, 3], 255))
    stages = [Scene(WIDTH, HEIGHT, seed=21, objects=count) for count in range(7)]
    hidden = compared = 0

    for index in range(0, 900, 30):
        pictures = []
        for stage in stages:
            pictures.append(blank())
            truth = stage.render(index, pictures[-1])
        covers = [np.any(before != after, axis=2) for before, after in itertools.pairwise(pictures)]
        seen = [cover & ~np.any(covers[k + 1 :], axis=0) for k, cover in enumerate(covers)]
        expected = {k: _bounds(mask) for k, mask in enumerate(seen) if mask.any()}
        for box in truth:
            nearest = min(expected, key=lambda k: float(np.abs(expected[k] - box[:4]).max()))
            # Half covered pixels at the rim are not counted as the toy.
            assert np.abs(expected.pop(nearest) - box[:4]).max() <= 3
            compared += 1
        for k in expected:
            assert seen[k].sum() < 0.5 * covers[k].sum() or _is_at_the_edge(covers[k])
            hidden += 1

    assert compared > 120
    assert hidden > 0


def test_what_is_thinner_than_ten_pixels_is_not_in_the_truth() -> None:
    # On so small a table the toys themselves are from 8 to 23 pixels wide.
    drawing, out = Scene(64, 64, seed=4, objects=12), np.zeros((64, 64, 3), np.uint8)

    truths = np.vstack([drawing.render(index, out) for index in range(0, 400, 10)])

    sides = (truths[:, 2:4] - truths[:, :2]).min(axis=1)
    assert sides.min() == 10


def _bounds(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def _is_at_the_edge(mask: NDArray[np.bool_]) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_six_toys_are_six_kinds() -> None:
    kinds: set[int] = set()
    drawing, out = Scene(WIDTH, HEIGHT, seed=5), blank()

    for index in range(0, 200, 10):
        boxes = drawing.render(index, out)
        assert len(set(boxes[:, 5])) == len(boxes)
        kinds |= {int(kind) for kind in boxes[:, 5]}

    assert kinds == set(range(6))


def test_toys_move_steadily_and_stay_in_sight() -> None:
    drawing, out = Scene(WIDTH, HEIGHT, seed=11, objects=1), blank()

    middles = [
        (boxes[0, :2] + boxes[0, 2:4]) / 2
        for boxes in (drawing.render(index, out) for index in range(400))
    ]

    steps = np.linalg.norm(np.diff(middles, axis=0), axis=1)
    assert steps.max() < 6
    assert np.ptp(middles, axis=0).min() > 60


def test_scene_without_toys_has_an_empty_truth() -> None:
    boxes = Scene(WIDTH, HEIGHT, objects=0).render(0, blank())

    assert boxes.shape == (0, 6)
    assert boxes.dtype == np.float32


def test_url_without_options_gives_the_defaults() -> None:
    assert parse_scene("test://scene") == SceneOptions(
        seed=0, width=640, height=480, objects=6, frames=None, fps=30
    )


def test_url_options_are_read() -> None:
    url = "test://scene?seed=3&width=320&height=240&objects=8&frames=300&fps=15"

    assert parse_scene(url) == SceneOptions(
        seed=3, width=320, height=240, objects=8, frames=300, fps=15
    )


ALLOWED = "allowed: seed, width, height, objects, frames, fps"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("test://scene?sed=3", f"unknown option 'sed'; did you mean 'seed'? {ALLOWED}"),
        ("test://scene?zoom=3", f"unknown option 'zoom'; {ALLOWED}"),
        ("test://scene?seed=3&seed=4", "option 'seed' is given twice; keep one"),
        (
            "test://scene?width=wide",
            "option 'width' is 'wide'; allowed: a whole number from 64 to 3840",
        ),
        (
            "test://scene?height=4000",
            "option 'height' is '4000'; allowed: a whole number from 64 to 2160",
        ),
        (
            "test://scene?objects=-1",
            "option 'objects' is '-1'; allowed: a whole number from 0 to 32",
        ),
        ("test://scene?fps=", "option 'fps' is ''; allowed: a whole number from 1 to 1000"),
        (
            "test://scene?frames=0",
            "option 'frames' is '0'; allowed: a whole number from 1 to 2147483647",
        ),
        (
            "test://scenes",
            "not a synthetic camera; expected 'test://scene' or 'test://scene?option=value&...'",
        ),
    ],
)
def test_wrong_url_is_refused_with_what_is_allowed(url: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_scene(url)

    assert str(caught.value) == f"{url}: {message}"


def test_metadata_is_json_and_tells_the_truth() -> None:
    boxes = np.array([[1.04, 2, 30.26, 40, 1, 5], [5, 6, 70, 80, 1, 0]], np.float32)

    metadata = scene_metadata(3, 17, boxes)

    assert json.loads(json.dumps(metadata)) == {
        "scene": "dora_rt",
        "scene_seed": 3,
        "scene_frame": 17,
        "truth": [[1.0, 2.0, 30.3, 40.0, 5], [5.0, 6.0, 70.0, 80.0, 0]],
        "truth_labels": ["ball", "crate", "cone", "star", "ring", "robot"],
    }
