"""What an exporter wrote into a file is understood, and other files are named with the way out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.object_detection import parse_options
from dora_rt.nodes.object_detection.box_layout import Layout, Task
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.model_notes import (
    ModelNotes,
    parse_names,
    read_labels,
    read_notes,
)
from dora_rt.nodes.object_detection.models import find_model
from dora_rt.nodes.object_detection.onnx_file import read_onnx_facts
from dora_rt.nodes.object_detection.onnxruntime_network import explain_refusal

from tests.nodes.tiny_onnx import field, model, value, write_model, write_outputs

THREE = ("cat", "dog", "person")


@pytest.mark.parametrize(
    "text",
    [
        "{0: 'cat', 1: 'dog', 2: 'person'}",
        "['cat', 'dog', 'person']",
        "('cat', 'dog', 'person')",
        '{"0": "cat", "1": "dog", "2": "person"}',
        '["cat", "dog", "person"]',
        '{"cat": 0, "dog": 1, "person": 2}',
        "{2: 'person', 0: 'cat', 1: 'dog'}",
        "\ufeff['cat', 'dog', 'person']",
        '{"names": {"0": "cat", "1": "dog", "2": "person"}}',
    ],
)
def test_names_in_a_file_may_be_any_list_or_dict(text: str) -> None:
    assert parse_names(text) == THREE


@pytest.mark.parametrize(
    "text", ["", "cat, dog", "{0: ['cat']}", "{'a': 'b'}", "[1.5]", "(((", "7"]
)
def test_what_is_no_names_is_none(text: str) -> None:
    assert parse_names(text) == ()


def test_a_number_without_a_name_keeps_its_number() -> None:
    assert parse_names("{0: 'cat', 2: 'dog'}") == ("cat", "1", "dog")


LABELS = {
    "one a line": b"cat\ndog\nperson\n",
    "BOM and Windows line ends": b"\xef\xbb\xbfcat\r\ndog\r\nperson\r\n",
    "UTF-16": "cat\ndog\nperson\n".encode("utf-16"),
    "empty lines": b"\ncat\n\ndog\nperson\n\n",
    "numbered": b"0 cat\n1 dog\n2 person\n",
    "numbered with colons": b"0: cat\n1: dog\n2: person\n",
    "JSON": json.dumps(THREE).encode(),
    "JSON of Hugging Face": b'{"id2label": {"0": "cat", "1": "dog", "2": "person"}}',
    "YAML of a data set": b"path: x\nnc: 3\nnames:\n  0: cat\n  1: dog  # barks\n\n  2: 'person'\n",
    "YAML list": b"names:\n- cat\n- dog\n- person\ntrain: images\n",
    "YAML flow list": b"train: a\nnames: ['cat', 'dog', 'person']  # all\nval: b\n",
    "YAML flow list over lines": b"names: [cat,\n  dog,\n  person]\nval: b\n",
    "YAML flow dict": b"names: {0: cat, 1: dog, 2: person}\n",
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_files_may_have_any_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(LABELS[form])

    assert read_labels(path) == THREE
    assert parse_options(["--labels", str(path)], {}).labels == THREE


def test_names_that_begin_with_numbers_keep_them(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("2 wheels\n4 wheels\n", "utf-8")

    assert read_labels(path) == ("2 wheels", "4 wheels")


@pytest.mark.parametrize(("content", "said"), [(b"", "has no names"), (b"\xff\x00a", "UTF-8")])
def test_labels_file_without_names_is_refused(
    tmp_path: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)

    with pytest.raises(SystemExit):
        parse_options(["--labels", str(path)], {})

    assert said in capsys.readouterr().err


def test_notes_of_ultralytics_are_read() -> None:
    notes = read_notes(
        {
            "description": "Ultralytics YOLO11n-pose model",
            "task": "pose",
            "names": "{0: 'person'}",
            "imgsz": "[384, 640]",
            "stride": "32",
            "kpt_shape": "[17, 3]",
            "args": "{'nms': True}",
        }
    )

    assert notes == ModelNotes(
        names=("person",),
        task=Task.POSE,
        description="Ultralytics YOLO11n-pose model",
        input_size=(384, 640),
        stride=32,
        keypoint_shape=(17, 3),
        is_end_to_end=True,
    )


def test_notes_that_are_broken_are_left_out() -> None:
    broken = {"imgsz": "big", "stride": "(", "kpt_shape": "[1, 'x']", "args": "nms", "names": "?"}

    assert read_notes(broken) == ModelNotes()


def test_task_is_read_from_the_description_where_it_is_not_said() -> None:
    assert read_notes({"description": "Ultralytics YOLOv8n-seg model"}).task is Task.SEGMENT
    assert read_notes({"description": "my boat-segments"}).task is None


def test_options_of_layout_and_task_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    options = parse_options(["--layout", "YOLOv6", "--task", "obb"], {})
    assert (options.layout, options.task) == (Layout.YOLOV6, Task.ORIENTED)

    with pytest.raises(SystemExit):
        parse_options(["--layout", "nanodet"], {})
    assert "'nanodet' is not one of yolox, yolox-decoded" in capsys.readouterr().err


OTHER_FILES = {
    "best.pt": (b"PK\x03\x04", r"a PyTorch file: .*`yolo export model=best\.pt format=onnx`"),
    "best.pth": (b"x", "a PyTorch file"),
    "best.engine": (b"x", r"an engine of TensorRT.*`yolo export model=best\.pt.*--device tensorrt"),
    "best.trt": (b"ptrt", "an engine of TensorRT"),
    "best.tflite": (b"\x1c\0\0\0TFL3", r"TensorFlow Lite.*tf2onnx.convert --tflite best\.tflite"),
    "best.torchscript": (b"x", "a TorchScript file"),
    "best.xml": (b"<?xml version", "a model of OpenVINO"),
    "best.param": (b"7767517", "a model of ncnn"),
    "best.h5": (b"\x89HDF\r\n\x1a\n", "a Keras file"),
    "best.weights": (b"x", "weights of Darknet"),
    "best.safetensors": (b"x", "PyTorch weights"),
    "best.rknn": (b"x", "Rockchip"),
    # Renamed ones are known by their first bytes.
    "a.onnx": (b"PK\x03\x04", "a PyTorch file"),
    "b.onnx": (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_file_of_another_format_is_named_with_its_export(tmp_path: Path, name: str) -> None:
    content, said = OTHER_FILES[name]
    path = tmp_path / name
    path.write_bytes(content + bytes(64))

    with pytest.raises(ModelError, match=said):
        load_detector(path)


def test_folder_of_another_format_is_named_with_its_export(tmp_path: Path) -> None:
    (tmp_path / "best_openvino_model").mkdir()
    (tmp_path / "models").mkdir()

    with pytest.raises(ModelError, match=r"a model of OpenVINO.*model=best\.pt"):
        find_model(str(tmp_path / "best_openvino_model"), tmp_path)
    with pytest.raises(ModelError, match="is a folder; give the path of an ONNX file"):
        find_model(str(tmp_path / "models"), tmp_path)


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        (
            (99, 13),
            r"it is an ONNX file of IR version 99, and this onnxruntime \S+ reads up to \d+",
        ),
        ((8, 99), r"it is an ONNX file of opset 99, and this onnxruntime \S+ knows up to \d+"),
    ],
)
def test_file_that_is_too_new_is_one_sentence_with_the_way_out(
    tmp_path: Path, versions: tuple[int, int], said: str
) -> None:
    pytest.importorskip("onnxruntime")
    path = write_outputs(
        tmp_path / "m.onnx", {"output0": np.zeros((1, 7, 84), np.float32)}, versions=versions
    )

    with pytest.raises(ModelError) as caught:
        load_detector(path, "onnxruntime")

    text = str(caught.value)
    assert text.startswith(f"{path}: it is an ONNX file")
    assert "\n" not in text and "[ONNXRuntimeError]" not in text
    assert "`pip install -U onnxruntime`" in text and "opset=17" in text
    assert re.search(said, text)


def test_operator_of_a_plugin_is_said_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_model(tmp_path / "m.onnx", np.zeros((1, 7, 84), np.float32))
    error = (
        "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from /x/m.onnx failed:This is an "
        "invalid model. Error: No Op registered for EfficientNMS_TRT with domain_version of 13\n"
    )

    text = explain_refusal(error, read_onnx_facts(path))

    assert "lacks one of its operators" in text and "EfficientNMS" in text
    assert "\n" not in text and "Load model from" not in text


def test_model_of_paddle_is_named_by_its_inputs(tmp_path: Path) -> None:
    inputs = b"".join(
        field(11, value(name, (1, 2))) for name in ("im_shape", "image", "scale_factor")
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(model(inputs + field(12, value("output", (1, 6))), {}))

    with pytest.raises(ModelError, match=r"has 3 inputs .*PaddleDetection"):
        read_onnx_facts(path)


def test_table_of_layouts_names_tests_that_there_are_for_each_layout() -> None:
    root = Path(__file__).parents[2]
    table = [
        line
        for line in (root / "docs/own-model.md").read_text("utf-8").splitlines()
        if line.startswith("|") and "`test_" in line
    ]
    tests = {
        name
        for file in ("layouts", "tasks")
        for name in re.findall(
            r"^def (test_\w+)",
            (root / f"tests/nodes/test_detection_{file}.py").read_text("utf-8"),
            re.MULTILINE,
        )
    }

    for line in table:
        _, _, _, shown, twin, _ = line.split("|")
        for cell in (shown, twin):
            named = re.findall(r"`(test_\w+)`", cell)
            assert named, line
            assert set(named) <= tests, line
    unsure = {Layout.END_TO_END_CENTRES, Layout.END_TO_END_CLASS_FIRST}  # twins of END_TO_END
    words = {line.split("|")[2].strip(" `") for line in table}
    assert words == {layout.value for layout in Layout if layout not in unsure}


@pytest.mark.parametrize(
    "text",
    ["names:\n  1: cat\n  3: dog\n", "names: {1: cat, 3: dog}\n", '{"1": "cat", "3": "dog"}'],
)
def test_names_with_numbers_are_in_the_places_of_their_numbers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)

    assert read_labels(path) == ("0", "cat", "2", "dog")
