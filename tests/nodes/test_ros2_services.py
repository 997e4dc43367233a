"""Services over zenoh: asked and served, and what becomes of a request that nobody answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dora_rt.nodes.ros2.bridge import Bridge, Exchange
from dora_rt.nodes.ros2.ros_entities import Identity, Role
from dora_rt.nodes.ros2.routes import parse_routes
from dora_rt.nodes.ros2.service_exchange import CalledService, ServedService, ServicePort

from dora_rt.testing import FakeNode, Sent, make_event
from tests.harness.flow import Flow
from tests.harness.waiting import PATIENCE_S, eventually
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

ADD = "sum=/add:example_interfaces/AddTwoInts,json"


@pytest.fixture
def address() -> Iterator[str]:
    where = free_address()
    router = Router.open(where)
    yield where
    router.close()


def service(text: str, role: Role) -> ServicePort:
    (route,) = parse_routes(text)
    return maker().make_service(route, role)


def bridge(node: FakeNode, address: str, *exchanges: Exchange, name: str = "ours") -> Bridge:
    return Bridge(node, exchanges, lambda: ZenohTransport.open(address, Identity(name)))


def answers(node: FakeNode) -> list[Any]:
    return [json.loads(one.value) if one.value else one.metadata["error"] for one in node.sent]


def is_connected(one: Bridge) -> bool:
    """Whether a question gets through: no sample is left out for want of a connection."""
    before = one.unsent
    one.take(make_event("sum", b'{"a": 0}', {"request_id": "probe"}))
    return one.unsent == before


def ask(asking: Bridge, node: FakeNode, a: int, b: int, request_id: str) -> Sent:
    """Ask, and return the answer."""
    question = json.dumps({"a": a, "b": b}).encode()
    asking.take(make_event("sum", question, {"request_id": request_id}))
    eventually(lambda: any(one.metadata.get("request_id") == request_id for one in node.sent))
    return next(one for one in node.sent if one.metadata.get("request_id") == request_id)


def test_question_is_answered_with_its_request_id(address: str):
    server, client = FakeNode(output_ids=("sum",)), FakeNode(output_ids=("sum",))
    serving = bridge(server, address, ServedService(service(ADD, Role.SERVER)), name="server")
    asking = bridge(client, address, CalledService(service(ADD, Role.CLIENT)))

    with serving, asking:
        eventually(lambda: is_connected(asking) and bool(server.sent))
        asking.take(make_event("sum", b'{"a": 2, "b": 3}', {"request_id": "seven"}))
        eventually(lambda: any(one.value == b'{"a":2,"b":3}' for one in server.sent))
        request = next(one for one in server.sent if one.value == b'{"a":2,"b":3}')
        serving.take(make_event("sum", b'{"sum": 5}', dict(request.metadata)))
        eventually(lambda: {"sum": 5} in answers(client))

    answer = next(one for one in client.sent if one.value == b'{"sum":5}')
    assert answer.metadata["request_id"] == "seven"


def test_question_to_nobody_is_answered_with_an_error_at_once(address: str):
    client = FakeNode(output_ids=("sum",))
    asking = bridge(client, address, CalledService(service(f"{ADD},timeout=60", Role.CLIENT)))

    with asking:
        eventually(lambda: is_connected(asking))
        began = time.monotonic()
        answer = ask(asking, client, 2, 3, "one")

    assert time.monotonic() - began < PATIENCE_S
    assert "/add: nobody serves it" in answer.metadata["error"]
    assert answer.value == b""


def test_question_that_cannot_be_asked_is_answered_with_the_reason(address: str):
    client = FakeNode(output_ids=("sum",))
    unconnected = bridge(client, address, CalledService(service(ADD, Role.CLIENT)))

    unconnected.take(make_event("sum", b'{"a": 2}', {"request_id": "one"}))
    with bridge(client, address, CalledService(service(ADD, Role.CLIENT))) as asking:
        eventually(lambda: is_connected(asking))
        asking.take(make_event("sum", b'{"c": 2}', {"request_id": "two"}))

    reasons = {one.metadata["request_id"]: one.metadata["error"] for one in client.sent}
    assert reasons["one"] == "/add is not connected yet"
    assert "has no field c" in reasons["two"]


def test_question_that_is_not_answered_in_time_is_answered_with_an_error(address: str):
    server, client = FakeNode(output_ids=("sum",)), FakeNode(output_ids=("sum",))
    serving = bridge(server, address, ServedService(service(ADD, Role.SERVER)), name="server")
    asking = bridge(client, address, CalledService(service(f"{ADD},timeout=0.2", Role.CLIENT)))

    with serving, asking:
        eventually(lambda: is_connected(asking) and bool(server.sent))
        answer = ask(asking, client, 2, 3, "one")

    assert "not within 0.2 s" in answer.metadata["error"]


def test_server_that_leaves_in_the_middle_of_a_call_ends_it(address: str):
    server, client = FakeNode(output_ids=("sum",)), FakeNode(output_ids=("sum",))
    serving = bridge(server, address, ServedService(service(ADD, Role.SERVER)), name="server")
    asking = bridge(client, address, CalledService(service(f"{ADD},timeout=60", Role.CLIENT)))

    with asking:
        with serving:
            eventually(lambda: is_connected(asking) and bool(server.sent))
            asking.take(make_event("sum", b'{"a": 1}', {"request_id": "one"}))
            eventually(lambda: any(one.value == b'{"a":1,"b":0}' for one in server.sent))
        eventually(lambda: any(one.metadata.get("request_id") == "one" for one in client.sent))

    (answer,) = [one for one in client.sent if one.metadata["request_id"] == "one"]
    assert "nobody serves it" in answer.metadata["error"]


def test_answer_to_no_request_and_question_that_is_none_cost_themselves_only(
    address: str, caplog: Any
):
    server, client = FakeNode(output_ids=("sum",)), FakeNode(output_ids=("sum",))
    serving = bridge(server, address, ServedService(service(ADD, Role.SERVER)), name="server")
    asking = bridge(client, address, CalledService(service(ADD, Role.CLIENT)))

    with serving, asking:
        serving.take(make_event("sum", b'{"sum": 5}', {"request_id": "unknown"}))
        eventually(lambda: is_connected(asking) and bool(server.sent))
        asking.take(make_event("sum", b'{"c": 5}'))
        serving.take(make_event("sum", b'{"sum": 7}', dict(server.sent[-1].metadata)))
        eventually(lambda: {"sum": 7} in answers(client))

    assert "answers no request that waits; copy request_id" in caplog.text
    assert "has no field c" in caplog.text


def test_service_is_served_and_called_by_dataflows(flow: Flow, address: str):
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: asker
            path: asker.py
            inputs: {{tick: dora/timer/millis/50, sum: client/sum}}
            outputs: [sum]
          - id: client
            module: dora_rt.nodes.ros2
            args: --router {address} --call {ADD}
            inputs: {{sum: asker/sum}}
            outputs: [sum]
          - id: server
            module: dora_rt.nodes.ros2
            args: --router {address} --serve {ADD}
            inputs: {{sum: adder/sum}}
            outputs: [sum]
          - {{id: adder, path: adder.py, inputs: {{sum: server/sum}}, outputs: [sum]}}
        """,
    )
    flow.write(
        "asker.py",
        """
        import json
        from dora_rt import Node
        node = Node()
        for event in node:
            if event.id == "tick":
                node.send_output("sum", json.dumps({"a": event.seq, "b": 1}).encode(),
                                 {"request_id": str(event.seq)})
            elif event.value:
                print(int(event.metadata["request_id"]) + 1 == json.loads(event.value)["sum"])
                node.stop_dataflow()
        """,
    )
    flow.write(
        "adder.py",
        """
        import json
        from dora_rt import Node
        node = Node()
        for event in node:
            asked = json.loads(event.value)
            answer = json.dumps({"sum": asked["a"] + asked["b"]}).encode()
            node.send_output("sum", answer, event.metadata)
        """,
    )

    done = flow.run("--stop-after", "20s")

    assert done.exit_code == 0, done.out + done.err
    assert "True" in done.lines("asker")


def test_private_name_is_below_that_of_the_node():
    (route,) = parse_routes("led=~/led:std_srvs/SetBool")

    assert Identity("board", "/robot1").resolve(route.name) == "/robot1/board/led"


@pytest.mark.programs
def test_doras_own_stack_serves_us_and_is_served(address: str, tmp_path: Path):
    python = python_with("dora", "pyarrow")
    prefix = ros_prefix(tmp_path / "ros")
    script = str(Path(__file__).with_name("peer_of_dora.py"))
    config = str(zenoh_config(tmp_path, address))
    theirs, ours = "sum=/dora_switch:std_srvs/SetBool,json", "ours=/switch:std_srvs/SetBool,json"
    node = FakeNode(output_ids=("sum", "ours"))
    both = bridge(
        node,
        address,
        CalledService(service(theirs, Role.CLIENT)),
        ServedService(service(ours, Role.SERVER)),
    )
    with both, running([python, script, config, "services"], {"AMENT_PREFIX_PATH": prefix}) as peer:
        both.take(make_event("sum", b'{"data": true}', {"request_id": "one"}))
        eventually(lambda: any(one.metadata.get("request_id") == "one" for one in node.sent))
        eventually(lambda: any(one.output_id == "ours" for one in node.sent))
        asked = next(one for one in node.sent if one.output_id == "ours")
        answer = b'{"success": true, "message": "ours"}'
        both.take(make_event("ours", answer, dict(asked.metadata)))
        assert peer.stdout is not None
        told = peer.stdout.readline()

    answered = next(one for one in node.sent if one.metadata.get("request_id") == "one")
    assert json.loads(answered.value) == {"success": True, "message": "dora says True"}
    assert json.loads(asked.value) == {"data": True}
    assert told.strip() == "answered {'success': True, 'message': 'ours'}"
