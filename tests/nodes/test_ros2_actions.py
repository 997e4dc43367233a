"""Actions over zenoh: goals, feedback, cancelling, and goals whose server goes away."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dora_rt.nodes.ros2.action_exchange import CalledAction, ServedAction
from dora_rt.nodes.ros2.bridge import Bridge
from dora_rt.nodes.ros2.ros_entities import Identity
from dora_rt.nodes.ros2.routes import parse_routes

from dora_rt.testing import FakeNode, Sent, make_event
from tests.harness.waiting import eventually
from tests.nodes.ros2_helpers import (
    free_address,
    maker,
    python_with,
    ros_prefix,
    running,
    zenoh_config,
)

pytest.importorskip("zenoh", reason="the extra [ros2] is not installed")
from dora_rt.nodes.ros2.zenoh_transport import Router, ZenohTransport

FIBONACCI = "f=/fibonacci:example_interfaces/Fibonacci,json"


@pytest.fixture
def address() -> Iterator[str]:
    where = free_address()
    router = Router.open(where)
    yield where
    router.close()


class Side:
    """A node that serves or calls an action."""

    def __init__(self, address: str, *, is_served: bool, ports: tuple[str, ...]) -> None:
        self.node = FakeNode(output_ids=ports)
        (route,) = parse_routes(FIBONACCI)
        action = maker().make_action(route, is_served=is_served, ports=ports)
        exchange = ServedAction(action) if is_served else CalledAction(action)
        name = Identity("server" if is_served else "client")
        self.bridge = Bridge(self.node, [exchange], lambda: ZenohTransport.open(address, name))

    def send(self, port: str, value: Any, **metadata: Any) -> None:
        content = b"" if value is None else json.dumps(value).encode()
        self.bridge.take(make_event(port, content, metadata))

    def wait_for(self, port: str, is_it: Callable[[Sent], bool] = lambda _: True) -> Sent:
        """Give the first sample of an output that is the wanted one."""
        eventually(lambda: any(one.output_id == port and is_it(one) for one in self.node.sent))
        return next(one for one in self.node.sent if one.output_id == port and is_it(one))

    def told(self, port: str, goal_id: str) -> list[Any]:
        return [
            json.loads(one.value)
            for one in self.node.sent
            if one.output_id == port and one.metadata["goal_id"] == goal_id
        ]


def test_goal_that_cannot_be_sent_is_aborted_with_the_reason(address: str):
    ports = ("f_feedback", "f_result")
    side = Side(address, is_served=False, ports=ports)

    side.send("f_goal", {"order": 3}, goal_id="one")
    side.send("f_cancel", None, goal_id="one")

    (ended,) = side.node.sent
    assert ended.output_id == "f_result"
    assert ended.metadata["goal_status"] == "aborted"
    assert ended.metadata["goal_id"] == "one"
    assert ended.metadata["error"] == "the action is not connected yet"


@pytest.fixture
def server(address: str) -> Iterator[Side]:
    side = Side(address, is_served=True, ports=("f_goal", "f_cancel"))
    with side.bridge:
        yield side


@pytest.fixture
def client(address: str, server: Side) -> Iterator[Side]:
    side = Side(address, is_served=False, ports=("f_feedback", "f_result"))
    with side.bridge:
        yield side


def is_of(goal_id: str) -> Callable[[Sent], bool]:
    return lambda one: one.metadata["goal_id"] == goal_id


def begun(client: Side, server: Side, goal_id: str) -> Sent:
    """Send a goal until it arrives, since both may still be looking for each other."""
    number = 0

    def is_there() -> bool:
        nonlocal number
        number += 1
        client.send("f_goal", {"order": 5}, goal_id=f"{goal_id}-{number}")
        seen = len(server.node.sent)
        try:
            eventually(lambda: len(server.node.sent) > seen, within_s=0.5)
        except AssertionError:
            return False
        return True

    eventually(is_there)
    return server.wait_for("f_goal")


def test_goal_gets_feedback_and_a_result(server: Side, client: Side):
    probe = begun(client, server, "probe").metadata["goal_id"]

    def is_heard() -> bool:
        # What a server says before the client's end has been found is lost, as in ROS.
        server.send("f_feedback", {"sequence": [0]}, goal_id=probe)
        return any(one.output_id == "f_feedback" for one in client.node.sent)

    eventually(is_heard)
    client.send("f_goal", {"order": 3}, goal_id="mine")
    goal = server.wait_for("f_goal", lambda one: one.value == b'{"order":3}')
    wire_id = goal.metadata["goal_id"]
    for number in (1, 2):
        server.send("f_feedback", {"sequence": [number]}, goal_id=wire_id)
    server.send("f_result", {"sequence": [0, 1, 1]}, goal_id=wire_id, goal_status="succeeded")

    result = client.wait_for("f_result", is_of("mine"))

    assert json.loads(result.value) == {"sequence": [0, 1, 1]}
    assert result.metadata["goal_status"] == "succeeded"
    eventually(lambda: len(client.told("f_feedback", "mine")) == 2)
    assert client.told("f_feedback", "mine") == [{"sequence": [1]}, {"sequence": [2]}]
    assert wire_id == str(uuid.uuid5(uuid.NAMESPACE_OID, "mine"))


def test_goal_is_cancelled_by_who_sent_it(server: Side, client: Side):
    begun(client, server, "probe")
    goal_id = str(uuid.uuid4())
    client.send("f_goal", {"order": 3}, goal_id=goal_id)
    server.wait_for("f_goal", is_of(goal_id))
    client.send("f_cancel", None, goal_id=goal_id)
    server.wait_for("f_cancel", is_of(goal_id))
    server.send("f_result", None, goal_id=goal_id, goal_status="canceled")

    result = client.wait_for("f_result", is_of(goal_id))

    assert result.metadata["goal_status"] == "canceled"


def test_goal_whose_server_goes_away_ends_as_aborted(address: str):
    server = Side(address, is_served=True, ports=("f_goal",))
    client = Side(address, is_served=False, ports=("f_result",))
    with client.bridge:
        with server.bridge:
            begun(client, server, "probe")
            client.send("f_goal", {"order": 3}, goal_id="mine")
            server.wait_for("f_goal", lambda one: one.value == b'{"order":3}')

        result = client.wait_for("f_result", is_of("mine"))

    assert result.metadata["goal_status"] == "aborted"
    assert result.metadata["error"] == "the server of the action is gone"


def test_goal_that_nobody_serves_ends_as_aborted(address: str):
    client = Side(address, is_served=False, ports=("f_result",))
    with client.bridge:
        probe = {"order": 1}
        eventually(lambda: client.send("f_goal", probe, goal_id="probe") or client.bridge.sent)
        client.send("f_goal", {"order": 1}, goal_id="a")

        result = client.wait_for("f_result", is_of("a"))

    assert result.metadata["error"] == "nobody serves the action"


def test_what_belongs_to_no_goal_costs_itself_only(server: Side, client: Side, caplog: Any):
    begun(client, server, "probe")

    server.send("f_feedback", {"sequence": [1]}, goal_id="unknown")
    server.send("f_result", {"sequence": [1]}, goal_id="unknown")
    client.send("f_cancel", None, goal_id="unknown")
    client.send("f_goal", {"wrong": 1})
    client.send("f_goal", {"order": 9}, goal_id="right")

    server.wait_for("f_goal", lambda one: one.value == b'{"order":9}')
    assert "no goal 'unknown' is being reached; copy goal_id" in caplog.text
    assert "so none is cancelled" in caplog.text
    assert "has no field wrong" in caplog.text


def test_ending_of_a_goal_is_one_of_doras_words(server: Side, client: Side, caplog: Any):
    goal = begun(client, server, "probe")
    goal_id = goal.metadata["goal_id"]

    server.send("f_result", {"sequence": []}, goal_id=goal_id, goal_status="done")
    server.send("f_result", {"sequence": []}, goal_id=goal_id, goal_status="aborted")

    client.wait_for("f_result", lambda one: one.metadata["goal_status"] == "aborted")
    assert "expected one of succeeded, canceled, aborted" in caplog.text


def test_goals_have_a_limit_and_results_that_nobody_fetches_make_room(server: Side, client: Side):
    goal = begun(client, server, "probe")
    for number in range(120):
        client.send("f_goal", {"order": number}, goal_id=f"n{number}")

    def count(part: Side, port: str) -> int:
        return sum(one.output_id == port for one in part.node.sent)

    def is_each_answered() -> bool:
        # Those sent before there was a connection are answered, and not counted as sent.
        sent = client.bridge.sent + client.bridge.unsent
        return count(server, "f_goal") + count(client, "f_result") == sent

    eventually(is_each_answered)
    assert count(server, "f_goal") == 100
    assert client.node.sent[-1].metadata["error"] == "the goal was rejected"

    server.send("f_result", {"sequence": []}, goal_id=goal.metadata["goal_id"])
    client.send("f_goal", {"order": 1000}, goal_id="later")

    server.wait_for("f_goal", lambda one: one.value == b'{"order":1000}')


@pytest.mark.programs
def test_doras_own_stack_reaches_our_goals_and_we_reach_its(address: str, tmp_path: Path):
    python = python_with("dora", "pyarrow")
    prefix = ros_prefix(tmp_path / "ros")
    script = str(Path(__file__).with_name("peer_of_dora.py"))
    config = str(zenoh_config(tmp_path, address))
    node = FakeNode(output_ids=("d_result", "d_feedback", "f_goal"))
    (theirs,) = parse_routes("d=/dora_fibonacci:example_interfaces/Fibonacci,json")
    (ours,) = parse_routes(FIBONACCI)
    ports = node.output_ids()
    calling = CalledAction(maker().make_action(theirs, is_served=False, ports=ports))
    serving = ServedAction(maker().make_action(ours, is_served=True, ports=ports))
    both = Bridge(node, [calling, serving], lambda: ZenohTransport.open(address, Identity("ours")))

    def sent(output_id: str) -> list[Sent]:
        return [one for one in node.sent if one.output_id == output_id]

    with both, running([python, script, config, "actions"], {"AMENT_PREFIX_PATH": prefix}) as peer:
        both.take(make_event("d_goal", b'{"order": 5}', {"goal_id": "one"}))
        eventually(lambda: len(sent("d_result")) == 1)
        eventually(lambda: len(sent("f_goal")) == 1)
        (goal,) = sent("f_goal")
        both.take(make_event("f_result", b'{"sequence": [7, 8]}', dict(goal.metadata)))
        assert peer.stdout is not None
        told = peer.stdout.readline()

    (result,) = sent("d_result")
    assert json.loads(result.value) == {"sequence": [0, 1, 5]}
    assert result.metadata == {"goal_id": "one", "goal_status": "succeeded", "encoding": "json"}
    assert json.loads(goal.value) == {"order": 7}
    assert told.strip() == "finished succeeded {'sequence': [7, 8]}"
