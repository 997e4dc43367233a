"""An ONNX file says what it is, and a file that is none is told from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dora_rt.nodes.object_detection.errors import ModelError
from dora_rt.nodes.object_detection.onnx_file import OnnxFacts, read_onnx_facts

from tests.nodes.tiny_onnx import field, model, value, write_model


def write_graph(path: Path, *parts: bytes) -> Path:
    path.write_bytes(model(b"".join(parts), {}))
    return path


def test_names_shape_and_metadata_are_read(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "model.onnx",
        np.zeros((1, 5, 84), np.float32),
        input_shape=(1, 3, 64, 96),
        metadata={"names": "{0: 'höker'}", "stride": "32"},
    )

    assert read_onnx_facts(path) == OnnxFacts(
        input_name="images",
        input_shape=(1, 3, 64, 96),
        input_dtype=np.dtype(np.float32),
        output_names=("output0",),
        metadata={"names": "{0: 'höker'}", "stride": "32"},
        ir_version=8,
        opset=13,
    )


def test_facts_of_a_real_model_are_read(shared_data: Path) -> None:
    facts = read_onnx_facts(shared_data / "yolox_nano.onnx")

    assert facts.input_name == "images"
    assert facts.input_shape == (1, 3, 416, 416)
    assert facts.output_names == ("output",)


def test_open_dimensions_are_none(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx", np.zeros((1, 5, 84), np.float32), input_shape=("batch", 3, -1, 0)
    )

    assert read_onnx_facts(path).input_shape == (None, 3, None, None)


def test_half_precision_input_is_recognised(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", np.zeros((1, 5, 84), np.float32), dtype="float16")

    assert read_onnx_facts(path).input_dtype == np.float16


def test_weights_that_are_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    path = write_graph(
        tmp_path / "old.onnx",
        field(11, value("weights", (2,))),
        field(11, value("images", (1, 3, 64, 64))),
        field(5, field(1, 2) + field(2, 1) + field(8, "weights") + field(9, b"\0" * 8)),
        field(12, value("output", (1, 5, 84))),
        field(12, value("masks", (1, 32, 16, 16))),
    )

    facts = read_onnx_facts(path)

    assert facts.input_name == "images"
    assert facts.output_names == ("output", "masks")


def test_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    path = write_graph(
        tmp_path / "two.onnx",
        field(11, value("left", (1, 3, 64, 64))),
        field(11, value("right", (1, 3, 64, 64))),
        field(12, value("output", (1, 5, 84))),
    )

    with pytest.raises(ModelError, match=r"two\.onnx: this model has 2 inputs"):
        read_onnx_facts(path)


def test_input_of_integers_is_refused(tmp_path: Path) -> None:
    path = write_graph(
        tmp_path / "int8.onnx",
        field(11, value("images", (1, 3, 64, 64), 2)),
        field(12, value("output", (1, 5, 84))),
    )

    with pytest.raises(ModelError, match=r"is uint8 \(ONNX element type 2\)"):
        read_onnx_facts(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>Not Found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
        b"\xff" * 100,
        field(1, 8) + field(2, "no graph in it"),
    ],
)
def test_file_that_is_no_model_is_refused_with_how_it_begins(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelError, match="not a whole ONNX file") as caught:
        read_onnx_facts(path)

    assert repr(content[:24]) in str(caught.value)


def test_model_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.onnx"
    # Without metadata, which come last: a file that lacks only these is a whole one.
    whole = write_model(tmp_path / "whole.onnx", np.zeros((1, 5, 3), np.float32)).read_bytes()
    # The last field is the opset, six bytes; without it the graph is still whole.
    for nbytes in range(len(whole) - 6):
        path.write_bytes(whole[:nbytes])
        with pytest.raises(ModelError):
            read_onnx_facts(path)


def test_damaged_model_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    whole = write_model(tmp_path / "whole.onnx", np.zeros((1, 5, 3), np.float32)).read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for position in random.integers(0, len(whole), 3):
            damaged[position] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_onnx_facts(path)
        except ModelError:
            refused += 1

    assert 50 < refused < 500


def test_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx: cannot be read: No such file"):
        read_onnx_facts(tmp_path / "gone.onnx")
