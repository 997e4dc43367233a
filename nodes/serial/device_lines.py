"""What a line of a device says: numbers, JSON, or labelled numbers; and what is written to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.errors import DoraRtError

from ..json_values import array_of, json_bytes, parse_json, sendable

_SEPARATORS = re.compile(r"[\s,;]+")
# What Arduino's plotter reads, such as `x:0.5,y:-1`.
_NUMBER = re.compile(r"[:=]\s*([+-]?[\d.][\w.+\-]*)")
_NO_LABEL = re.compile(r"[^\w.\-]")
_FIRST_LETTER = re.compile(r"[A-Za-z_]")

Value = NDArray[np.float64] | bytes


class CommandError(DoraRtError):
    """What came in cannot be written to the device."""


class DeviceLine:
    """One line, understood on demand.

    Attributes:
        text: the line.
        json: what it says as JSON, an object or an array; None if it is none.
    """

    __slots__ = ("json", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.json = parse_json(text) if text[0] in "{[" else None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a JSON object, or the labelled numbers of a plotter's line."""
        if self.json is not None:
            return self.json if isinstance(self.json, dict) else {}
        found = {}
        for label, number in _labelled(self.text):
            try:
                found[label] = float(number)
            except ValueError:
                continue
        return found

    def values(self) -> NDArray[np.float64] | None:
        """Return the numbers of a line that has nothing else: an array in JSON, or separated."""
        if self.json is not None:
            return array_of(self.json)
        try:
            return np.array([float(part) for part in _SEPARATORS.split(self.text) if part])
        except ValueError:
            return None

    def for_output(self, output_id: str) -> Value | None:
        """Return what the line has for an output; None if it has nothing."""
        match output_id:
            case "line":
                return self.text.encode()
            case "json":
                return None if self.json is None else json_bytes(self.json)
            case "values":
                return self.values()
        return sendable(self.fields().get(output_id))


def _labelled(text: str) -> Iterator[tuple[str, str]]:
    """Yield labels with what may be their numbers, in a time that grows only with the length.

    So a long line without any label, from a device of another speed, holds up nothing.
    """
    end = 0
    for match in _NUMBER.finditer(text):
        before = text[end : match.start()].rstrip()
        word = _NO_LABEL.split(before)[-1]
        first = _FIRST_LETTER.search(word)
        if first is not None:
            yield word[first.start() :], match[1]
        end = match.end()


def make_command(input_id: str, value: Any, form: str) -> bytes:
    """Return what is written to the device for a sample.

    Args:
        input_id: the input that it came by.
        value: the sample: bytes are written as they are, with a line feed behind them.
        form: for arrays: `json` (`{"twist": [0.5, 0]}`), `csv` (`0.5,0`), or `raw`, its bytes.

    Raises:
        CommandError: it is neither bytes nor an array of numbers or of texts.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        text = bytes(value)
        return text if form == "raw" or text.endswith(b"\n") else text + b"\n"
    # Of Arrow: texts, as nodes of dora send them, each is a line.
    plain = value.to_pylist() if hasattr(value, "to_pylist") else None
    if plain is not None and all(isinstance(one, str) for one in plain):
        return "".join(f"{one}\n" for one in plain).encode()
    numbers = np.asarray(value) if plain is None else array_of(plain)
    if numbers is None or numbers.dtype.kind not in "biuf":
        raise CommandError(
            f"input '{input_id}' carries {getattr(value, 'type', None) or value.dtype}; expected "
            "bytes, or an array of numbers or of texts"
        )
    if form == "raw":
        return numbers.tobytes()
    if form == "csv":
        return ",".join(f"{number:.9g}" for number in numbers.ravel().tolist()).encode() + b"\n"
    return json_bytes({input_id: numbers.tolist()}) + b"\n"
