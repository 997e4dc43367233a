"""Arrays between native nodes and nodes of dora 1.x: as each of them expects them, uncopied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dora_rt.event import Event
from dora_rt.node.dora_events import import_arrow, input_event
from dora_rt.node_config import InputConfig
from dora_rt.transport.values.flat_arrays import add_shape, shaped
from tests.dora.recording import run_noting
from tests.harness.flow import Flow


def described(array: np.ndarray, **metadata: Any) -> dict[str, Any]:
    add_shape(metadata, array)
    return metadata


IMAGE = {"encoding": "bgr8", "height": 4, "width": 6, "primitive": "image"}


@pytest.mark.parametrize(
    ("shape", "dtype", "given", "expected"),
    [
        ((4, 6, 3), "uint8", {}, IMAGE),
        ((4, 6, 3), "uint8", {"encoding": "rgb8"}, {**IMAGE, "encoding": "rgb8"}),
        ((4, 6, 4), "uint8", {}, {**IMAGE, "encoding": "bgra8"}),
        ((4, 6), "uint16", {"encoding": "mono16"}, {**IMAGE, "encoding": "mono16"}),
        ((4, 6), "uint8", {}, {"shape": [4, 6]}),
        ((4, 6, 2), "uint8", {}, {"shape": [4, 6, 2]}),
        ((4, 6, 3), "float32", {}, {"shape": [4, 6, 3]}),
        ((4, 6, 3), "uint8", {"encoding": "yuv420"}, {"encoding": "yuv420", "shape": [4, 6, 3]}),
        ((), "float64", {}, {"shape": []}),
        (
            (4, 6, 3),
            "uint8",
            {"width": 1, "primitive": "own"},
            {**IMAGE, "width": 1, "primitive": "own"},
        ),
    ],
)
def test_metadata_say_what_an_array_was_unless_the_sender_does(
    shape: tuple[int, ...], dtype: str, given: dict[str, Any], expected: dict[str, Any]
):
    assert described(np.zeros(shape, dtype), **given) == expected


@pytest.mark.parametrize(
    ("size", "dtype", "metadata", "expected"),
    [
        (72, "uint8", {"encoding": "bgr8", "width": 6, "height": 4}, (4, 6, 3)),
        (72, "uint8", {"encoding": "RGB8", "width": np.int64(6), "height": 4}, (4, 6, 3)),
        (24, "uint16", {"encoding": "mono16", "width": 6, "height": 4}, (4, 6)),
        (72, "uint8", {"encoding": "bgr8", "width": 4, "height": 6, "shape": [4, 6, 3]}, (6, 4, 3)),
        (72, "uint8", {"encoding": "bgr8", "width": 7, "height": 4}, (72,)),
        (72, "float32", {"encoding": "bgr8", "width": 6, "height": 4}, (72,)),
        (72, "uint8", {"encoding": "jpeg", "width": 6, "height": 4}, (72,)),
        (72, "uint8", {"encoding": "bgr8", "width": "6", "height": None}, (72,)),
        (12, "float32", {"shape": [2, 6]}, (2, 6)),
        (12, "float32", {"shape": [2, 7]}, (12,)),
        (12, "float32", {"shape": [-2, -6]}, (12,)),
        (12, "float32", {"shape": "2x6"}, (12,)),
        (1, "float32", {"shape": [1] * 9}, (1,)),
        (1, "float64", {"shape": []}, ()),
        (12, "float32", {}, (12,)),
    ],
)
def test_flat_array_gets_the_shape_that_its_metadata_tell_if_it_fits(
    size: int, dtype: str, metadata: dict[str, Any], expected: tuple[int, ...]
):
    flat = np.arange(size).astype(dtype)

    array = shaped(flat, metadata)

    assert array.shape == expected
    assert np.shares_memory(array, flat)


def test_text_of_the_launcher_is_an_array_of_one_string():
    import_arrow()

    event = input_event(Event("logs", "zwölf".encode()), InputConfig("logs", is_text=True))

    assert event["value"].equals(pa.array(["zwölf"]))


def test_array_goes_through_a_node_of_dora_and_comes_back_as_it_was(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: source, path: source.py, outputs: [image, boxes, number, bytes]}
          - id: echo
            path: echo.py
            inputs: {image: source/image, boxes: source/boxes, number: source/number,
                     bytes: source/bytes}
            outputs: [image, boxes, number, bytes, names]
          - id: sink
            path: sink.py
            inputs: {image: echo/image, boxes: echo/boxes, number: echo/number, bytes: echo/bytes,
                     names: echo/names}
        """,
        source="""
        import numpy as np
        from dora_rt import Node
        node = Node()
        node.send_output("image", (np.arange(1200) % 251).astype(np.uint8).reshape(20, 20, 3),
                         {"frame": 7})
        node.send_output("boxes", np.arange(12, dtype=np.float32).reshape(2, 6))
        node.send_output("number", np.float64(2.5))
        node.send_output("bytes", b"some")
        """,
        echo="""
        import pyarrow as pa
        from pathlib import Path
        from dora import Node
        node = Node()
        for event in node:
            if event["type"] == "INPUT":
                value, metadata = event["value"], event["metadata"]
                assert isinstance(value, pa.Array)
                note(event["id"], [str(value.type), len(value), sorted(metadata)])
                if event["id"] == "image":
                    array = value.to_numpy()
                    is_whole = array.tolist() == [number % 251 for number in range(1200)]
                    note("flags", [array.flags.writeable, is_whole])
                    address, maps = array.ctypes.data, Path("/proc/self/maps").read_text()
                    ranges = [line.split()[0].split("-") for line in maps.splitlines()
                              if "/dev/shm/drt-" in line]
                    note("is shared memory", any(int(begin, 16) <= address < int(end, 16)
                                                 for begin, end in ranges))
                node.send_output(event["id"], value, metadata)
        node.send_output("names", pa.array(["cat", None]))
        """,
        sink="""
        import numpy as np
        from dora_rt import Node
        for input_id, value, metadata in Node():
            if input_id == "names":
                note("names", [type(value).__name__, value.to_pylist()])
            elif input_id == "bytes":
                note("bytes", bytes(value).decode())
            else:
                note(input_id, [str(value.dtype), value.shape, value.ravel().tolist()[:3]])
            note("metadata of " + input_id, {key: metadata[key] for key in metadata
                                             if key in ("frame", "encoding", "width", "shape")})
        """,
    )

    echo, sink = seen["echo"], seen["sink"]
    names = ["encoding", "frame", "height", "primitive", "timestamp", "width"]
    assert echo["image"] == ["uint8", 1200, names]
    assert echo["flags"] == [False, True]
    assert echo["is shared memory"] is True
    assert echo["boxes"] == ["float", 12, ["shape", "timestamp"]]
    assert echo["number"] == ["double", 1, ["shape", "timestamp"]]
    assert echo["bytes"] == ["uint8", 4, ["timestamp"]]
    assert sink["image"] == ["uint8", [20, 20, 3], [0, 1, 2]]
    assert sink["metadata of image"] == {"frame": 7, "encoding": "bgr8", "width": 20}
    assert sink["boxes"] == ["float32", [2, 6], [0, 1, 2]]
    assert sink["number"] == ["float64", [], [2.5]]
    assert sink["bytes"] == "some"
    assert sink["names"] == ["StringArray", ["cat", None]]


def test_native_nodes_exchange_arrays_of_arrow_and_only_they_import_pyarrow(flow: Flow):
    seen = run_noting(
        flow,
        """
        nodes:
          - {id: source, path: source.py, outputs: [boxes, image]}
          - {id: sink, path: sink.py, inputs: {boxes: source/boxes}}
          - {id: plain, path: plain.py, inputs: {image: source/image}}
          - {id: seen, operator: {python: seen.py, inputs: {image: source/image}}}
        """,
        source="""
        import numpy as np
        import pyarrow as pa
        from dora_rt import Node
        node = Node()
        node.send_output("boxes", pa.array([{"bbox": [1.0, 2.0]}]), {"format": "xyxy"})
        node.send_output("image", pa.array(np.zeros(6, np.uint8)))
        """,
        sink="""
        import sys
        from dora_rt import Node
        node = Node()
        note("before", "pyarrow" in sys.modules)
        event = node.next()
        note("value", event.value.to_pylist())
        note("metadata", event.metadata["format"])
        """,
        plain="""
        import sys
        from dora_rt import Node
        event = Node().next()
        note("value", event.value.tolist())
        note("pyarrow", "pyarrow" in sys.modules)
        """,
        seen="""
        import sys
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                note("pyarrow", "pyarrow" in sys.modules)
                return DoraStatus.CONTINUE
        """,
    )

    assert seen["sink"] == {"before": False, "value": [{"bbox": [1.0, 2.0]}], "metadata": "xyxy"}
    assert seen["plain"] == {"value": [0] * 6, "pyarrow": False}
    assert seen["seen"] == {"pyarrow": False}
