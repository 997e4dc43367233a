"""The contract of dora's `send_output_raw`: who may write, when it is sent, and what is refused.

One dataflow does all of it, each test looks at one thing.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.dora.recording import run_noting
from tests.harness.flow import Flow

# Only since Python 3.12 can a class of ours say BufferError itself.
NO_VIEW = "BufferError" if sys.version_info >= (3, 12) else "ValueError"

YAML = """
    nodes:
      - {id: writer, path: writer.py, outputs: [raw]}
      - id: reader
        path: reader.py
        inputs: {raw: {source: writer/raw, queue_policy: backpressure}}
"""

WRITER = """
    import gc
    import numpy as np
    from dora import Node

    node = Node()

    with node.send_output_raw("raw", 5, {"by": "block"}) as buffer:
        view = memoryview(buffer)
        note("view", [view.format, view.readonly, view.nbytes, view.ndim])
        view[:] = b"block"
        view.release()

    with node.send_output_raw(output_id="raw", data_length=5, metadata={"by": "numpy"}) as buffer:
        array = np.frombuffer(buffer, np.uint8)
        array[:] = 7
        del array

    def fail():
        with node.send_output_raw("raw", 5, {"by": "failed block"}) as buffer:
            raise KeyError("in the block")

    attempt("exception", fail)

    handler = node.send_output_raw("raw", 5, {"by": "put right"})

    def fail_with_handler():
        with handler as buffer:
            memoryview(buffer)[:] = b"wrong"
            raise KeyError("in the block")

    attempt("exception with a handler", fail_with_handler)
    handler.as_memoryview()[:] = b"right"
    attempt("sent after the exception", handler.send)

    handler = node.send_output_raw("raw", 5, {"by": "dropped with a buffer"})
    buffer = handler.as_buffer()
    del handler
    attempt("view after the handler is gone", lambda: memoryview(buffer))
    del buffer

    handler = node.send_output_raw("raw", 5, {"by": "dropped with a view"})
    view = handler.as_memoryview()
    del handler
    view[:] = b"alone"
    note("view without a handler", bytes(view).decode())
    del view

    handler = node.send_output_raw("raw", 4, {"by": "send"})
    buffer = handler.as_buffer()
    note("buffer is cached", handler.as_buffer() is buffer)
    one, two = handler.as_memoryview(), handler.as_memoryview()
    note("memoryviews are fresh", one is not two)
    one[:2] = b"se"
    two[2:] = b"nd"
    attempt("sent with two views", handler.send)
    one.release()
    array = np.asarray(two)
    two.release()
    attempt("sent with an array", handler.send)
    part = array[1:3]
    del array
    attempt("sent with a part of it", handler.send)
    del part
    attempt("sent without a view", handler.send)
    attempt("sent again", handler.send)
    attempt("as_buffer after it", handler.as_buffer)
    attempt("as_memoryview after it", handler.as_memoryview)
    attempt("entered after it", handler.__enter__)
    attempt("view after it", lambda: memoryview(buffer))

    def keep_view():
        with node.send_output_raw("raw", 3, {"by": "kept view"}) as buffer:
            kept.append(np.frombuffer(buffer, np.uint8))

    kept = []
    attempt("block with a view left", keep_view)

    handler = node.send_output_raw("raw", 6, {"by": "send in the block"})

    def send_inside():
        with handler as buffer:
            memoryview(buffer)[:] = b"inside"
            handler.send()

    attempt("block that sent itself", send_inside)

    handler = node.send_output_raw("raw", 4, {"by": "dropped"})
    handler.as_memoryview()[:] = b"drop"
    del handler

    # A view of a sample that was given up keeps its memory: nobody else may write there.
    kept[0][:] = 9
    for number in range(40):
        with node.send_output_raw("raw", 3, {"by": "afterwards"}) as buffer:
            memoryview(buffer)[:] = bytes([number] * 3)
    note("kept view", kept[0].tolist())
    kept.clear()

    with node.send_output_raw("raw", 0, {"by": "nothing"}) as buffer:
        note("nothing", memoryview(buffer).nbytes)
    attempt("negative", lambda: node.send_output_raw("raw", -1))
    attempt("undeclared", lambda: node.send_output_raw("rwa", 3))
    # As many as never fit at once, so the memory of those that nobody sent must come back.
    for _ in range(100):
        node.send_output_raw("raw", 1000, {"by": "dropped"})
    node.send_output("raw", b"end", {"by": "send_output"})
"""

READER = """
    from dora import Node

    received = []
    for event in Node():
        if event["type"] == "INPUT":
            by = event["metadata"]["by"]
            received.append([by, str(event["value"].type), event["value"].to_pylist()])
    note("received", received)
"""


@pytest.fixture(scope="module")
def seen(shared_flow: Flow) -> dict[str, Any]:
    return run_noting(shared_flow, YAML, writer=WRITER, reader=READER)


def received(seen: dict[str, Any], by: str) -> list[list[int]]:
    """Give what the reader got of samples that were sent in one way."""
    entries = [entry for entry in seen["reader"]["received"] if entry[0] == by]
    assert {kind for _, kind, _ in entries} <= {"uint8"}
    return [value for _, _, value in entries]


def test_block_gives_writable_bytes_and_sends_them_at_its_end(seen: dict[str, Any]):
    assert seen["writer"]["view"] == ["B", False, 5, 1]
    assert received(seen, "block") == [list(b"block")]
    assert received(seen, "numpy") == [[7] * 5]


def test_exception_in_the_block_arrives_and_nothing_is_sent(seen: dict[str, Any]):
    assert seen["writer"]["exception"]["raised"][0] == "KeyError"
    assert received(seen, "failed block") == []


def test_sample_can_be_put_right_and_sent_after_an_exception(seen: dict[str, Any]):
    assert seen["writer"]["exception with a handler"]["raised"][0] == "KeyError"
    assert seen["writer"]["sent after the exception"] is None
    assert received(seen, "put right") == [list(b"right")]


def test_buffer_gives_no_view_after_its_handler_is_gone(seen: dict[str, Any]):
    assert seen["writer"]["view after the handler is gone"]["raised"][0] == NO_VIEW
    assert received(seen, "dropped with a buffer") == []


def test_view_outlives_the_handler_and_writes_to_nobodys_memory(seen: dict[str, Any]):
    assert seen["writer"]["view without a handler"] == "alone"
    assert received(seen, "dropped with a view") == []


def test_buffer_is_one_object_and_each_memoryview_a_new_one(seen: dict[str, Any]):
    assert seen["writer"]["buffer is cached"] is True
    assert seen["writer"]["memoryviews are fresh"] is True


@pytest.mark.parametrize("view", ["two views", "an array", "a part of it"])
def test_nothing_is_sent_while_somebody_could_still_write(seen: dict[str, Any], view: str):
    refused = seen["writer"][f"sent with {view}"]

    assert refused["raised"][0] == "RuntimeError"
    assert "buffer view(s) are still open" in refused["text"]


def test_sample_is_sent_once_the_views_are_gone_and_only_once(seen: dict[str, Any]):
    assert seen["writer"]["sent without a view"] is None
    assert seen["writer"]["sent again"] == {
        "raised": ["RuntimeError", "Exception", "BaseException", "object"],
        "text": "Sample has already been sent",
    }
    assert received(seen, "send") == [list(b"send")]


@pytest.mark.parametrize("access", ["as_buffer", "as_memoryview", "entered"])
def test_memory_is_not_given_after_the_sample_was_sent(seen: dict[str, Any], access: str):
    refused = seen["writer"][f"{access} after it"]

    assert refused["raised"][0] == "RuntimeError"
    assert refused["text"] == "Cannot access buffer: the sample has already been sent"


def test_buffer_gives_no_view_after_the_sample_was_sent(seen: dict[str, Any]):
    assert seen["writer"]["view after it"]["raised"][0] == NO_VIEW


def test_block_that_ends_with_a_view_fails_and_sends_nothing(seen: dict[str, Any]):
    refused = seen["writer"]["block with a view left"]

    assert refused["raised"][0] == "RuntimeError"
    assert refused["text"].startswith("Failed to send: Cannot send: 1 buffer view(s)")
    assert received(seen, "kept view") == []


def test_memory_with_a_view_is_nobody_elses_even_when_the_sample_was_given_up(
    seen: dict[str, Any],
):
    assert seen["writer"]["kept view"] == [9, 9, 9]
    assert received(seen, "afterwards") == [[number] * 3 for number in range(40)]


def test_block_after_which_everything_is_sent_already_says_so(seen: dict[str, Any]):
    assert seen["writer"]["block that sent itself"]["raised"][0] == "RuntimeError"
    assert seen["writer"]["block that sent itself"]["text"] == (
        "Failed to send: Sample has already been sent"
    )
    assert received(seen, "send in the block") == [list(b"inside")]


def test_handler_that_nobody_sends_sends_nothing_and_its_memory_comes_back(seen: dict[str, Any]):
    assert received(seen, "dropped") == []
    assert received(seen, "send_output") == [list(b"end")]


def test_sample_may_be_empty_but_not_less(seen: dict[str, Any]):
    assert seen["writer"]["nothing"] == 0
    assert received(seen, "nothing") == [[]]
    assert seen["writer"]["negative"]["raised"][0] == "OverflowError"


def test_undeclared_output_is_refused_before_anything_is_written(seen: dict[str, Any]):
    assert "RuntimeError" in seen["writer"]["undeclared"]["raised"]
    assert "its outputs in the dataflow file: raw" in seen["writer"]["undeclared"]["text"]
