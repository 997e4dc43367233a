"""The facts in an ONNX file: the names of the classes, the input size, the metadata.

OpenCV's `Net` gives neither the input shape of a model nor its metadata, and the `onnx` package is
a large dependency for five numbers and a few strings. So this walks the protobuf by hand, skipping
everything it does not want: the weights are never touched, however large the file is.

Wire format: https://protobuf.dev/programming-guides/encoding/.
Field numbers: onnx/onnx.proto of https://github.com/onnx/onnx (ModelProto, GraphProto,
ValueInfoProto, TypeProto, TensorShapeProto, StringStringEntryProto, TensorProto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import ModelError

_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 1, 7, 8, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_DIMENSION = 1
_DIMENSION_VALUE, _DIMENSION_NAME = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_WIRE_VARINT, _WIRE_FIXED64, _WIRE_BYTES, _WIRE_FIXED32 = 0, 1, 2, 5

# TensorProto.DataType
_INT64: np.dtype[np.integer | np.floating] = np.dtype(np.int64)
_DTYPES: Mapping[int, type[np.floating]] = {1: np.float32, 10: np.float16}
_SIZE_DTYPES: Mapping[int, type[np.integer | np.floating]] = {
    1: np.float32,
    6: np.int32,
    7: np.int64,
}
_ELEMENT_NAMES = {2: "uint8", 3: "int8", 4: "uint16", 6: "int32", 7: "int64", 11: "float64"}


SIZE_INPUTS = ("orig_target_sizes", "orig_sizes", "orig_size")
"""Names of the second input of RT-DETR and D-FINE: width and height that the boxes are for."""


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """The facts of an ONNX file that a detector needs before it runs it.

    Attributes:
        input_name: name of the graph's picture input.
        input_shape: its shape; None where the file leaves a dimension open.
        input_dtype: float32 or float16.
        output_names: names of the graph's outputs, in their order.
        metadata: the exporter's notes, for example ultralytics' `names`.
        size_input_name: the input for the size that the boxes are for; None without one.
        size_input_dtype: the type of its numbers.
        symbols: the names that the file gives to the open dimensions of the picture input, by
            position.
        size_input_symbols: the same of the input for the size.
        ir_version: of the file's format.
        opset: version of ONNX's own operators that the file uses.
    """

    input_name: str
    input_shape: tuple[int | None, ...]
    input_dtype: np.dtype[np.floating]
    output_names: tuple[str, ...]
    metadata: Mapping[str, str]
    size_input_name: str | None = None
    size_input_dtype: np.dtype[np.integer | np.floating] = _INT64
    ir_version: int = 0
    opset: int = 0
    symbols: Mapping[int, str] = field(default_factory=dict)
    size_input_symbols: Mapping[int, str] = field(default_factory=dict)


def read_onnx_facts(path: Path) -> OnnxFacts:
    """Read the facts of an ONNX file.

    Raises:
        ModelError: the file cannot be read, is not ONNX, or has not one float input.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as model:
            return _facts(model)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        # mmap raises it for an empty file, the walk for anything that is not the protobuf.
        raise ModelError(
            f"{path}: this is not a whole ONNX file ({error}); it begins with"
            f" {_beginning(path)!r}. Download or export it again."
        ) from error
    except _UnsupportedInputError as error:
        raise ModelError(f"{path}: {error}") from error


class _UnsupportedInputError(Exception):
    pass


class _Field(NamedTuple):
    """One protobuf field: a number in `varint`, or a part of the file from `start` to `end`."""

    number: int
    varint: int
    start: int
    end: int


def _facts(model: mmap.mmap) -> OnnxFacts:
    metadata: dict[str, str] = {}
    initializers: set[str] = set()
    inputs: list[_Field] = []
    outputs: list[_Field] = []
    has_graph = False
    ir_version = opset = 0
    for entry in _fields(model, 0, len(model)):
        if entry.number == _MODEL_IR_VERSION:
            ir_version = entry.varint
        elif entry.number == _MODEL_OPSET:
            opset = max(opset, _own_opset(model, entry))
        elif entry.number == _MODEL_METADATA:
            metadata[_text(model, entry, _ENTRY_KEY)] = _text(model, entry, _ENTRY_VALUE)
        elif entry.number == _MODEL_GRAPH:
            has_graph = True
            for part in _fields(model, entry.start, entry.end):
                if part.number == _GRAPH_INITIALIZER:
                    initializers.add(_text(model, part, _TENSOR_NAME))
                elif part.number == _GRAPH_INPUT:
                    inputs.append(part)
                elif part.number == _GRAPH_OUTPUT:
                    outputs.append(part)
    if not has_graph or not outputs:
        raise ValueError("it has no graph")
    # Files of IR version 3 and older list their weights as inputs, too.
    inputs = [part for part in inputs if _text(model, part, _VALUE_NAME) not in initializers]
    names = [_text(model, part, _VALUE_NAME) for part in inputs]
    size_input_name = next((name for name in names if name in SIZE_INPUTS), None)
    pictures = [part for part, name in zip(inputs, names, strict=True) if name != size_input_name]
    if len(pictures) != 1:
        raise _UnsupportedInputError(_about_inputs(names))
    dtype, dimensions = _tensor_type(model, pictures[0])
    sizes = [part for part, name in zip(inputs, names, strict=True) if name == size_input_name]
    size_element, size_dimensions = _element_and_dimensions(model, sizes[0]) if sizes else (0, [])
    return OnnxFacts(
        input_name=_text(model, pictures[0], _VALUE_NAME),
        input_shape=tuple(one if isinstance(one, int) else None for one in dimensions),
        input_dtype=dtype,
        output_names=tuple(_text(model, part, _VALUE_NAME) for part in outputs),
        metadata=metadata,
        size_input_name=size_input_name,
        size_input_dtype=np.dtype(_SIZE_DTYPES.get(size_element, np.int64)),
        ir_version=ir_version,
        opset=opset,
        symbols=_symbols(dimensions),
        size_input_symbols=_symbols(size_dimensions),
    )


def _own_opset(model: mmap.mmap, field: _Field) -> int:
    """Return the version of an opset import, 0 if it is one of another domain than ONNX's own."""
    if _text(model, field, _OPSET_DOMAIN) not in ("", "ai.onnx"):
        return 0
    return max((inner.varint for inner in _inside(model, field, _OPSET_VERSION)), default=0)


def _about_inputs(names: list[str]) -> str:
    text = (
        f"this model has {len(names)} inputs ({', '.join(names)}), but a detector has one, the"
        f" image, or a second one named {SIZE_INPUTS[0]} as RT-DETR and D-FINE"
    )
    if {"im_shape", "scale_factor"} & set(names):
        return f"{text}: it is one of PaddleDetection, whose layout is not supported"
    return text


def _tensor_type(
    model: mmap.mmap, value: _Field
) -> tuple[np.dtype[np.floating], list[int | str | None]]:
    element, dimensions = _element_and_dimensions(model, value)
    if element not in _DTYPES:
        name = _ELEMENT_NAMES.get(element, "another type")
        raise _UnsupportedInputError(
            f"this model's input is {name} (ONNX element type {element}), but a detector's is"
            " float32 or float16: export it without quantised inputs"
        )
    return np.dtype(_DTYPES[element]), dimensions


def _element_and_dimensions(model: mmap.mmap, value: _Field) -> tuple[int, list[int | str | None]]:
    """Return the element type and the dimensions: a size, or the name of an open one, or None."""
    element = 0
    dimensions: list[int | str | None] = []
    for value_type in _inside(model, value, _VALUE_TYPE):
        for tensor in _inside(model, value_type, _TYPE_TENSOR):
            for part in _fields(model, tensor.start, tensor.end):
                if part.number == _TENSOR_ELEMENT:
                    element = part.varint
                elif part.number == _TENSOR_SHAPE:
                    for dimension in _inside(model, part, _SHAPE_DIMENSION):
                        known = [f.varint for f in _inside(model, dimension, _DIMENSION_VALUE)]
                        # A negative dimension_value (10 bytes on the wire) means "open" as well.
                        is_size = bool(known) and 0 < known[-1] < 1 << 31
                        dimensions.append(known[-1] if is_size else _symbol(model, dimension))
    return element, dimensions


def _symbol(model: mmap.mmap, dimension: _Field) -> str | None:
    for inner in _inside(model, dimension, _DIMENSION_NAME):
        return model[inner.start : inner.end].decode(errors="replace") or None
    return None


def _symbols(dimensions: Sequence[int | str | None]) -> dict[int, str]:
    return {at: name for at, name in enumerate(dimensions) if isinstance(name, str)}


def _inside(model: mmap.mmap, field: _Field, number: int) -> Iterator[_Field]:
    return (f for f in _fields(model, field.start, field.end) if f.number == number)


def _text(model: mmap.mmap, field: _Field, number: int) -> str:
    for inner in _inside(model, field, number):
        return model[inner.start : inner.end].decode()
    return ""


def _fields(model: mmap.mmap, position: int, end: int) -> Iterator[_Field]:
    """Walk the fields between two positions.

    Raises:
        ValueError: the bytes are not protobuf, or end too early.
    """
    while position < end:
        tag, position = _varint(model, position, end)
        number, wire = tag >> 3, tag & 7
        varint = 0
        start = position
        if wire == _WIRE_VARINT:
            varint, position = _varint(model, position, end)
        elif wire == _WIRE_BYTES:
            nbytes, start = _varint(model, position, end)
            position = start + nbytes
        elif wire == _WIRE_FIXED64:
            position += 8
        elif wire == _WIRE_FIXED32:
            position += 4
        else:
            raise ValueError(f"no protobuf has wire type {wire}, at byte {position}")
        if position > end:
            raise ValueError(f"a part ends {position - end} bytes behind its end, at byte {end}")
        yield _Field(number, varint, start, position)


def _varint(model: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError(f"a number is cut off at byte {end}")
        byte = model[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError(f"a number is longer than 10 bytes, at byte {position}")


def _beginning(path: Path) -> bytes:
    # A page of HTML or the pointer of git-lfs is recognised by its first words.
    with path.open("rb") as file:
        return file.read(24)
