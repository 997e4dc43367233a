"""`serves:` and `calls:` in a dataflow file."""

from __future__ import annotations

import pytest

from dora_rt.descriptor import parse_descriptor
from dora_rt.descriptor.tree.model import Descriptor, Node
from dora_rt.errors import DescriptorError
from dora_rt.node_config import QueuePolicy


def parse(*nodes: str) -> Descriptor:
    text = "nodes:\n" + "".join(f"  - {{path: x.py, {node}}}\n" for node in nodes)
    return parse_descriptor(text, "flow.yml")


def ports(node: Node) -> tuple[list[str], list[str]]:
    inputs = [f"{one.id} < {one.source}" for one in node.inputs]
    return inputs, [one.id for one in node.outputs]


def test_each_client_has_an_output_of_the_server_to_itself():
    flow = parse(
        "id: a, calls: {plan: map/plan}",
        "id: b, calls: {ask: map/plan}",
        "id: map, serves: [plan]",
    )

    a, b, server = flow.nodes
    assert ports(a) == (["plan.response < map/plan.response/a"], ["plan.request"])
    assert ports(b) == (["ask.response < map/plan.response/b"], ["ask.request"])
    assert ports(server) == (
        ["plan.request/a < a/plan.request", "plan.request/b < b/ask.request"],
        ["plan.response/a", "plan.response/b"],
    )
    assert {one.queue_policy for node in flow.nodes for one in node.inputs} == {QueuePolicy.BLOCK}


def test_goal_has_four_edges_of_which_feedback_drops_the_oldest():
    client, server = parse("id: a, calls: {go: b/drive}", "id: b, serves: {drive: goal}").nodes

    assert ports(client)[1] == ["go.goal", "go.cancel"]
    assert ports(server)[1] == ["drive.feedback/a", "drive.result/a"]
    policies = {one.id: one.queue_policy.value for one in (*client.inputs, *server.inputs)}
    assert policies == {
        "go.feedback": "drop_oldest",
        "go.result": "block",
        "drive.goal/a": "block",
        "drive.cancel/a": "block",
    }


def test_words_of_ros2_are_understood():
    assert parse("id: a, calls: {x: b/go, y: b/ask}", "id: b, serves: {go: action, ask: service}")


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ("{x: mpa/plan}", "[plan]", "no node 'mpa' exists; did you mean 'map'?"),
        ("{x: map/paln}", "[plan]", "which node 'map' does not serve; did you mean 'plan'?"),
        ("{x: map/plan}", "[]", "it serves nothing: add 'serves: [plan]' to it"),
        ("{x: a/plan}", "[plan]", "node 'a' calls 'a/plan', which is itself"),
        ("{x: map}", "[plan]", "expected <node>/<service>, such as map_server/plan"),
        ("[map/plan]", "[plan]", "expected a mapping such as '{plan: map_server/plan}'"),
        ("{x: map/plan, y: map/plan}", "[plan]", "calls 'map/plan' twice; keep one name for it"),
        ("{}", "[plan, plan]", "node 'map' serves 'plan' twice"),
        ("{}", "{plan: goals}", "write call or goal"),
        ("{}", "plan", "expected a list such as '[plan]'"),
        ("{plan: map/plan}, outputs: [plan.request]", "[plan]", "'a/plan.request' is made by"),
    ],
)
def test_what_does_not_fit_is_told(client: str, server: str, expected: str):
    with pytest.raises(DescriptorError) as refused:
        parse(f"id: a, calls: {client}", f"id: map, serves: {server}")

    assert expected in str(refused.value)


def test_service_that_nobody_calls_is_noted():
    (note,) = parse("id: map, serves: [plan]").notes

    assert note.endswith("no node calls 'map/plan'")


def test_nodes_that_call_each_other_are_no_deadlock():
    assert parse("id: a, calls: {x: b/x}, serves: [y]", "id: b, calls: {y: a/y}, serves: [x]")


def test_block_edge_to_a_node_that_may_wait_in_a_call_for_its_writer_is_a_deadlock():
    block = "{source: b/out, queue_policy: block}"
    with pytest.raises(DescriptorError) as refused:
        parse(
            f"id: a, calls: {{x: c/x}}, inputs: {{in: {block}}}",
            "id: b, serves: [y], outputs: [out]",
            "id: c, calls: {y: b/y}, serves: [x]",
        )

    assert "deadlock: b waits for a to read, which may wait for its answer" in str(refused.value)
    assert parse(f"id: a, inputs: {{in: {block}}}", "id: b, outputs: [out]")


def test_operators_neither_serve_nor_call():
    text = "nodes:\n  - {id: a, operator: {python: x.py}, serves: [plan]}\n"

    with pytest.raises(DescriptorError, match="'serves' of node 'a' has no meaning beside"):
        parse_descriptor(text, "flow.yml")


def test_call_to_a_node_that_is_not_enabled_is_left_out():
    flow = parse(
        "id: a, calls: {plan: map/plan, go: wheels/go}",
        "id: map, serves: [plan], enabled: false",
        "id: wheels, serves: {go: goal}",
    )

    assert ports(flow.nodes[0])[1] == ["go.goal", "go.cancel"]
    assert flow.notes == ("flow.yml:2:33: call 'a/plan' is left out: node 'map' is not enabled",)
