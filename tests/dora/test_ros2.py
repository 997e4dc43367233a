"""dora's bridge to ROS 2 in programs: `Ros2Context` and what it makes, on real sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dora_rt.compat import dora
from dora_rt.errors import ParameterRefusedError
from tests.harness.flow import Flow
from tests.harness.waiting import eventually
from tests.nodes.ros2_helpers import (
    free_address,
    python_with,
    ros_prefix,
    running,
    zenoh_config,
)

pytest.importorskip("zenoh", reason="the extra [ros2] is not installed")
from dora_rt.nodes.ros2.zenoh_transport import Router

pytestmark = pytest.mark.programs

PEER = Path(__file__).parents[1] / "nodes" / "peer_of_dora.py"
QOS = dora.Ros2QosPolicies(reliable=True, keep_last=10)
FIBONACCI = "example_interfaces/Fibonacci"
ORDER = pa.struct([("order", pa.int32())])
SEQUENCE = pa.struct([("sequence", pa.list_(pa.int32()))])
Make = Callable[..., Any]


@pytest.fixture
def address() -> Iterator[str]:
    where = free_address()
    router = Router.open(where)
    yield where
    router.close()


@pytest.fixture
def context(address: str, tmp_path: Path) -> Any:
    config = str(zenoh_config(tmp_path, address))
    return dora.Ros2Context(transport=dora.Ros2Transport.zenoh("rep2016", config), domain_id=0)


@pytest.fixture
def make_node(context: Any) -> Iterator[Make]:
    made: list[Any] = []

    def make(name: str, namespace: str = "/", **options: Any) -> Any:
        made.append(context.new_node(name, namespace, dora.Ros2NodeOptions(rosout=True), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def received(subscription: Any, publisher: Any, message: Any) -> Any:
    """Publish until the other end, which is found a moment later, has a message."""
    found: list[Any] = []

    def is_there() -> bool:
        publisher.publish(message)
        found.append(subscription.next())
        return found[-1] is not None

    eventually(is_there)
    return found[-1]


def test_topic_takes_structs_of_arrow_dicts_and_scalars_and_gives_structs(make_node: Make):
    node, other = make_node("here"), make_node("there", "/robot1")
    topic = node.create_topic("/robot1/speed", "geometry_msgs::Twist", QOS)
    subscription = node.create_subscription(topic)
    relative = other.create_topic("speed", "geometry_msgs/Twist", QOS)
    publisher = other.create_publisher(relative)
    message = {"linear": {"x": 0.5}}

    found = [
        received(subscription, publisher, one)
        for one in (pa.array([message]), message, pa.scalar(message))
    ]

    assert [one[0].as_py()["linear"] for one in found] == [{"x": 0.5, "y": 0.0, "z": 0.0}] * 3
    with pytest.raises(RuntimeError, match="no field liner"):
        publisher.publish({"liner": {}})


def test_header_that_is_not_given_is_empty_as_in_dora(make_node: Make):
    node = make_node("here")
    topic = node.create_topic("/goal", "geometry_msgs/PoseStamped", QOS)

    found = received(node.create_subscription(topic), node.create_publisher(topic), {"pose": {}})

    assert found[0].as_py()["header"] == {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""}


def test_service_is_called_and_served_and_a_call_ends_when_its_time_is_over(make_node: Make):
    server = make_node("board").create_service_server("/led", "std_srvs/SetBool", QOS)
    client = make_node("user").create_service_client("/led", "std_srvs/SetBool", QOS)
    assert server.take_request(timeout_s=0) is None

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.call, pa.array([{"data": True}]), 20.0)
        request = server.take_request(timeout_s=20)
        assert request is not None
        number, value = request
        server.send_response(number, pa.array([{"success": value[0].as_py()["data"]}]))
        response = answer.result(20)
        with pytest.raises(RuntimeError, match=r"/led: no response within 0\.1 s"):
            client.call({"data": False}, timeout_s=0.1)

    assert response[0].as_py() == {"success": True, "message": ""}
    with pytest.raises(RuntimeError, match="no request 1 waits"):
        server.send_response(number, {"success": True})


def test_server_that_leaves_in_the_middle_ends_a_call_and_the_wait_for_a_result(make_node: Make):
    other, user = make_node("board"), make_node("user")
    server = other.create_service_server("/led", "std_srvs/SetBool", QOS)
    arm = other.create_action_server("/fibonacci", FIBONACCI, QOS)
    client = user.create_service_client("/led", "std_srvs/SetBool", QOS)
    goals = user.create_action_client("/fibonacci", FIBONACCI, QOS)
    goal_id = goals.send_goal({"order": 3}, timeout_s=20)

    with ThreadPoolExecutor() as pool:
        call = pool.submit(client.call, {"data": True}, 60.0)
        result = pool.submit(goals.take_result, goal_id, 60.0)
        assert server.take_request(timeout_s=20) is not None
        assert arm.take_goal(timeout_s=20) is not None
        other.close()

        with pytest.raises(RuntimeError, match="/led: nobody serves it"):
            call.result(20)
        assert result.result(20) is None


def test_client_of_a_service_that_nobody_serves_is_a_runtime_error(
    make_node: Make, monkeypatch: pytest.MonkeyPatch
):
    from dora_rt.compat.dora import _ros2_ends

    monkeypatch.setattr(_ros2_ends, "_SERVER_S", 0.2)

    with pytest.raises(RuntimeError, match="/led: nobody serves it"):
        make_node("user").create_service_client("/led", "std_srvs/SetBool", QOS)


def test_goal_is_reached_with_feedback_and_another_is_cancelled(make_node: Make):
    server = make_node("arm").create_action_server("/fibonacci", FIBONACCI, QOS)
    client = make_node("user").create_action_client("/fibonacci", FIBONACCI, QOS)
    wanted = pa.array([{"order": 3}], ORDER)

    first = client.send_goal(wanted, timeout_s=20)
    goal = server.take_goal(timeout_s=20)
    assert goal is not None
    # As long as the other end does not know of the subscription, feedback goes nowhere.
    feedback: list[Any] = []

    def is_told() -> bool:
        server.send_feedback(first, pa.array([{"sequence": [0, 1]}], SEQUENCE))
        feedback.append(client.take_feedback(first, timeout_s=0.1))
        return feedback[-1] is not None

    eventually(is_told)
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(client.take_result, first, 20.0)
        server.send_result(first, pa.array([{"sequence": [0, 1, 1]}], SEQUENCE), timeout_s=20)
        status, result = ended.result(20)
    second = client.send_goal(wanted, timeout_s=20)
    code = client.cancel(second, timeout_s=20)
    cancelled = server.take_cancel(timeout_s=20)
    server.send_result(second, {"sequence": []}, status="canceled", timeout_s=0)
    other_status, _ = client.take_result(second, timeout_s=20)

    assert (goal[0], goal[1][0].as_py()) == (first, {"order": 3})
    assert feedback[-1][0].as_py() == {"sequence": [0, 1]}
    assert (status, result[0].as_py()) == ("succeeded", {"sequence": [0, 1, 1]})
    assert (code, cancelled, other_status) == (0, [second], "canceled")
    assert client.cancel(second, timeout_s=20) == 2


def test_goal_that_nobody_takes_and_ids_that_are_none_are_runtime_errors(make_node: Make):
    client = make_node("user").create_action_client("/fibonacci", FIBONACCI, QOS)
    server = make_node("arm").create_action_server("/other", FIBONACCI, QOS)

    with pytest.raises(RuntimeError, match=r"no answer within 0\.1 s"):
        client.send_goal({"order": 3}, timeout_s=0.1)
    with pytest.raises(RuntimeError, match="'7' is no id of a goal"):
        client.take_result("7")
    with pytest.raises(RuntimeError, match="no goal"):
        server.send_result("7", {"sequence": []})
    assert server.take_cancel(timeout_s=0) is None
    assert client.take_feedback("7", timeout_s=0) is None


def test_parameters_keep_their_types_and_other_nodes_see_and_set_them(
    make_node: Make, address: str
):
    from tests.nodes.test_ros2_parameters import Asker

    values = {"speed": 1.5, "flags": [True], "blob": b"\1\2", "names": ["a"]}
    node = make_node("demo", parameters=values)
    asker = Asker(address, "cli")

    node.set_parameter("speed", 2.0)
    node.set_parameter("names", [])
    wanted = [
        {"name": "blob", "value": {"type": 5, "byte_array_value": [7]}},
        {"name": "speed", "value": {"type": 4, "string_value": "fast"}},
        {"name": "names", "value": {"type": 0}},
    ]
    results = asker.asked("/demo", "set_parameters", parameters=wanted)["results"]
    got = asker.asked("/demo", "get_parameters", names=["blob", "names"])["values"]
    asker.transport.close()

    assert node.list_parameters() == ["speed", "flags", "blob", "names"]
    assert [node.get_parameter(name) for name in ("speed", "blob", "no")] == [2.0, b"\7", None]
    assert node.has_parameter("flags")
    assert not node.has_parameter("no")
    assert [one["successful"] for one in results] == [True, False, False]
    assert "is of type double" in results[1]["reason"]
    assert got[0]["byte_array_value"].tolist() == [7]
    with pytest.raises(RuntimeError, match="there is no parameter 'no'"):
        node.set_parameter("no", 1)


@pytest.mark.parametrize(
    "values", [{"use_sim_time": True}, {"x": [1, "two"]}, {"x": [1, True]}, {"x": None}]
)
def test_parameters_that_cannot_be_declared_are_refused(context: Any, values: dict[str, Any]):
    with pytest.raises(ParameterRefusedError):
        context.new_node("bad", "/", dora.Ros2NodeOptions(), parameters=values)


def test_what_cannot_be_is_named(context: Any, make_node: Make, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="compatibility must be"):
        dora.Ros2Transport.zenoh("automatic")
    with pytest.raises(RuntimeError, match="invalid domain 233"):
        dora.Ros2Context(domain_id=233)
    monkeypatch.setenv("ROS_DOMAIN_ID", "many")
    with pytest.raises(RuntimeError, match="invalid ROS_DOMAIN_ID 'many'"):
        dora.Ros2Context()
    with pytest.raises(RuntimeError, match="invalid node name"):
        context.new_node("a b", "/", dora.Ros2NodeOptions())
    with pytest.raises(RuntimeError, match="invalid namespace"):
        context.new_node("a", "b", dora.Ros2NodeOptions())
    with pytest.raises(RuntimeError, match="own_msgs"):
        make_node("here").create_topic("/x", "own_msgs/Thing", QOS)
    with pytest.raises(RuntimeError, match="expected a type such as"):
        make_node("here").create_topic("/x", "Thing", QOS)
    assert context.transport_kind == "zenoh"
    with pytest.raises(AttributeError):
        context.transport_kind = "dds"


def test_messages_are_events_of_a_node_that_waits_for_its_inputs(flow: Flow):
    address = free_address()
    config = zenoh_config(flow.folder, address)
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: robot
            module: dora_rt.nodes.ros2
            args: >-
              --router {address} --start-router --publish text=/text:std_msgs/String,reliable
              --subscribe back=/back:std_msgs/String,reliable
            inputs: {{text: source/text}}
            outputs: [back]
          - {{id: source, path: source.py, inputs: {{tick: dora/timer/millis/20}}, outputs: [text]}}
          - id: program
            path: program.py
            inputs: {{tick: dora/timer/millis/50}}
            outputs: [count]
            env: {{ZENOH_SESSION_CONFIG_URI: {config}}}
            on_exit: stop_all
          - {{id: sink, path: sink.py, inputs: {{back: robot/back, count: program/count}}}}
        """,
    )
    flow.write(
        "source.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("text", b"tick %d" % event.seq)
        """,
    )
    flow.write("sink.py", "from dora_rt import Node\nfor event in Node(): print(event.id)")
    flow.write(
        "program.py",
        """
        import pyarrow as pa
        from dora import Node, Ros2Context, Ros2NodeOptions, Ros2QosPolicies, Ros2Transport
        context = Ros2Context(transport=Ros2Transport.zenoh("rep2016"))
        node = context.new_node("program", "/", Ros2NodeOptions())
        qos = Ros2QosPolicies(reliable=True, keep_last=10)
        reader = node.create_subscription(node.create_topic("/text", "std_msgs/String", qos))
        writer = node.create_publisher(node.create_topic("/back", "std_msgs/String", qos))
        dora_node = Node()
        assert dora_node.next(timeout=0.0)["kind"] == "dora"
        dora_node.merge_external_events(reader)
        try:
            reader.next()
        except RuntimeError as error:
            print(error)
        kinds = {"dora": 0, "external": 0}
        while min(kinds.values()) < 5:
            event = dora_node.next()
            kinds[event["kind"]] += 1
            if event["kind"] == "external":
                text = event["value"][0].as_py()["data"]
                assert text.startswith("tick "), text
                writer.publish(pa.array([{"data": text}]))
                dora_node.send_output("count", event["value"])
        print("both came")
        """,
    )

    done = flow.run("--stop-after", "50s")

    assert done.exit_code == 0, done.out + done.err
    assert "both came" in done.lines("program"), done.out
    assert "subscription was already used: its messages are events of the node" in done.lines(
        "program"
    )
    assert {"back", "count"} <= set(done.lines("sink"))


@pytest.mark.timeout(300)
def test_programs_meet_by_an_installed_rclpy(flow: Flow):
    python = python_with(
        *("rclpy", "std_srvs.srv", "geometry_msgs.msg", "pyarrow"),
        *("dora_rt.nodes.ros2", "cv2", "posix_ipc"),
    )
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: board, path: board.py, inputs: &tick {tick: dora/timer/millis/50}, env: &env
             {ROS_DOMAIN_ID: "77", ROS_AUTOMATIC_DISCOVERY_RANGE: LOCALHOST}}
          - {id: user, path: user.py, inputs: *tick, env: *env, on_exit: stop_all}
        """,
    )
    flow.write(
        "board.py",
        """
        from dora import Node, Ros2Context, Ros2NodeOptions, Ros2QosPolicies
        qos = Ros2QosPolicies(reliable=True, keep_last=10)
        node = Ros2Context().new_node("board", "/", Ros2NodeOptions(), parameters={"gain": 7})
        server = node.create_service_server("/led", "std_srvs/SetBool", qos)
        writer = node.create_publisher(node.create_topic("/speed", "geometry_msgs/Twist", qos))
        for event in Node():
            writer.publish({"linear": {"x": 0.5}})
            if (request := server.take_request(timeout_s=0)) is not None:
                server.send_response(request[0], {"success": True, "message": "lit"})
        """,
    )
    flow.write(
        "user.py",
        """
        from dora import Node, Ros2Context, Ros2NodeOptions, Ros2QosPolicies
        qos = Ros2QosPolicies(reliable=True, keep_last=10)
        dora_node = Node()  # the flow waits for it
        context = Ros2Context()
        print(context.transport_kind)
        node = context.new_node("user", "/", Ros2NodeOptions())
        client = node.create_service_client("/led", "std_srvs/SetBool", qos)
        print(client.call({"data": True})[0].as_py()["message"])
        kind = "rcl_interfaces/GetParameters"
        client = node.create_service_client("/board/get_parameters", kind, qos)
        print(client.call({"names": ["gain"]})[0].as_py()["values"][0]["integer_value"])
        topic = node.create_topic("/speed", "geometry_msgs/Twist", qos)
        dora_node.merge_external_events(node.create_subscription(topic))
        while (event := dora_node.next())["kind"] != "external":
            pass
        print(event["value"][0].as_py()["linear"]["x"])
        """,
    )

    done = subprocess.run(
        [python, "-m", "dora_rt", flow.folder / "flow.yml", "--stop-after", "60s"],
        capture_output=True,
        text=True,
        timeout=100,
        env=flow.environ,
    )

    out = done.stdout + done.stderr
    said = [
        line.split("|", 1)[1].strip() for line in out.splitlines() if line.startswith("user  | ")
    ]
    assert said[:4] == ["dds", "lit", "7", "0.5"], out


def test_names_are_loaded_only_when_a_program_asks_for_them():
    program = (
        "import sys; from dora_rt.compat import dora; print('zenoh' in sys.modules); "
        "print(dora.Ros2QosPolicies().keep_last, int(dora.Ros2Durability.TransientLocal))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "False\n1 1\n", done.stderr


def test_doras_own_stack_exchanges_topics_with_a_program(
    make_node: Make, address: str, tmp_path: Path
):
    python = python_with("dora", "pyarrow")
    prefix = {"AMENT_PREFIX_PATH": ros_prefix(tmp_path / "ros")}
    node = make_node("ours")
    there = node.create_topic("/to_dora/twist", "geometry_msgs/Twist", QOS)
    back = node.create_topic("/from_dora/twist", "geometry_msgs/Twist", QOS)
    subscription, publisher = node.create_subscription(back), node.create_publisher(there)

    with running([python, str(PEER), str(zenoh_config(tmp_path, address))], prefix):
        found = received(subscription, publisher, {"linear": {"x": 0.25}})

    assert found[0].as_py()["linear"]["x"] == 0.25


def test_doras_own_stack_reaches_and_sends_goals_of_a_program(
    make_node: Make, address: str, tmp_path: Path
):
    python = python_with("dora", "pyarrow")
    prefix = {"AMENT_PREFIX_PATH": ros_prefix(tmp_path / "ros")}
    config = str(zenoh_config(tmp_path, address))
    node = make_node("ours")
    client = node.create_action_client("/dora_fibonacci", FIBONACCI, QOS)
    server = node.create_action_server("/fibonacci", FIBONACCI, QOS)

    with running([python, str(PEER), config, "actions"], prefix) as peer:
        goal_id = client.send_goal(pa.array([{"order": 4}], ORDER), timeout_s=20)
        ended = client.take_result(goal_id, timeout_s=20)
        goal = server.take_goal(timeout_s=20)
        assert goal is not None
        server.send_result(goal[0], pa.array([{"sequence": [7]}], SEQUENCE), timeout_s=20)
        assert peer.stdout is not None
        told = peer.stdout.readline()

    assert ended is not None
    assert (ended[0], ended[1][0].as_py()) == ("succeeded", {"sequence": [0, 1, 4]})
    assert told.strip() == "finished succeeded {'sequence': [7]}"
