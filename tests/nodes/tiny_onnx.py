"""Write ONNX files of a few bytes, so that detectors can be tested on outputs known in advance.

Field numbers: onnx/onnx.proto of https://github.com/onnx/onnx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int64": 7, "float16": 10}


def write_model(
    path: Path,
    output: NDArray[np.float32],
    colours: NDArray[np.float32] | None = None,
    *,
    input_shape: Sequence[int | str] = (1, 3, 64, 64),
    dtype: str = "float32",
    metadata: Mapping[str, str] | None = None,
    has_second_output: bool = False,
) -> Path:
    """Write a network whose output is `output` plus the mean of each input channel times `colours`.

    Args:
        path: the file, written anew.
        output: any shape.
        colours: 3 x that shape, None for a network that does not look.
        input_shape: sizes, or names of sizes that are left open.
        dtype: of input and output.
        metadata: key and value.
        has_second_output: whether the picture itself comes out as well, as masks do.
    """
    weights = np.zeros((3, output.size)) if colours is None else colours.reshape(3, -1)
    nodes = [
        _node("GlobalAveragePool", ["images"], "means"),
        _node("Reshape", ["means", "row"], "flat_means"),
        _node("MatMul", ["flat_means", "weights"], "flat_colours"),
        _node("Reshape", ["flat_colours", "shape"], "colours"),
        _node("Add", ["colours", "constant"], "output0"),
    ]
    initializers = [
        _tensor("row", np.array([1, 3])),
        _tensor("weights", weights.astype(dtype)),
        _tensor("shape", np.array(output.shape)),
        _tensor("constant", output.astype(dtype)),
    ]
    if has_second_output:
        nodes.append(_node("Relu", ["images"], "output1"))
    graph = [field(1, node) for node in nodes] + [field(5, tensor) for tensor in initializers]
    graph.append(field(11, value("images", input_shape, ELEMENT_TYPES[dtype])))
    graph.append(field(12, value("output0", output.shape, ELEMENT_TYPES[dtype])))
    if has_second_output:
        graph.append(field(12, value("output1", input_shape, ELEMENT_TYPES[dtype])))
    path.write_bytes(model(field(2, "graph") + b"".join(graph), metadata or {}))
    return path


def write_outputs(
    path: Path,
    outputs: Mapping[str, NDArray[np.generic]],
    gains: Mapping[str, NDArray[np.float32]] | None = None,
    *,
    input_shape: Sequence[int | str] = (1, 3, 64, 64),
    metadata: Mapping[str, str] | None = None,
    has_sizes: bool = False,
    versions: tuple[int, int] = (8, 13),
) -> Path:
    """Write a network whose outputs are constants plus the mean of its input times `gains`.

    Args:
        path: the file, written anew.
        outputs: by name, any shapes; float32, or of whole numbers, which have no gain.
        gains: of some outputs, in their shapes.
        input_shape: sizes, or names of sizes that are left open.
        metadata: key and value.
        has_sizes: whether there is a second input `orig_target_sizes`.
        versions: of the format (IR) and of the operators (opset).
    """
    nodes = [_node("ReduceMean", ["images"], "mean"), _node("Reshape", ["mean", "one"], "level")]
    graph = [field(5, _tensor("one", np.array([1])))]
    results = []
    for name, output in outputs.items():
        kind = ELEMENT_TYPES[output.dtype.name]
        graph.append(field(5, _tensor(f"{name}_constant", output)))
        results.append(field(12, value(name, output.shape, kind)))
        if output.dtype.kind == "i":
            nodes.append(_node("Identity", [f"{name}_constant"], name))
            continue
        gain = (gains or {}).get(name, np.zeros_like(output))
        graph.append(field(5, _tensor(f"{name}_gain", gain)))
        nodes.append(_node("Mul", ["level", f"{name}_gain"], f"{name}_change"))
        nodes.append(_node("Add", [f"{name}_constant", f"{name}_change"], name))
    inputs = [field(11, value("images", input_shape))]
    if has_sizes:
        inputs.append(field(11, value("orig_target_sizes", ("n", 2), ELEMENT_TYPES["int64"])))
    graph = [*(field(1, node) for node in nodes), *graph, *inputs, *results]
    ir_version, opset = versions
    content = model(field(2, "graph") + b"".join(graph), metadata or {}, ir_version, opset)
    path.write_bytes(content)
    return path


def model(graph: bytes, metadata: Mapping[str, str], ir_version: int = 8, opset: int = 13) -> bytes:
    """Give a ModelProto."""
    entries = (field(14, field(1, key) + field(2, text)) for key, text in metadata.items())
    versions = field(8, field(2, opset))
    return field(1, ir_version) + field(7, graph) + versions + b"".join(entries)


def value(name: str, shape: Sequence[int | str], element_type: int = 1) -> bytes:
    """Give a ValueInfoProto: a name, an element type and a shape."""
    dimensions = b"".join(
        field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape
    )
    return field(1, name) + field(2, field(1, field(1, element_type) + field(2, dimensions)))


def field(number: int, content: int | str | bytes) -> bytes:
    """Give one protobuf field: a varint, or a length and bytes."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    if isinstance(content, str):
        content = content.encode()
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _node(operator: str, inputs: Sequence[str], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator)


def _tensor(name: str, array: NDArray[np.generic]) -> bytes:
    sizes = b"".join(field(1, size) for size in array.shape)
    element_type = ELEMENT_TYPES[array.dtype.name]
    return sizes + field(2, element_type) + field(8, name) + field(9, array.tobytes())


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
