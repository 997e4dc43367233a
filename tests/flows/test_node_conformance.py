"""`Node` in a dataflow, and the nodes without one, do and refuse the same things."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dora_rt
from dora_rt import Event, Goal, Loan, Node, NodeLike
from dora_rt.compat.dora import Node as DoraNode
from dora_rt.compat.dora.testing import MockNode
from dora_rt.event import InputClosed
from dora_rt.testing import FakeNode, make_event
from tests.flows.behaviours import (
    BEHAVIOURS,
    DORA_BEHAVIOURS,
    GIVEN,
    INPUT,
    OUTPUT,
    PARAMETERS,
    SESSION_BEHAVIOURS,
    seen,
)
from tests.harness.flow import Flow

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]
NAMES = [*BEHAVIOURS, *DORA_BEHAVIOURS, *SESSION_BEHAVIOURS]
QUEUE = "queue_size: 100"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let a node of a dataflow behave in each way, and one more that stops another dataflow."""
    folder = tmp_path_factory.mktemp("real")
    for names in ([name for name in NAMES if name != "stop"], ["stop"]):
        flow = Flow(folder)
        program = "path: behaviours.py, args"
        nodes = [f"{{id: feed, {program}: feed, outputs: [out]}}"]
        inputs = [f"{name}: {{source: {name}/out, {QUEUE}}}" for name in names]
        nodes += [
            f"{{id: {name}, {program}: {name}, outputs: [out], inputs: {{in: {{source: feed/out, "
            f"{QUEUE}}}}}, parameters: {json.dumps(PARAMETERS)}}}"
            for name in names
        ]
        nodes.append(f"{{id: keep, {program}: keep, inputs: {{{', '.join(inputs)}}}}}")
        script = (ROOT / "tests/flows/behaviours.py").read_text()
        (folder / "behaviours.py").write_text(script)
        flow.write("flow.yml", "nodes:\n" + "".join(f"  - {node}\n" for node in nodes))

        done = flow.run(timeout_s=50)

        assert done.exit_code == 0, done.out + done.err
        (folder / "kept.json").rename(folder / f"kept{len(names)}.json")
    yield folder


def observed(real: Path, name: str) -> Any:
    return json.loads((real / f"{name}.json").read_text())


def kept(real: Path, name: str) -> Any:
    found: dict[str, Any] = {}
    for path in real.glob("kept*.json"):
        found.update(json.loads(path.read_text()))
    return found.get(name, [])


def fake_node(name: str) -> FakeNode:
    events = [make_event(INPUT, *given, seq=seq) for seq, given in enumerate(GIVEN)]
    closed = InputClosed(INPUT, is_final=True)
    return FakeNode(
        [*events, closed],
        node_id=name,
        input_ids=(INPUT,),
        output_ids=(OUTPUT,),
        parameters=PARAMETERS,
    )


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_fake_node_behaves_as_a_node_of_a_dataflow(real: Path, name: str):
    fake = fake_node(name)

    found = json.loads(json.dumps(BEHAVIOURS[name](fake)))

    assert found == observed(real, name)
    sent = [seen(one.value, one.metadata) for one in fake.sent]
    if name == "send":
        # A real node inherits the telemetry context of the input that it answers.
        sent[-1][1] = kept(real, name)[-1][1]
    # A stop ends the readers as well: nobody promises that they still see what is sent then.
    assert name == "stop" or sent == kept(real, name)


def test_the_behaviours_see_what_they_are_to_see(real: Path):
    events, *_, is_stopped = observed(real, "receive")
    assert len(events) == len(GIVEN)
    assert is_stopped
    assert observed(real, "receive_changes")[0] == [[INPUT, True]]
    assert observed(real, "be_refused")[0] == "UnknownOutputError"
    assert "none" not in observed(real, "be_refused")
    assert set(observed(real, "close")[0]) == {"NodeClosedError", "UnknownOutputError"}
    assert observed(real, "stop")[1] == ["SentAfterStopError"] * 2
    assert len(kept(real, "send")) == len(GIVEN) + 2
    values = list(PARAMETERS.values())
    assert observed(real, "have_parameters")[:2] == [PARAMETERS, values]
    assert observed(real, "have_parameters")[4] == "UnknownParameterError"
    assert [one[0][2] for one in kept(real, "lend")][:2] == ["[[7, 7, 7], [7, 7, 7]]", "[1, 1]"]


def test_mock_node_gives_a_loop_what_a_node_of_dora_gives(real: Path):
    mock = MockNode([(INPUT, b"")] * len(GIVEN))

    last, count, *rest = DORA_BEHAVIOURS["dora_receive"](mock)

    real_last, real_count, *real_rest = observed(real, "dora_receive")
    assert (last, count, rest) == (real_last, real_count, real_rest)


def test_mock_node_gives_parameters_as_a_node_of_dora_gets_them(real: Path):
    update = {"type": "PARAM_UPDATE", "kind": "dora"}
    given = [{**update, "id": name, "value": value} for name, value in PARAMETERS.items()]

    assert DORA_BEHAVIOURS["dora_parameters"](MockNode(given)) == observed(real, "dora_parameters")


def test_mock_node_keeps_what_a_node_of_dora_sends(real: Path):
    mock = MockNode([])

    DORA_BEHAVIOURS["dora_send"](mock)

    assert mock.outputs[OUTPUT] == [value for value, _ in GIVEN]
    assert len(kept(real, "dora_send")) == len(GIVEN)


def public(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


def test_signatures_of_the_nodes_are_the_same():
    real, like, fake = public(Node), public(NodeLike), public(FakeNode)

    assert real.keys() - like.keys() == {
        "input_queues",
        "input_sources",
        "latched_inputs",
        "latched_outputs",
        "output_queues",
    }
    assert like.keys() == fake.keys()
    for name, signature in like.items():
        others = [real[name], fake[name]]
        if name == "loan":  # the protocol promises less than a Loan
            others = [one.replace(return_annotation=signature.return_annotation) for one in others]
        assert others == [signature] * 2, name


def test_signatures_of_the_nodes_of_dora_are_the_same():
    real, mock = public(DoraNode), public(MockNode)

    assert mock.keys() <= real.keys()
    for name, signature in mock.items():
        parameters = [(one.name, one.kind, one.default) for one in signature.parameters.values()]
        expected = [(one.name, one.kind, one.default) for one in real[name].parameters.values()]
        assert parameters == expected, name


def test_session_refuses_to_close_what_is_no_output(real: Path):
    assert observed(real, "close_one_output") == ["UnknownOutputError", "none", "NodeClosedError"]


def test_package_shows_its_public_names_and_each_of_them_is_there():
    shown = set(dir(dora_rt))

    assert shown == {*dora_rt.__all__, "errors", "testing", "__version__"}
    for name in shown:
        assert getattr(dora_rt, name) is not None
    returned = {Node.next_event: Event, dora_rt.attach: dora_rt.Watch, dora_rt.run: dora_rt.Report}
    for call, kind in returned.items():
        assert kind.__name__ in str(inspect.signature(call).return_annotation)
        assert kind.__name__ in shown


PUBLIC = [
    Node,
    Node.next,
    Node.next_event,
    Node.try_next,
    Node.send_output,
    Node.loan,
    Node.stop_dataflow,
    Node.parameter,
    Node.call,
    Node.serve,
    Node.reply,
    Node.refuse,
    Node.send_goal,
    Node.feedback,
    Node.finish,
    Node.is_cancelled,
    Goal.next,
    Goal.result,
    Loan.send,
    Loan.cancel,
    Event.metadata,
    dora_rt.attach,
    dora_rt.run,
]


def raised(docstring: str) -> set[str]:
    """Return the exceptions that a docstring lists."""
    _, _, listed = inspect.cleandoc(docstring).partition("Raises:\n")
    lines = itertools.takewhile(lambda line: line.startswith(" "), listed.splitlines())
    entries = [line for line in lines if re.match(r" {4}\w", line)]
    return {name for entry in entries for name in entry.partition(":")[0].strip().split(", ")}


def test_docstrings_and_the_table_of_errors_tell_of_the_same_exceptions():
    text = (ROOT / "docs/python-api.md").read_text().partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", text.replace("| |", "|  |"), re.M)
    documented = {
        (name, place) for name, _, places in rows for place in re.findall(r"`([\w.]+)`", places)
    }

    told = set()
    for member in PUBLIC:
        made = member.fget if isinstance(member, property) else member
        docstring = (Node.__init__ if made is Node else made).__doc__
        place = made.__qualname__.removeprefix("Node.").removeprefix("CallMethods.")
        told |= {(name, place) for name in raised(docstring) if hasattr(dora_rt.errors, name)}

    assert told == documented
    for name, also, _ in rows:
        bases = {base.__name__ for base in getattr(dora_rt.errors, name).__mro__}
        assert set(re.findall(r"\w+", also)) <= bases, name
