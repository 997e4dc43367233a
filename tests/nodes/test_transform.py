from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from dora_rt.nodes.transform import parse_options
from dora_rt.nodes.transform.calibration import CalibrationError, read_calibration
from dora_rt.nodes.transform.loop import run
from dora_rt.nodes.transform.steps import Crop, Length, Steps, parse_crop

from dora_rt.testing import FakeNode, make_event
from tests.nodes.node_helpers import file_env, picture

MATRIX = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
DISTORTION = [-0.3, 0.1, 0.001, 0.0, 0.0]
ROS = """
image_width: 640
image_height: 480
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [500, 0, 320, 0, 500, 240, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, 0.0, 0.0]}
"""
PLAIN = """
width: 640
height: 480
K: [[500, 0, 320], [0, 500, 240], [0, 0, 1]]
D: [-0.3, 0.1, 0.001, 0.0, 0.0]
"""


def corners():
    """A picture whose four corners can be told apart: 10, 20 above, 30, 40 below."""
    image = picture(8, 4)
    image[:2, :4], image[:2, 4:], image[2:, :4], image[2:, 4:] = 10, 20, 30, 40
    return image


def shown(image):
    """The four corners, from left to right and from above."""
    return [int(image[y, x, 0]) for y in (0, -1) for x in (0, -1)]


@pytest.mark.parametrize(
    ("steps", "shape", "values"),
    [
        (Steps(), (4, 8, 3), [10, 20, 30, 40]),
        (Steps(rotation=90), (8, 4, 3), [30, 10, 40, 20]),
        (Steps(rotation=180), (4, 8, 3), [40, 30, 20, 10]),
        (Steps(rotation=270), (8, 4, 3), [20, 40, 10, 30]),
        (Steps(flip="horizontal"), (4, 8, 3), [20, 10, 40, 30]),
        (Steps(flip="vertical"), (4, 8, 3), [30, 40, 10, 20]),
        (Steps(flip="both"), (4, 8, 3), [40, 30, 20, 10]),
        (Steps(crop=parse_crop("4,0,4,4")), (4, 4, 3), [20, 20, 40, 40]),
        (Steps(crop=parse_crop("0,50%,100%,50%")), (2, 8, 3), [30, 40, 30, 40]),
        (Steps(crop=parse_crop("6,2,100,100")), (2, 2, 3), [40, 40, 40, 40]),
        (Steps(size=(16, None)), (8, 16, 3), [10, 20, 30, 40]),
        (Steps(size=(None, 2)), (2, 4, 3), [10, 20, 30, 40]),
        (Steps(size=(4, 4)), (4, 4, 3), [10, 20, 30, 40]),
        (Steps(size=(8, 8), keeps_proportions=True), (8, 8, 3), [114, 114, 114, 114]),
        (Steps(rotation=90, crop=parse_crop("0,0,2,100%")), (8, 2, 3), [30, 30, 40, 40]),
    ],
)
def test_steps_move_the_corners_where_they_belong(steps, shape, values):
    image = steps.apply(corners())

    assert image.shape == shape
    assert shown(image) == values


def test_letterbox_has_the_whole_picture_in_its_middle():
    image = Steps(size=(8, 8), keeps_proportions=True).apply(corners())

    assert np.array_equal(image[2:6], corners())
    assert (image[:2] == 114).all() and (image[6:] == 114).all()


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,0,1,1", "-1,0,1,1", "0,0,0,5", "0.5,0,1,1"]
)
def test_crop_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="is not LEFT,TOP,WIDTH,HEIGHT"):
        parse_crop(text)


def test_crop_may_mix_pixels_and_percent():
    assert parse_crop("10, 12.5%, 640,50%") == Crop(
        Length(10, False), Length(12.5, True), Length(640, False), Length(50, True)
    )


def send(events, steps=None, **options):
    node = FakeNode(events)
    run(node, steps or Steps(), **options)
    return node.sent


def test_metadata_are_passed_on_with_the_new_size_and_encoding():
    metadata = {"encoding": "rgb8", "width": 8, "height": 4, "frame": 7, "scene_seed": 3}
    event = make_event("image", corners(), {**metadata, "truth": [[1, 2, 3, 4]]}, origin_ns=5)

    (sent,) = send([event], Steps(rotation=90))

    assert sent.output_id == "image"
    assert sent.metadata == {
        "encoding": "bgr8",
        "width": 4,
        "height": 8,
        "frame": 7,
        "scene_seed": 3,
    }
    # The node inherits the origin of what it answers.
    assert sent.captured_ns is None


def test_places_in_the_picture_stay_where_no_pixel_moves():
    event = make_event("image", corners(), {"truth": [[1, 2, 3, 4]]})

    (sent,) = send([event], encoding="mono8")

    assert sent.metadata["truth"] == [[1, 2, 3, 4]]
    assert sent.value.shape == (4, 8)


@pytest.mark.parametrize(
    ("encoding", "pixel"), [("bgr8", [250, 0, 10]), ("rgb8", [10, 0, 250]), ("jpeg", None)]
)
def test_colours_are_those_that_are_asked_for(encoding, pixel):
    image = picture(64, 48)
    image[:] = (250, 0, 10)

    (sent,) = send([make_event("image", image)], encoding=encoding)

    assert sent.metadata["encoding"] == encoding
    if pixel is None:
        decoded = cv2.imdecode(np.frombuffer(sent.value, np.uint8), cv2.IMREAD_COLOR)
        assert decoded[24, 32].tolist() == pytest.approx([250, 0, 10], abs=6)
    else:
        assert sent.value[24, 32].tolist() == pixel


def test_file_of_a_picture_and_other_encodings_come_in_as_they_are_meant():
    red = picture(64, 48)
    red[:, :, 0] = 200  # of RGB
    jpeg = cv2.imencode(".png", picture(64, 48, 77))[1].tobytes()

    sent = send([make_event("image", red, {"encoding": "RGB8"}), make_event("image", jpeg)])

    assert sent[0].value[0, 0].tolist() == [0, 0, 200]
    assert (sent[1].value == 77).all()


def test_what_is_no_picture_is_told_once_and_costs_that_sample(caplog):
    broken = make_event("image", b"no picture")

    sent = send([broken, broken, make_event("image", corners())])

    assert len(sent) == 1
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("left out, and not said again")


def test_crop_outside_of_a_picture_is_told_and_costs_that_picture(caplog):
    events = [make_event("image", corners()), make_event("image", picture(64, 48))]

    sent = send(events, Steps(crop=parse_crop("32,0,32,48")))

    assert [one.value.shape for one in sent] == [(48, 32, 3)]
    assert "nothing of a picture of 8x4 is in the part from 32,0 to 64,48" in caplog.text


def lines():
    """A white upright line on black, near the left edge, where distortion is strongest."""
    image = picture(640, 480)
    image[:, 39:43] = 255
    return image


def distorted(image):
    """What a camera with this distortion makes of a picture."""
    height, width = image.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 1, 2)
    places = cv2.undistortPoints(grid.astype(np.float64), MATRIX, np.array(DISTORTION), P=MATRIX)
    maps = places.reshape(height, width, 2).astype(np.float32)
    return cv2.remap(image, maps, None, cv2.INTER_LINEAR)


def bent(image):
    """By how many pixels the line wanders from side to side."""
    columns = image[:, :240, 0].astype(float)
    columns = columns[columns.max(axis=1) > 100]
    places = (columns * np.arange(240)).sum(axis=1) / columns.sum(axis=1)
    return float(places.max() - places.min())


def opencv_file(path):
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", MATRIX)
    storage.write("distortion_coefficients", np.array(DISTORTION).reshape(-1, 1))
    storage.release()


@pytest.mark.parametrize("kind", ["ros", "opencv", "plain"])
def test_calibrations_of_ros_and_opencv_say_the_same(tmp_path, kind):
    path = tmp_path / "camera.yaml"
    if kind == "opencv":
        opencv_file(path)
    else:
        path.write_text(ROS if kind == "ros" else PLAIN)

    calibration = read_calibration(path)

    assert calibration.matrix.tolist() == MATRIX.tolist()
    assert calibration.distortion.ravel().tolist() == DISTORTION
    assert calibration.size == (640, 480)
    assert not calibration.is_fisheye


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 960)])
def test_undistorted_lines_are_straight_also_at_another_size(tmp_path, width, height, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / "camera.yaml"
    path.write_text(ROS)
    seen = distorted(lines())
    assert bent(seen) > 8
    steps = Steps(read_calibration(path), alpha=1.0, size=(640, 480))

    image = steps.apply(cv2.resize(seen, (width, height)))

    assert bent(image) < 2
    assert ("is scaled to 1280x960" in caplog.text) is (width == 1280)


def test_fisheye_calibration_is_used_as_one(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(
        ROS.replace("plumb_bob", "equidistant").replace(
            "{rows: 1, cols: 5, data: [-0.3, 0.1, 0.001, 0.0, 0.0]}", "[0.1, 0.01, 0.0, 0.0]"
        )
    )
    calibration = read_calibration(path)

    image = Steps(calibration).apply(lines())

    assert calibration.is_fisheye
    assert image.shape == (480, 640, 3) and image.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys such as camera_matrix"),
        ("[1, 2", "it is no YAML"),
        ("camera_matrix: !!python/object/apply:os.system [ls]", "it is no YAML"),
        ("a: 1", r"it has no camera matrix .* its keys are: a"),
        (ROS.replace("data: [500, 0,", "data: ["), "the camera matrix has 7 numbers, expected 9"),
        (ROS.replace("data: [500", "data: [0"), "with focal lengths above 0"),
        (ROS.replace("-0.3, 0.1,", ""), "it has 3 distortion coefficients, expected 4 or 5"),
        (
            ROS.replace("plumb_bob", "mystery"),
            "its distortion model 'mystery' is none of plumb_bob",
        ),
        (ROS.replace("[500, 0, 320", "[x, 0, 320"), "it has no camera matrix"),
    ],
)
def test_file_that_is_no_calibration_is_named_with_the_reason(tmp_path, text, message):
    path = tmp_path / "camera.yaml"
    path.write_text(text)

    with pytest.raises(CalibrationError, match=message):
        read_calibration(path)


def test_calibration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"camera\.yaml: cannot be read: No such file"):
        read_calibration(tmp_path / "camera.yaml")


def test_calibration_of_other_proportions_ends_the_node_with_a_sentence(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(ROS)

    with pytest.raises(CalibrationError, match="of 640x480, and those that come are 640x360"):
        send([make_event("image", picture(640, 360))], Steps(read_calibration(path)))


def test_options_are_read_and_wrong_ones_named(capsys):
    options = parse_options(["--crop", "25%,0,50%,100%"], file_env(ROTATE="90", WIDTH="320"))

    assert (options.rotate, options.width, options.crop.left) == ("90", 320, Length(25, True))
    for argv, message in (
        (["--crop", "1,2"], "'1,2' is not LEFT,TOP,WIDTH,HEIGHT"),
        (["--rotate", "45"], "'45' is not one of 0, 90, 180, 270"),
        (["--letterbox"], "--letterbox needs --width and --height"),
    ):
        with pytest.raises(SystemExit):
            parse_options(argv, {})
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("side", ["640.", "'640'", "640.0"])
def test_size_of_a_calibration_may_be_written_as_a_fraction_or_text(tmp_path, side):
    path = tmp_path / "camera.yaml"
    path.write_text(PLAIN.replace("width: 640", f"width: {side}"))

    assert read_calibration(path).size == (640, 480)


@pytest.mark.parametrize("side", ["true", "-3", "1" + "0" * 400, ".nan", "640.5"])
def test_size_that_is_none_is_not_taken_for_one(tmp_path, side):
    path = tmp_path / "camera.yaml"
    path.write_text(PLAIN.replace("width: 640", f"width: {side}"))

    assert read_calibration(path).size is None


@pytest.mark.parametrize("model", ["plumb_bob", "none"])
def test_camera_that_rectifies_its_pictures_has_no_distortion(tmp_path, model):
    path = tmp_path / "camera.yaml"
    path.write_text(f"K: [500, 0, 320, 0, 500, 240, 0, 0, 1]\nD: []\ndistortion_model: {model}\n")

    calibration = read_calibration(path)

    assert not calibration.distortion.any()
    assert Steps(calibration).apply(picture(640, 480)).shape == (480, 640, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("K: [500, 0, 0, 0, 500, 0, 320, 240, 1]\nD: [0, 0, 0, 0]\n", "transposed, as MATLAB"),
        ("K: [500, 0, 320, 0, 500, 240, 0, 0, 0]\nD: [0, 0, 0, 0]\n", "expected fx 0 cx"),
        ("K: !!opencv-matrix [1, 2]\n", "expected rows, cols and data"),
        ('<?xml version="1.0"?>\n<opencv_storage></opencv_storage>\n', "it is XML"),
        ('{\n\t"K": [1,\n}', "it is no JSON"),
    ],
)
def test_calibration_that_would_give_black_pictures_is_refused(tmp_path, text, said):
    path = tmp_path / "camera.yaml"
    path.write_text(text)

    with pytest.raises(CalibrationError, match=said):
        read_calibration(path)


def test_calibration_may_be_json_with_tabs(tmp_path):
    path = tmp_path / "camera.json"
    path.write_text('{\n\t"K": [500, 0, 320, 0, 500, 240, 0, 0, 1],\n\t"D": [0, 0, 0, 0]\n}\n')

    assert read_calibration(path).matrix[0, 2] == 320
