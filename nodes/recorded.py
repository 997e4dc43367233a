"""The form in which a sample lies in an MCAP file, with all that it takes to send it again.

The commands read recordings too, before they launch: numpy is imported only for values.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dora_rt.errors import DoraRtError, ExtraMissingError
from dora_rt.event import Event

ENCODING = "x-dora_rt"
SCHEMA_NAME = "dora_rt.Sample"
SCHEMA = """\
A sample of a dora_rt output, whole. Integers are little-endian.

  uint32  H   size of the header
  uint32  M   size of the metadata
  H bytes     header: a JSON object, with spaces behind it up to a multiple of 16 from the start
  M bytes     metadata: a JSON object or nothing, with spaces up to a multiple of 16
  the rest    payload

The header has:
  seq        number of the sample at its sender, from 0
  dropped    samples of this output before this one that are not in the file
  sent_ns    when it was sent, CLOCK_MONOTONIC of the machine that recorded it
  origin_ns  when the sample at the start of the chain was captured, same clock
  type       "bytes"; "ndarray", with dtype (as numpy writes it) and shape, in C order; or "arrow",
             a stream of Arrow's IPC format with one column of one batch
"""
METADATA_NAME = "dora_rt"
LOSSES_NAME = "dora_rt.losses"
_SIZES = struct.Struct("<II")
_ALIGNMENT = 16


class RecordingError(DoraRtError):
    """A file cannot be recorded to, or is no recording."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A recorded sample; the value is not decoded."""

    header: dict[str, Any]
    metadata_json: bytes
    payload: memoryview

    @property
    def value(self) -> Any:
        """The value as it was sent: bytes, an ndarray, or an array of Arrow."""
        match self.header["type"]:
            case "bytes":
                return bytes(self.payload)
            case "ndarray":
                import numpy as np

                array = np.frombuffer(self.payload, np.dtype(self.header["dtype"]))
                return array.reshape(self.header["shape"])
            case "arrow":
                pyarrow = _import_pyarrow()
                with pyarrow.ipc.open_stream(pyarrow.py_buffer(self.payload)) as reader:
                    return reader.read_next_batch().column(0)
            case other:
                raise RecordingError(f"a sample has the unknown type {other!r}")


def encode(event: Event) -> bytes:
    """Return the bytes that are recorded of a sample."""
    header: dict[str, Any] = {
        "seq": event.seq,
        "dropped": event.dropped,
        "sent_ns": event.sent_ns,
        "origin_ns": event.origin_ns,
    }
    value = event.value
    payload: Any
    if isinstance(value, bytes):
        header["type"] = "bytes"
        payload = value
    elif hasattr(value, "dtype"):
        header |= {"type": "ndarray", "dtype": value.dtype.str, "shape": value.shape}
        # An array without items has no memory to view.
        payload = value.reshape(-1).view("uint8").data if value.size else b""
    else:
        header["type"] = "arrow"
        payload = _arrow_stream(value)
    header_json = json.dumps(header, separators=(",", ":")).encode()
    header_json += b" " * (-(_SIZES.size + len(header_json)) % _ALIGNMENT)
    metadata_json = event.metadata_json
    padding = b" " * (-len(metadata_json) % _ALIGNMENT)
    sizes = _SIZES.pack(len(header_json), len(metadata_json) + len(padding))
    return b"".join((sizes, header_json, metadata_json, padding, payload))


def decode(message: bytes) -> Sample:
    """Read what `encode` gave.

    Raises:
        RecordingError: it is something else.
    """
    try:
        header_nbytes, metadata_nbytes = _SIZES.unpack_from(message)
        begin = _SIZES.size + header_nbytes
        header = json.loads(message[_SIZES.size : begin])
        end = begin + metadata_nbytes
        sample = Sample(header, message[begin:end].strip(), memoryview(message)[end:])
        header["type"], header["seq"], header["dropped"], header["sent_ns"], header["origin_ns"]
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"a message is no sample of dora_rt: {error}") from error
    return sample


def import_extra(load: Callable[[], Any]) -> Any:
    """Import what only the extra `record` installs.

    Raises:
        ExtraMissingError: it is not installed.
    """
    try:
        return load()
    except ImportError as error:
        raise ExtraMissingError(
            f"recordings need {error.name or 'mcap'}, which is not installed in {sys.executable}: "
            "pip install 'dora_rt[record]'"
        ) from error


def _arrow_stream(array: Any) -> Any:
    pyarrow = _import_pyarrow()
    sink = pyarrow.BufferOutputStream()
    batch = pyarrow.RecordBatch.from_arrays([array], names=[""])
    with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return memoryview(sink.getvalue()).cast("B")


def _import_pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise ExtraMissingError(
            "arrays of Arrow need pyarrow, which is not installed: pip install 'dora_rt[arrow]'"
        ) from error
    return pyarrow
