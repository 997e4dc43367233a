"""Buffers at fixed addresses, which a CUDA graph needs, give the results that they gave before.

They are tested on the processor, by the same lines that bind them on a GPU; `make bench-gpu` checks
the graph itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dora_rt.nodes.execution_providers import COREML, CPU, CUDA, OPENVINO, TENSORRT
from dora_rt.nodes.object_detection.bound_session import BoundSession, compare_outputs
from dora_rt.nodes.object_detection.network_input import input_sizes_of
from dora_rt.nodes.object_detection.onnx_file import OnnxFacts, read_onnx_facts
from dora_rt.nodes.object_detection.onnxruntime_network import (
    OnnxRuntimeNetwork,
    explain_graph_refusal,
)
from dora_rt.nodes.object_detection.session_plan import (
    GraphRefusedError,
    SessionPlan,
    fix_sizes,
    make_plans,
    plan_tensors,
)
from numpy.typing import NDArray

from tests.nodes import tiny_onnx
from tests.nodes.tiny_onnx import field, value, write_model, write_outputs

BOUND = SessionPlan(((CPU, {}),), is_bound=True)
PLAIN = SessionPlan(((CPU, {}),))
GRAPH = ((CUDA, {"enable_cuda_graph": "1"}), (CPU, {}))


@pytest.mark.parametrize(
    ("device", "offered", "tried"),
    [
        ("cpu", [CUDA, CPU], [((CPU, {}),)]),
        ("auto", [CPU], [((CPU, {}),)]),
        ("cuda", [TENSORRT, CUDA, CPU], [GRAPH, ((CUDA, {}), (CPU, {})), ((CPU, {}),)]),
        (
            "auto",
            [CUDA, OPENVINO, COREML, CPU],
            [
                GRAPH,
                ((CUDA, {}), (OPENVINO, {}), (COREML, {}), (CPU, {})),
                ((OPENVINO, {}), (COREML, {}), (CPU, {})),
                ((COREML, {}), (CPU, {})),
                ((CPU, {}),),
            ],
        ),
        (
            "tensorrt",
            [TENSORRT, CUDA, CPU],
            [
                ((TENSORRT, {}), (CUDA, {}), (CPU, {})),
                GRAPH,
                ((CUDA, {}), (CPU, {})),
                ((CPU, {}),),
            ],
        ),
    ],
)
def test_graph_is_tried_before_cuda_without_one_and_the_processor_last(
    device: str, offered: list[str], tried: list[Any]
) -> None:
    plans = list(make_plans(device, offered))

    assert [plan.providers for plan in plans] == tried
    assert [plan.is_bound for plan in plans] == [one == GRAPH for one in tried]
    assert [plan.device for plan in plans] == [
        "cuda" if one[0][0] == CUDA else "cpu" for one in tried
    ]


def test_bound_network_gives_what_the_plain_one_gives(shared_data: Path) -> None:
    path = shared_data / "yolox_nano.onnx"
    shape = (1, 3, 416, 416)
    bound, plain = open_both(path, shape)
    noise = np.random.default_rng(1)

    for _ in range(3):
        blob = (noise.random(shape, np.float32) * 255).astype(np.float32)
        (one,) = bound.run(blob, ["output"])
        (other,) = plain.run(blob, ["output"])
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("input_shape", [(1, 3, 64, 96), ("b", 3, "h", "w"), (4, 3, 64, 96)])
def test_odd_inputs_are_bound_as_well(
    tmp_path: Path, dtype: str, input_shape: tuple[int | str, ...]
) -> None:
    pytest.importorskip("onnxruntime")
    batch = input_shape[0] if isinstance(input_shape[0], int) else 1
    path = write_means(tmp_path / "m.onnx", input_shape, dtype)
    shape = (batch, 3, 64, 96)
    bound, plain = open_both(path, shape)
    blob = np.random.default_rng(2).random(shape, np.float32).astype(dtype)
    names = ["output1", "output0"]

    outputs = bound.run(blob, names)

    expected = plain.run(blob, names)
    assert [one.dtype for one in outputs] == [np.dtype(dtype)] * 2
    assert [one.shape for one in outputs] == [(batch, 3, 64, 96), (batch, 3, 1, 1)]
    for one, other in zip(outputs, expected, strict=True):
        assert np.array_equal(one, other)


def write_means(path: Path, shape: tuple[int | str, ...], dtype: str) -> Path:
    """Write a network with two outputs in the shapes of which sizes are open if the input's are."""
    kind = tiny_onnx.ELEMENT_TYPES[dtype]
    first, *_ = shape
    parts = [
        field(1, tiny_onnx._node("GlobalAveragePool", ["images"], "output0")),
        field(1, tiny_onnx._node("Relu", ["images"], "output1")),
        field(11, value("images", shape, kind)),
        field(12, value("output0", (first, 3, 1, 1), kind)),
        field(12, value("output1", shape, kind)),
    ]
    path.write_bytes(tiny_onnx.model(field(2, "graph") + b"".join(parts), {}))
    return path


def test_input_for_the_size_is_bound_once(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    kind = tiny_onnx.ELEMENT_TYPES["int64"]
    parts = [
        field(1, tiny_onnx._node("Relu", ["images"], "output0")),
        field(1, tiny_onnx._node("Identity", ["orig_target_sizes"], "output1")),
        field(11, value("images", ("N", 3, 64, 96))),
        field(11, value("orig_target_sizes", ("N", 2), kind)),
        field(12, value("output0", ("N", 3, 64, 96))),
        field(12, value("output1", ("N", 2), kind)),
    ]
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_onnx.model(field(2, "graph") + b"".join(parts), {}))
    shape = (1, 3, 64, 96)
    bound, plain = open_both(path, shape)

    _, sizes = bound.run(np.ones(shape, np.float32), ["output0", "output1"])

    assert sizes.tolist() == [[96, 64]]
    assert plain.run(np.ones(shape, np.float32), ["output1"])[0].tolist() == [[96, 64]]


def test_odd_outputs_are_bound_as_well(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    wanted: dict[str, NDArray[np.generic]] = {
        "labels": np.arange(7, dtype=np.int64).reshape(1, 7),
        "boxes": np.ones((1, 7, 4), np.float32),
        "count": np.array(7, np.int64),
    }
    gains = {"boxes": np.ones((1, 7, 4), np.float32)}
    path = write_outputs(tmp_path / "m.onnx", wanted, gains, has_sizes=True)
    bound, plain = open_both(path, (1, 3, 64, 64))
    blob = np.full((1, 3, 64, 64), 2, np.float32)

    outputs = bound.run(blob, [*wanted])

    assert [(one.shape, one.dtype) for one in outputs] == [
        (one.shape, one.dtype) for one in wanted.values()
    ]
    for one, other in zip(outputs, plain.run(blob, [*wanted]), strict=True):
        assert np.array_equal(one, other)
    assert outputs[1].max() == 3


def test_size_of_a_picture_is_told_where_its_colours_come_last() -> None:
    sizes = [
        input_sizes_of(np.zeros(shape, np.float32), np.dtype(np.int64)).tolist()
        for shape in ((1, 3, 64, 96), (2, 64, 96, 3))
    ]

    assert sizes == [[[96, 64]], [[96, 64]] * 2]


def test_answers_are_not_overwritten_by_the_next(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_model(tmp_path / "m.onnx", np.zeros((1, 3)), np.ones((3, 3), np.float32))
    bound, _ = open_both(path, (1, 3, 64, 64))

    (first,) = bound.run(np.ones((1, 3, 64, 64), np.float32), ["output0"])
    bound.run(np.zeros((1, 3, 64, 64), np.float32), ["output0"])

    assert first.tolist() == [[3, 3, 3]]


def test_boxes_whose_number_depends_on_the_picture_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_bright_pixels(tmp_path / "m.onnx", ("boxes",))
    assert open_plain(path, (1, 3, 64, 64)).run(np.zeros((1, 3, 64, 64), np.float32), ["output0"])

    with pytest.raises(GraphRefusedError, match="'output0' is not fixed, or depends on the pic"):
        open_as(BOUND, path, (1, 3, 64, 64))


def test_file_that_gives_such_a_number_a_fixed_size_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_bright_pixels(tmp_path / "m.onnx", (7,))

    with pytest.raises(GraphRefusedError):
        open_as(BOUND, path, (1, 3, 64, 64))


def write_bright_pixels(path: Path, sizes: tuple[int | str, ...]) -> Path:
    """Write a network whose output is longer the more there is in the picture, as with NMS inside.

    Args:
        path: the file.
        sizes: what the file says of the length.
    """
    parts = [
        field(1, tiny_onnx._node("NonZero", ["images"], "output0")),
        field(11, value("images", ("b", 3, 64, 64))),
        field(12, value("output0", (4, *sizes), tiny_onnx.ELEMENT_TYPES["int64"])),
    ]
    path.write_bytes(tiny_onnx.model(field(2, "graph") + b"".join(parts), {}))
    return path


def test_open_size_without_a_name_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_means(tmp_path / "m.onnx", (-1, 3, 64, 64), "float32")

    with pytest.raises(GraphRefusedError, match="'images' is not fixed"):
        open_as(BOUND, path, (1, 3, 64, 64))


def test_array_of_another_form_is_no_input(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = write_model(tmp_path / "m.onnx", np.zeros((1, 3), np.float32))
    session = onnxruntime.InferenceSession(str(path), providers=[CPU])
    bound = BoundSession.for_outputs(session, ["output0"], "cpu")

    # onnxruntime itself would take both.
    with pytest.raises(ValueError, match="got float64"):
        bound.put("images", np.zeros((1, 3, 64, 64)))
    with pytest.raises(ValueError, match=r"expected float32 \(1, 3, 64, 64\)"):
        bound.put("images", np.zeros((1, 64, 64, 3), np.float32))


def test_names_of_open_sizes_get_the_sizes_of_the_input() -> None:
    facts = facts_with({0: "batch", 2: "height", 3: "width"}, {0: "batch", 1: "two"})

    assert fix_sizes(facts, (1, 3, 320, 640)) == {"batch": 1, "height": 320, "width": 640, "two": 2}
    assert fix_sizes(facts_with({}, {}), (1, 3, 320, 640)) == {}


def test_name_of_two_sizes_is_refused() -> None:
    with pytest.raises(GraphRefusedError, match="'size'"):
        fix_sizes(facts_with({2: "size", 3: "size"}, {}), (1, 3, 320, 640))


@pytest.mark.parametrize(
    ("shape", "kind", "said"),
    [
        ((1, None), "tensor(float)", "is not fixed"),
        ((1, -1), "tensor(float)", "is not fixed"),
        ((1, 2), "tensor(bfloat16)", r"of the type tensor\(bfloat16\)"),
        ((1, 2), "seq(tensor(float))", r"of the type seq"),
    ],
)
def test_values_without_a_buffer_are_refused(
    shape: tuple[int | None, ...], kind: str, said: str
) -> None:
    with pytest.raises(GraphRefusedError, match=said):
        plan_tensors([("output0", shape, kind)])


def test_replay_that_gives_other_values_is_refused() -> None:
    expected = np.array([1.0, 640.0, np.inf, np.nan], np.float32)

    compare_outputs([expected], [expected * np.float32(1.001)])
    compare_outputs([np.zeros((0, 6), np.float32)], [np.zeros((0, 6), np.float32)])
    with pytest.raises(GraphRefusedError, match="replay"):
        compare_outputs([expected], [np.array([1.1, 640.0, np.inf, np.nan], np.float32)])
    with pytest.raises(GraphRefusedError, match="replay"):
        compare_outputs([expected], [np.zeros(4, np.float32)])
    with pytest.raises(GraphRefusedError, match="replay"):
        compare_outputs([expected], [expected[:3]])


def test_order_of_rows_of_the_same_confidence_does_not_count() -> None:
    rows = np.random.default_rng(4).random((1, 300, 6))
    labels = np.arange(300).reshape(1, 300)

    compare_outputs([rows, labels], [rows[:, ::-1], labels[:, ::-1]])
    with pytest.raises(GraphRefusedError, match="replay"):
        compare_outputs([rows], [rows[:, :, ::-1]])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "This session cannot use the graph capture feature as requested by the user as the"
            " model has control flow nodes which can't be supported by CUDAExecutionProvider",
            "control flow",
        ),
        (
            "This session cannot use the graph capture feature as requested by the user as all"
            " compute graph nodes have not been partitioned to the CUDAExecutionProvider",
            "some of its operators run on the processor",
        ),
        (
            "This session cannot use the graph capture feature as requested by the user as all the"
            " graph nodes have not been assigned to CUDAExecutionProvider",
            "some of its operators run on the processor",
        ),
        ("CUDA failure 900: operation not permitted when stream is capturing", "CUDA failure 900"),
    ],
)
def test_refusals_of_onnxruntime_are_half_a_sentence(error: str, said: str) -> None:
    assert said in explain_graph_refusal(error)


def facts_with(symbols: dict[int, str], size_symbols: dict[int, str]) -> OnnxFacts:
    return OnnxFacts(
        "images",
        (None, 3, None, None),
        np.dtype(np.float32),
        ("output0",),
        {},
        size_input_name="orig_target_sizes" if size_symbols else None,
        symbols=symbols,
        size_input_symbols=size_symbols,
    )


def open_both(path: Path, shape: tuple[int, ...]) -> tuple[OnnxRuntimeNetwork, OnnxRuntimeNetwork]:
    """Open a model with fixed addresses, and without."""
    bound, plain = open_as(BOUND, path, shape), open_plain(path, shape)
    assert bound.is_bound and not plain.is_bound
    return bound, plain


def open_plain(path: Path, shape: tuple[int, ...]) -> OnnxRuntimeNetwork:
    return open_as(PLAIN, path, shape)


def open_as(plan: SessionPlan, path: Path, shape: tuple[int, ...]) -> OnnxRuntimeNetwork:
    return OnnxRuntimeNetwork.open_as(plan, path, read_onnx_facts(path), shape, threads=2)
