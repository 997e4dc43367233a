"""The node for tests refuses what the real one refuses."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dora_rt.errors import (
    OperatorError,
    ParameterRefusedError,
    UnknownOutputError,
    UnknownParameterError,
    UnsupportedValueError,
)
from dora_rt.event import DoraStatus, ParameterChanged
from dora_rt.testing import FakeNode, make_event, run_operator


@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        ("text", None),
        ([1, 2], None),
        (np.array(["a"]), None),
        (b"", {1: 2}),
        (b"", {"a": object()}),
    ],
    ids=["text", "list", "strings", "metadata key", "metadata value"],
)
def test_what_cannot_be_sent_is_refused_and_nothing_is_sent(data: object, metadata: dict | None):
    node = FakeNode()

    with pytest.raises(UnsupportedValueError, match=r"^output 'image': "):
        node.send_output("image", data, metadata)

    assert node.sent == []


def test_time_is_what_the_test_says_and_else_that_of_the_machine():
    node = FakeNode(now_ns=5)

    times = [node.now()]
    node.now_ns += 7
    times.append(node.now())

    assert times == [5, 12]
    assert FakeNode().now() <= time.monotonic_ns()


def test_times_that_are_none_are_refused():
    node = FakeNode()

    with pytest.raises(UnsupportedValueError, match="captured_ns"):
        node.send_output("image", b"", captured_ns=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        node.send_output("image", b"", timeout=-1)


@pytest.mark.parametrize(
    ("clock", "wrong"),
    [
        (time.time_ns, "time.time_ns()"),
        (lambda: time.time_ns() + 3_600 * 10**9, "time.time_ns()"),
        (lambda: time.monotonic_ns() + 2 * 10**9, "a time of another clock"),
        (lambda: 2**63, "a time of another clock"),
    ],
    ids=["wall clock", "in a wrong zone", "boot clock after a suspend", "nonsense"],
)
def test_capture_time_of_another_clock_is_refused_with_the_right_one(clock, wrong):
    node = FakeNode()

    told = (
        rf"captured_ns=\d+ is [\d,]+ s in the future: give time.monotonic_ns\(\), and not {wrong}"
    )
    with pytest.raises(UnsupportedValueError, match=told.replace("time_ns()", r"time_ns\(\)")):
        node.send_output("image", b"", captured_ns=clock())
    with (
        pytest.raises(UnsupportedValueError, match="in the future"),
        node.loan("image", 3, captured_ns=clock()),
    ):
        pass

    assert node.sent == []


def test_capture_time_may_be_a_number_of_numpy_and_not_a_truth():
    node = FakeNode()

    node.send_output("image", b"", captured_ns=np.int64(5))  # type: ignore[arg-type]

    assert node.sent[0].captured_ns == 5
    with pytest.raises(UnsupportedValueError, match=r"captured_ns must be .*, got True"):
        node.send_output("image", b"", captured_ns=True)


def test_capture_time_at_the_end_of_an_exposure_is_taken():
    node = FakeNode()
    captured_ns = time.monotonic_ns() + 10**8

    node.send_output("image", b"", captured_ns=captured_ns)

    assert node.sent[0].captured_ns == captured_ns


@pytest.mark.parametrize("key", ["value", "type", "id", "metadata"])
def test_event_that_is_taken_for_a_dict_says_what_to_write(key: str):
    event = make_event("image", b"x")

    with pytest.raises(TypeError) as raised:
        event[key]

    way_out = "" if key == "type" else f": event.{key}"
    assert str(raised.value) == (
        f"an event of dora_rt.Node is no dict, so there is no event[{key!r}]{way_out}; programs "
        "for dora get dicts from `from dora import Node`"
    )


def test_loan_that_cannot_be_sent_is_refused_before_its_block_begins():
    node = FakeNode()

    with pytest.raises(UnsupportedValueError, match="cannot be loaned"), node.loan("image", 3, "O"):
        raise AssertionError("the block does not run")
    with pytest.raises(ValueError, match="not possible"), node.loan("image", (-1, 3)):
        raise AssertionError("the block does not run")


def test_outputs_are_checked_when_the_test_names_them():
    node = FakeNode(output_ids=("image",))
    node.send_output("image", b"x")

    with pytest.raises(UnknownOutputError, match="its outputs in the dataflow file: image"):
        node.send_output("imgae", b"x")

    assert [sent.output_id for sent in node.sent] == ["image"]


def test_event_that_is_made_is_like_one_that_was_received():
    event = make_event("image", np.zeros((2, 3)), {"frame": 7}, seq=4)

    input_id, value, metadata = event
    assert (input_id, value.shape, metadata["frame"], event.seq) == ("image", (2, 3), 7, 4)
    with pytest.raises(ValueError, match="read-only"):
        value[0, 0] = 1
    with pytest.raises(UnsupportedValueError, match=r"^input 'image': "):
        make_event("image", "text")


class Halving:
    """An operator of ours."""

    def __init__(self) -> None:
        self.is_dropped = False

    def on_input(self, dora_input, send_output):
        if not dora_input["data"].size:
            return DoraStatus.STOP
        send_output("half", dora_input["data"] / 2, dora_input["metadata"])
        return DoraStatus.CONTINUE

    def drop_operator(self):
        self.is_dropped = True


def test_operator_gets_its_inputs_until_it_returns_another_status():
    operator = Halving()
    events = [make_event("whole", np.array(sizes), {"n": 1}) for sizes in ([2.0, 4.0], [], [1.0])]

    run = run_operator(operator, events, output_ids=("half",))

    assert [sent.value.tolist() for sent in run.sent] == [[1.0, 2.0]]
    assert (run.sent[0].output_id, run.sent[0].metadata["n"]) == ("half", 1)
    assert run.status is DoraStatus.STOP
    assert operator.is_dropped


def test_fake_node_has_parameters_and_changes_them_when_the_change_comes():
    changes = [ParameterChanged("x", 2, 1), ParameterChanged("y", None, "a", is_deleted=True)]
    node = FakeNode(
        [make_event("in"), changes[0], make_event("in"), changes[1]], parameters={"x": 1, "y": "a"}
    )

    before = (node.next(), node.parameters())
    changed = node.next_event()
    between = node.parameters()
    # `next` passes over the change of y, and applies it.
    after = (node.next(), node.next(), node.parameters())

    assert before[1] == {"x": 1, "y": "a"}
    assert changed is changes[0]
    assert between == {"x": 2, "y": "a"}
    assert after[1:] == (None, {"x": 2})
    assert node.input_ids() == ()
    with pytest.raises(UnknownParameterError, match="has no parameter 'y'; its parameters: x;"):
        node.parameter("y")


def test_fake_node_refuses_values_that_no_parameter_has():
    with pytest.raises(ParameterRefusedError):
        FakeNode(parameters={"x": object()})


def test_operator_of_dora_gets_changes_of_parameters_and_others_do_not():
    changes = [ParameterChanged("x", 5), ParameterChanged("x", None, 5, is_deleted=True)]
    operator, other = DoraCounting(), Halving()

    run_operator(operator, changes)
    run_operator(other, changes)

    assert operator.types == ["PARAM_UPDATE", "PARAM_DELETED", "STOP"]


class DoraCounting:
    """An operator of dora 1.x."""

    def __init__(self) -> None:
        self.types: list[str] = []

    def on_event(self, dora_event, send_output):
        self.types.append(dora_event["type"])
        if dora_event["type"] == "INPUT":
            send_output("count", dora_event["value"], dora_event["metadata"])
        return DoraStatus.CONTINUE


def test_operator_of_dora_gets_its_event_dicts_and_the_stop():
    operator = DoraCounting()

    run = run_operator(operator, [make_event("in", np.array([3], np.int64))])

    assert operator.types == ["INPUT", "STOP"]
    assert run.sent[0].value.tolist() == [3]
    assert run.status is DoraStatus.CONTINUE


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda dora_input, send_output: None, "on_input returned None on input 'in'"),
        (lambda dora_input, send_output: send_output("other", b""), "no output 'other'"),
    ],
)
def test_operator_that_breaks_its_contract_is_told_so(method: object, message: str):
    operator = type("Operator", (), {})()
    with pytest.raises(OperatorError, match="neither a method `on_input` nor `on_event`"):
        run_operator(operator, [])
    operator.on_input = method

    with pytest.raises(OperatorError, match=message):
        run_operator(operator, [make_event("in")], output_ids=("out",))
