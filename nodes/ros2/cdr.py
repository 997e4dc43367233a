"""Messages of ROS 2 as bytes and back: CDR as DDS and rmw_zenoh have it (version 1).

A message is a dict by the names of its fields. Sequences and arrays of numbers are numpy arrays;
those of a decoded message are views of its bytes, so an image costs no copy. Encoding copies once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError

from .interface_text import Field, InterfaceError, Message, Shape
from .interfaces import Interfaces

# The two bytes that say how what follows is encoded, and two of options.
_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_HEADER_NBYTES = len(_LITTLE_ENDIAN)
_ORDERS = {b"\x00\x00": ">", b"\x00\x01": "<"}
_PHASES = 8  # the largest alignment

# By primitive type: character of struct and of numpy, and size.
_CODES = {
    "bool": ("?", "?"),
    "byte": ("B", "u1"),
    "int8": ("b", "i1"),
    "uint8": ("B", "u1"),
    "int16": ("h", "i2"),
    "uint16": ("H", "u2"),
    "int32": ("i", "i4"),
    "uint32": ("I", "u4"),
    "int64": ("q", "i8"),
    "uint64": ("Q", "u8"),
    "float32": ("f", "f4"),
    "float64": ("d", "f8"),
}
_COUNT = struct.Struct("<I")
# A message without fields has one all the same, since a struct of C needs it.
_EMPTY = Field("structure_needs_at_least_one_member", "uint8")

Encode = Callable[[bytearray, Any], None]
Decode = Callable[["_Reader"], Any]


class CdrError(DoraRtError, ValueError):
    """A value is not that of the message, or bytes are no message of the type."""


class _Reader:
    """The bytes of a message, and how far they have been read."""

    __slots__ = ("buffer", "end", "offset", "order")

    def __init__(self, buffer: memoryview) -> None:
        order = _ORDERS.get(bytes(buffer[:2]))
        if order is None or len(buffer) < _HEADER_NBYTES:
            raise CdrError(
                f"{len(buffer)} bytes that begin with {bytes(buffer[:4])!r} are no CDR of version 1"
            )
        self.buffer = buffer
        self.end = len(buffer)
        self.offset = _HEADER_NBYTES
        self.order = order

    def need(self, nbytes: int) -> int:
        """Return the offset of the next bytes, and go behind them."""
        begin = self.offset
        if nbytes > self.end - begin:
            raise CdrError(
                f"the message ends after {self.end} bytes, {nbytes} more are needed at {begin}"
            )
        self.offset = begin + nbytes
        return begin

    def align(self, size: int) -> None:
        """Go to the next multiple of a size."""
        self.offset += -(self.offset - _HEADER_NBYTES) % size

    def count(self) -> int:
        """Read the number of elements of a sequence, or of bytes of a string."""
        self.align(4)
        found: int = struct.unpack_from(f"{self.order}I", self.buffer, self.need(4))[0]
        return found


class Codec:
    """Encode and decode messages of one type.

    Args:
        message: the type.
        interfaces: where the types of its fields are found.

    Raises:
        InterfaceError: such a type is not known, contains itself, or has wide strings.
    """

    def __init__(self, message: Message, interfaces: Interfaces) -> None:
        self.message = message
        self._struct = _Struct(message, interfaces, ())

    def encode(self, values: Mapping[str, Any]) -> bytearray:
        """Return a message as bytes; fields that are not given have their defaults.

        Raises:
            CdrError: there is no such field, or it cannot have this value.
        """
        out = bytearray(_LITTLE_ENDIAN)
        try:
            self._struct.encode(out, values)
        except CdrError as error:
            raise CdrError(f"{self.message.name}: {error}") from error
        return out

    def decode(self, content: bytes | bytearray | memoryview) -> dict[str, Any]:
        """Return the fields of a message; arrays are views of `content`.

        Raises:
            CdrError: the bytes are no message of this type.
        """
        try:
            found: dict[str, Any] = self._struct.decode(_Reader(memoryview(content).cast("B")))
        except CdrError as error:
            raise CdrError(f"{self.message.name}: {error}") from error
        return found


class _Struct:
    """How one message is encoded: its fields, of which neighbours of fixed size are one step."""

    def __init__(self, message: Message, interfaces: Interfaces, within: tuple[str, ...]) -> None:
        if message.name in within:
            raise InterfaceError(f"{message.name} contains itself")
        self._name = message.name
        self._names = frozenset(field.name for field in message.fields)
        self.leaves: list[_Leaf] | None = []
        self._encoders: list[Encode] = []
        self._decoders: list[Callable[[_Reader, dict[str, Any]], None]] = []
        run: list[_Leaf] = []
        for field in message.fields or (_EMPTY,):
            nested = None
            if not field.is_primitive:
                nested = _Struct(
                    interfaces.message(field.base), interfaces, (*within, message.name)
                )
            leaf = _leaf(field, nested)
            if leaf is not None:
                run.append(leaf)
                if self.leaves is not None:
                    self.leaves.append(leaf)
                continue
            self.leaves = None
            self._add_run(run)
            run = []
            encode, decode = _steps(field, nested)
            self._add(field, encode, decode)
        self._add_run(run)

    def encode(self, out: bytearray, values: Any) -> None:
        """Append a message."""
        if not isinstance(values, Mapping):
            raise CdrError(f"expected a dict with the fields of {self._name}, got {values!r:.60}")
        self.check_names(values)
        for encode in self._encoders:
            encode(out, values)

    def decode(self, reader: _Reader) -> dict[str, Any]:
        """Read a message."""
        found: dict[str, Any] = {}
        for decode in self._decoders:
            decode(reader, found)
        return found

    def check_names(self, values: Mapping[str, Any]) -> None:
        """Refuse fields that the message does not have."""
        if not values.keys() <= self._names:
            unknown = ", ".join(sorted(map(str, values.keys() - self._names)))
            raise CdrError(
                f"{self._name} has no field {unknown}; its fields are: "
                f"{', '.join(sorted(self._names)) or 'none'}"
            )

    def _add_run(self, leaves: list[_Leaf]) -> None:
        if leaves:
            run = _Run(leaves)
            self._encoders.append(run.encode)
            self._decoders.append(run.decode)

    def _add(self, field: Field, encode: Encode, decode: Decode) -> None:
        name, default = field.name, _default(field)

        def encode_field(out: bytearray, values: Mapping[str, Any]) -> None:
            try:
                encode(out, values.get(name, default))
            except CdrError as error:
                raise CdrError(f"{name}: {error}") from error

        def decode_field(reader: _Reader, found: dict[str, Any]) -> None:
            found[name] = decode(reader)

        self._encoders.append(encode_field)
        self._decoders.append(decode_field)


class _Leaf:
    """A field of a fixed size: one number, or a message of such fields."""

    __slots__ = ("code", "default", "inner", "name", "nested")

    def __init__(self, field: Field, nested: _Struct | None) -> None:
        self.name = field.name
        self.nested = nested
        self.inner: list[_Leaf] = [] if nested is None else nested.leaves or []
        self.code = _CODES[field.base][0] if nested is None else ""
        self.default = {} if nested is not None else _default(field)

    def codes(self) -> str:
        """Return the characters of struct of all its numbers."""
        return self.code or "".join(leaf.codes() for leaf in self.inner)

    def collect(self, values: Mapping[str, Any], flat: list[Any]) -> None:
        """Append its numbers."""
        value = values.get(self.name, self.default)
        if self.nested is None:
            flat.append(value)
            return
        if not isinstance(value, Mapping):
            raise CdrError(f"{self.name}: expected a dict, got {value!r:.60}")
        self.nested.check_names(value)
        for leaf in self.inner:
            leaf.collect(value, flat)

    def build(self, flat: Any) -> Any:
        """Take its numbers from an iterator; return its value."""
        if self.nested is None:
            return next(flat)
        built = {leaf.name: leaf.build(flat) for leaf in self.inner}
        built.pop(_EMPTY.name, None)
        return built

    def paths(self) -> list[str]:
        """Return the names of all its numbers, for messages."""
        if self.nested is None:
            return [self.name]
        return [f"{self.name}.{path}" for leaf in self.inner for path in leaf.paths()]


class _Run:
    """Neighbouring fields of fixed sizes: one call of struct for all of them."""

    def __init__(self, leaves: list[_Leaf]) -> None:
        self._leaves = leaves
        self._codes = "".join(leaf.codes() for leaf in leaves)
        self._packers: dict[tuple[str, int], struct.Struct] = {}

    def encode(self, out: bytearray, values: Mapping[str, Any]) -> None:
        """Append the fields of a message."""
        flat: list[Any] = []
        for leaf in self._leaves:
            leaf.collect(values, flat)
        packer = self._packer("<", (len(out) - _HEADER_NBYTES) % _PHASES)
        try:
            out += packer.pack(*flat)
        except (struct.error, OverflowError, TypeError) as error:
            self._refuse(flat, error)

    def decode(self, reader: _Reader, found: dict[str, Any]) -> None:
        """Read the fields of a message."""
        packer = self._packer(reader.order, (reader.offset - _HEADER_NBYTES) % _PHASES)
        numbers = packer.unpack_from(reader.buffer, reader.need(packer.size))
        flat = iter(numbers)
        for leaf in self._leaves:
            found[leaf.name] = leaf.build(flat)
        found.pop(_EMPTY.name, None)

    def _packer(self, order: str, phase: int) -> struct.Struct:
        packer = self._packers.get((order, phase))
        if packer is None:
            packer = self._packers[order, phase] = struct.Struct(_format(order, self._codes, phase))
        return packer

    def _refuse(self, flat: list[Any], error: Exception) -> NoReturn:
        paths = [path for leaf in self._leaves for path in leaf.paths()]
        for path, code, value in zip(paths, self._codes, flat, strict=True):
            try:
                struct.pack(f"<{code}", value)
            except (struct.error, OverflowError, TypeError) as reason:
                raise CdrError(f"{path}: {value!r:.60}: {reason}") from error
        raise CdrError(str(error)) from error


def _format(order: str, codes: str, phase: int) -> str:
    """Return a format of struct with the padding that is due if it begins at `phase`."""
    parts = [order]
    for code in codes:
        size = struct.calcsize(f"<{code}")
        padding = -phase % size
        parts.append("x" * padding + code)
        phase = (phase + padding + size) % _PHASES
    return "".join(parts)


def _leaf(field: Field, nested: _Struct | None) -> _Leaf | None:
    """Return a field as part of a run; None if its size is not fixed, or it is an array."""
    if field.shape is not Shape.SINGLE or field.base in ("string", "wstring"):
        return None
    if nested is not None and nested.leaves is None:
        return None
    return _Leaf(field, nested)


def _default(field: Field) -> Any:
    if field.default is not None:
        return field.default
    if field.shape is not Shape.SINGLE:
        is_array = field.shape is Shape.ARRAY
        if not field.is_primitive:
            return [{}] * (field.length if is_array else 0)
        if field.base == "string":
            return [""] * (field.length if is_array else 0)
        return np.zeros(field.length if is_array else 0, _CODES.get(field.base, ("", "u1"))[1])
    if field.base == "string":
        return ""
    return 0 if field.is_primitive else {}


def _steps(field: Field, nested: _Struct | None) -> tuple[Encode, Decode]:
    """Return how a field that is no part of a run is encoded and decoded."""
    if field.base == "wstring":
        raise InterfaceError(f"field {field.name}: wide strings are not offered")
    if nested is not None:
        one: tuple[Encode, Decode] = nested.encode, nested.decode
    elif field.base == "string":
        one = _string_steps(field.string_bound)
    else:
        return _number_steps(field)
    return one if field.shape is Shape.SINGLE else _sequence_steps(field, *one)


def _string_steps(bound: int) -> tuple[Encode, Decode]:
    def encode(out: bytearray, value: Any) -> None:
        if not isinstance(value, str):
            raise CdrError(f"expected a str, got {value!r:.60}")
        try:
            content = value.encode()
        except UnicodeEncodeError as error:
            raise CdrError(f"{value!r:.60} is no text in UTF-8") from error
        if bound and len(content) > bound:
            raise CdrError(f"a text of {len(content)} bytes; at most {bound} are allowed")
        out += bytes(-len(out) % 4)
        out += _COUNT.pack(len(content) + 1)
        out += content
        out.append(0)

    def decode(reader: _Reader) -> str:
        count = reader.count()
        begin = reader.need(count)
        content = bytes(reader.buffer[begin : begin + count])
        # C++ may send bytes that are no text; they must not cost the message.
        return content.removesuffix(b"\0").decode(errors="replace")

    return encode, decode


def _sequence_steps(field: Field, encode: Encode, decode: Decode) -> tuple[Encode, Decode]:
    """Return the steps of an array or sequence of strings or messages."""
    length = field.length if field.shape is Shape.ARRAY else None

    def encode_all(out: bytearray, values: Any) -> None:
        if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
            raise CdrError(f"expected a list, got {values!r:.60}")
        _check_count(field, len(values))
        if length is None:
            out += bytes(-len(out) % 4)
            out += _COUNT.pack(len(values))
        for number, value in enumerate(values):
            try:
                encode(out, value)
            except CdrError as error:
                raise CdrError(f"[{number}] {error}") from error

    def decode_all(reader: _Reader) -> list[Any]:
        count = reader.count() if length is None else length
        # No element has less than a byte.
        if count > reader.end - reader.offset:
            raise CdrError(f"{field.name}: {count} elements in a message of {reader.end} bytes")
        return [decode(reader) for _ in range(count)]

    return encode_all, decode_all


def _number_steps(field: Field) -> tuple[Encode, Decode]:
    """Return the steps of an array or sequence of numbers."""
    length = field.length if field.shape is Shape.ARRAY else None
    little = np.dtype(f"<{_CODES[field.base][1]}")
    size = little.itemsize

    def encode(out: bytearray, values: Any) -> None:
        numbers = _numbers(values, little)
        _check_count(field, numbers.size)
        if length is None:
            out += bytes(-len(out) % 4)
            out += _COUNT.pack(numbers.size)
        if numbers.size:
            out += bytes(-(len(out) - _HEADER_NBYTES) % size)
            out += numbers.data.cast("B")

    def decode(reader: _Reader) -> NDArray[Any]:
        count = reader.count() if length is None else length
        if not count:
            return np.empty(0, little)
        reader.align(size)
        begin = reader.need(count * size)
        dtype = np.dtype(f"{reader.order}{_CODES[field.base][1]}")
        found: NDArray[Any] = np.frombuffer(reader.buffer, dtype, count, begin)
        if little.kind == "b":
            # Any byte but 0 is true, and only 1 is in numpy.
            return np.asarray(found.view(np.uint8) != 0)
        return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))

    return encode, decode


def _check_count(field: Field, count: int) -> None:
    if field.shape is Shape.ARRAY and count != field.length:
        raise CdrError(f"{count} values, expected {field.length}")
    if field.shape is Shape.BOUNDED and count > field.length:
        raise CdrError(f"{count} values; at most {field.length} are allowed")


def _numbers(values: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as a flat array of a dtype, without a copy where they are one."""
    if isinstance(values, (bytes, bytearray, memoryview)):
        found = np.frombuffer(values, np.uint8)
    elif isinstance(values, np.ndarray):
        found = values
    else:
        try:
            found = np.array(values)
        except (ValueError, OverflowError) as error:
            raise CdrError(f"{values!r:.60} are no numbers: {error}") from error
    if found.dtype != dtype:
        found = _converted(found, dtype)
    return np.ascontiguousarray(found).reshape(-1)


def _converted(found: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if not found.size:
        return np.empty(0, dtype)
    if found.dtype.kind not in "biuf" or (dtype.kind != "f" and found.dtype.kind == "f"):
        raise CdrError(f"expected numbers of {dtype.name}, got {found.dtype}")
    with np.errstate(over="ignore"):
        converted = found.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(converted, found):
        raise CdrError(f"a number does not fit into {dtype.name}")
    return converted
