"""What a node does, seen by itself: for every class that is a node, with and without a dataflow.

`python behaviours.py NAME` is the node that behaves as NAME, and writes what it saw to NAME.json;
`python behaviours.py feed` is its source, and `python behaviours.py keep` writes down what it sent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dora_rt.event import TELEMETRY_KEY, Change, Event, InputClosed

INPUT, OUTPUT = "in", "out"
PARAMETERS = {"x": 0.5, "names": ["a", "b"], "is_on": True, "text": "é"}
TRANSPOSED = np.arange(6, dtype=np.int16).reshape(2, 3).T
GIVEN: list[tuple[Any, dict[str, Any] | None]] = [
    (b"bytes", {"number": 1, "list": [1, {"a": None}]}),
    (bytearray(b"bytearray"), None),
    (memoryview(b"0123456789")[2:8:2], None),
    (b"", {TELEMETRY_KEY: "traceparent:x;"}),
    (np.arange(6, dtype=np.float32).reshape(1, 2, 3), {"name": "é"}),
    (TRANSPOSED, None),
    (np.arange(3, dtype=">i4"), None),
    (np.array([True, False]), None),
    (np.array([1 + 2j]), None),
    (np.float64(1.5), None),
    (np.zeros((0, 4), np.uint8), None),
    (pa.array([1.5, 2.5]), None),
    (pa.array(["a", None]), None),
]


def seen(value: Any, metadata: dict[str, Any]) -> list[Any]:
    """Write down what arrived; the telemetry context is always there for who receives."""
    if isinstance(value, bytes):
        what = ["bytes", value.decode()]
    elif isinstance(value, np.ndarray):
        what = [value.dtype.str, list(value.shape), repr(value.tolist()), value.flags.writeable]
    else:
        what = [str(value.type), value.to_pylist()]
    return [what, {TELEMETRY_KEY: "", **metadata}]


def refusal(call: Callable[[], object]) -> str:
    """Name the exception of a call."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "none"


def ids(node: Any) -> object:
    before = node.is_stopped()
    return [node.id(), node.input_ids(), node.output_ids(), before]


def receive(node: Any) -> object:
    events = [[*seen(event.value, event.metadata), event.id, event.seq] for event in node]
    return [events, node.next(), node.next(timeout=0), node.try_next(), node.is_stopped()]


def receive_changes(node: Any) -> object:
    ends = []
    while (event := node.next_event(timeout=20)) is not None:
        assert isinstance(event, (Event, Change))
        if isinstance(event, InputClosed):
            ends.append([event.id, event.is_final])
    return [ends, node.next_event()]


def have_parameters(node: Any) -> object:
    changed = node.parameters()
    changed["names"].append("mine")
    given = [node.parameter(name) for name in PARAMETERS]
    given[1].append("mine")
    return [
        node.parameters(),
        [node.parameter(name) for name in PARAMETERS],
        node.parameter("none", None),
        node.parameter("x", "a default"),
        refusal(lambda: node.parameter("none")),
        refusal(lambda: node.parameter(1)),
    ]


def have_an_event(node: Any) -> object:
    event = node.next(timeout=20)
    first, again = event.metadata, event.metadata
    first["mine"] = 1
    input_id, value, metadata = event
    return [len(event), input_id, bytes(value).decode(), metadata["mine"], again is first]


def send(node: Any) -> object:
    for value, metadata in GIVEN:
        node.send_output(OUTPUT, value, metadata)
    reused = np.zeros(3)
    node.send_output(OUTPUT, reused, captured_ns=1, timeout=30)
    reused[:] = 9
    for _ in node:
        pass
    node.send_output(OUTPUT, b"after the end of the inputs")
    return None


def be_refused(node: Any) -> object:
    send, loan = node.send_output, node.loan
    return [
        refusal(call)
        for call in (
            lambda: send("wrong", b""),
            lambda: send(OUTPUT, "text"),
            lambda: send(OUTPUT, [1, 2]),
            lambda: send(OUTPUT, None),
            lambda: send(OUTPUT, np.array(["a"])),
            lambda: send(OUTPUT, np.ma.masked_array([1], [True])),
            lambda: send(OUTPUT, np.zeros((1,) * 9)),
            lambda: send(OUTPUT, b"", {1: 2}),
            lambda: send(OUTPUT, b"", {"a": object()}),
            lambda: send(OUTPUT, b"", [("a", 1)]),
            lambda: send(OUTPUT, b"", {"a": "x" * 70_000}),
            lambda: send(OUTPUT, b"", captured_ns=1.5),
            lambda: send(OUTPUT, b"", captured_ns=-1),
            lambda: send(OUTPUT, b"", timeout=-1),
            lambda: send(OUTPUT, b"", timeout=float("nan")),
            lambda: loan("wrong", 3),
            lambda: loan(OUTPUT, 3, "O"),
            lambda: loan(OUTPUT, (1,) * 9),
            lambda: loan(OUTPUT, (-1, 3)),
            lambda: loan(OUTPUT, (1.5,)),
            lambda: loan(OUTPUT, 3, "no dtype"),
            lambda: loan(OUTPUT, 3, timeout=-1),
            lambda: node.next(timeout=-1),
            lambda: node.next(timeout="1"),
            lambda: node.next_event(timeout=float("nan")),
        )
    ]


def lend(node: Any) -> object:
    metadata: dict[str, Any] = {}
    with node.loan(OUTPUT, (2, 3), ">i2", metadata) as array:
        is_plain = [array.dtype.isnative, array.flags.c_contiguous, array.flags.writeable]
        array[:] = 7
        metadata["filled"] = "in the block"
    kept = array.flags.writeable
    loan = node.loan(OUTPUT, 2)
    early = refusal(loan.send)
    with loan as array:
        array[:] = 1
        loan.send()
        twice = refusal(loan.send)
    again = refusal(loan.__enter__)
    cancelled = node.loan(OUTPUT, 2)
    with cancelled as array:
        array[:] = 2
        cancelled.cancel()
    late = [refusal(cancelled.send), refusal(loan.cancel), refusal(cancelled.cancel)]
    broken = refusal(lambda: _break_off(node))
    bad = refusal(lambda: _fill_badly(node))
    with node.loan(OUTPUT, (0, 2)):
        pass
    return [is_plain, kept, early, twice, again, late, broken, bad]


def _break_off(node: Any) -> None:
    with node.loan(OUTPUT, 2):
        raise LookupError


def _fill_badly(node: Any) -> None:
    metadata: dict[str, Any] = {}
    with node.loan(OUTPUT, 2, metadata=metadata):
        metadata["bad"] = object()


def close(node: Any) -> object:
    loan = node.loan(OUTPUT, 2)
    node.close()
    node.close()
    calls = (
        node.next,
        node.next_event,
        node.try_next,
        lambda: next(iter(node)),
        lambda: node.send_output(OUTPUT, b"x"),
        loan.__enter__,
        lambda: node.loan(OUTPUT, 2).__enter__(),
        lambda: node.send_output("wrong", b"x"),
    )
    return [[refusal(call) for call in calls], node.is_stopped()]


def stop(node: Any) -> object:
    node.next(timeout=20)
    node.stop_dataflow()
    while not node.is_stopped():
        pass
    node.send_output(OUTPUT, b"before the loop ends")
    end = node.next()
    calls = (lambda: node.send_output(OUTPUT, b"x"), lambda: node.loan(OUTPUT, 2))
    return [end, [refusal(call) for call in calls], node.try_next(), node.is_stopped()]


def close_one_output(node: Any) -> object:
    from dora_rt.node.session import Session

    session = Session.of(node)
    return [
        refusal(lambda: session.close_output("wrong")),
        refusal(lambda: session.close_output(OUTPUT)),
        refusal(lambda: node.send_output(OUTPUT, b"x")),
    ]


def dora_receive(node: Any) -> object:
    events = [
        [event["type"], event["id"], pa.array(event["value"]).to_pylist()]
        if event["type"] == "INPUT"
        else [event["type"], event["id"]]
        for event in node
        if event["type"] not in ("INPUT_CLOSED", "PARAM_UPDATE")
    ]
    return [events[-1], len(events), node.next(), node.try_recv(), node.is_empty()]


def dora_parameters(node: Any) -> object:
    events = [node.next() for _ in PARAMETERS]
    return sorted(events, key=lambda event: event["id"])


def dora_send(node: Any) -> object:
    for value, metadata in GIVEN:
        node.send_output(OUTPUT, value, metadata)
    return None


def be_refused_calls(node: Any) -> object:
    event = node.next()
    return [
        refusal(lambda: node.call("nobody")),
        refusal(lambda: node.call("nobody", timeout=-1)),
        refusal(lambda: node.send_goal("nobody")),
        refusal(lambda: node.serve("nothing", str)),
        refusal(lambda: node.reply(event)),
        refusal(lambda: node.refuse(event, "no")),
        refusal(lambda: node.feedback(event)),
        refusal(lambda: node.finish(event)),
        refusal(lambda: node.is_cancelled(event)),
    ]


BEHAVIOURS = {
    one.__name__: one
    for one in (
        ids, receive, receive_changes, have_parameters, have_an_event, send, be_refused, lend,
        be_refused_calls, close, stop,
    )
}  # fmt: skip
SESSION_BEHAVIOURS = {"close_one_output": close_one_output}
DORA_BEHAVIOURS = {one.__name__: one for one in (dora_receive, dora_parameters, dora_send)}


def main(name: str) -> None:
    from dora_rt import Node

    if name == "feed":
        node = Node()
        for value, metadata in GIVEN:
            node.send_output(OUTPUT, value, metadata)
    elif name == "keep":
        kept: dict[str, list[Any]] = {}
        for event in Node():
            kept.setdefault(event.id, []).append(seen(event.value, event.metadata))
        Path("kept.json").write_text(json.dumps(kept))
    else:
        if name in DORA_BEHAVIOURS:
            import dora

            observed = DORA_BEHAVIOURS[name](dora.Node())
        else:
            observed = {**BEHAVIOURS, **SESSION_BEHAVIOURS}[name](Node())
        Path(f"{name}.json").write_text(json.dumps(observed))


if __name__ == "__main__":
    main(sys.argv[1])
