"""Parameters of our nodes, seen and set by nodes of ROS 2."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dora_rt.nodes.ros2.bridge import Bridge
from dora_rt.nodes.ros2.parameter_services import ParameterServices
from dora_rt.nodes.ros2.ros_entities import Identity, Role
from dora_rt.nodes.ros2.ros_parameters import (
    OfferedParameter,
    ParameterSourceError,
    RosType,
    json_value,
    names_under,
    type_of,
)
from dora_rt.nodes.ros2.routes import parse_routes
from dora_rt.nodes.ros2.topics import TopicMaker

from dora_rt.errors import ParameterRefusedError
from dora_rt.testing import FakeNode
from tests.harness.flow import Flow
from tests.harness.verbs import verb
from tests.harness.waiting import eventually
from tests.nodes.ros2_helpers import (
    INTERFACES,
    LONG_QUEUE,
    Peer,
    free_address,
    maker,
    python_with,
    ros_prefix,
    running,
    zenoh_config,
)

pytest.importorskip("zenoh", reason="the extra [ros2] is not installed")
from dora_rt.nodes.ros2.zenoh_transport import Router, ZenohTransport

SET = {"type": 3, "double_value": 0.75}


class Values:
    """A source of parameters in this process."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.is_there = True

    def read(self) -> list[OfferedParameter]:
        if not self.is_there:
            raise ParameterSourceError("nobody is there")
        return [OfferedParameter.of_value(*one) for one in self.values.items()]

    def write(self, values: Mapping[str, Any]) -> None:
        if "fixed" in values:
            raise ParameterRefusedError("fixed is fixed")
        self.values.update(values)

    def delete(self, name: str) -> None:
        del self.values[name]


class Asker(Peer):
    """A node as `ros2 param` is one."""

    timeout_s = 5.0

    def ask(self, node: str, service: str, **request: Any) -> dict[str, Any] | None:
        """Ask for parameters; None: nobody answers."""
        name = "".join(part.capitalize() for part in service.split("_"))
        (route,) = parse_routes(f"x={node}/{service}:rcl_interfaces/{name}")
        one = maker().make_service(route, Role.CLIENT)
        answers: list[bytes | None] = []
        is_there = threading.Event()

        def take(answer: bytes | None) -> None:
            answers.append(answer)
            is_there.set()

        client = self.transport.call(one.endpoint)
        client.call(bytes(one.request.codec.encode(request)), take, self.timeout_s)
        assert is_there.wait(30)
        (answer,) = answers
        return None if answer is None else one.response.codec.decode(answer)

    def asked(self, node: str, service: str, **request: Any) -> dict[str, Any]:
        """Ask for parameters until somebody answers."""
        found: list[dict[str, Any] | None] = []

        def ask() -> bool:
            found.append(self.ask(node, service, **request))
            return found[-1] is not None

        eventually(ask, within_s=40)
        answer = found[-1]
        assert answer is not None
        return answer

    def events(self) -> list[dict[str, Any]]:
        """Give a list into which the events go that come."""
        found: list[dict[str, Any]] = []
        (route,) = parse_routes("x=/parameter_events:rcl_interfaces/ParameterEvent,reliable")
        one = maker().make(route, Role.SUBSCRIPTION, LONG_QUEUE)
        self.transport.subscribe(
            one.endpoint, lambda content: found.append(one.codec.decode(content))
        )
        return found


@pytest.fixture
def address() -> Iterator[str]:
    where = free_address()
    router = Router.open(where)
    yield where
    router.close()


@pytest.fixture
def asker(address: str) -> Iterator[Asker]:
    one = Asker(address, "cli")
    yield one
    one.transport.close()


@pytest.fixture
def offer(address: str) -> Iterator[Callable[[Values], ParameterServices]]:
    bridges: list[Bridge] = []

    def begin(source: Values) -> ParameterServices:
        identity = Identity("detector", "/robot1")
        services = ParameterServices(
            identity.full_name, TopicMaker(identity, INTERFACES, has_hashes=True), source
        )
        bridge = Bridge(FakeNode(), [services], lambda: ZenohTransport.open(address, identity))
        bridges.append(bridge.__enter__())
        return services

    yield begin
    for one in bridges:
        one.__exit__()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, RosType.BOOL),
        (7, RosType.INTEGER),
        (-(2**63), RosType.INTEGER),
        (0.5, RosType.DOUBLE),
        ("über", RosType.STRING),
        ([True, False], RosType.BOOL_ARRAY),
        ([1, 2], RosType.INTEGER_ARRAY),
        ([0.5, 2.0], RosType.DOUBLE_ARRAY),
        (["a", ""], RosType.STRING_ARRAY),
        ([], RosType.STRING_ARRAY),
    ],
)
def test_value_has_its_type_in_ros_and_comes_back(value: Any, kind: RosType):
    from dora_rt.nodes.ros2.cdr import Codec

    codec = Codec(INTERFACES.message("rcl_interfaces/ParameterValue"), INTERFACES)

    content = codec.encode(OfferedParameter.of_value("x", value).ros_value())

    assert type_of(value) is kind
    assert json_value(codec.decode(content)) == value


@pytest.mark.parametrize("value", [{"a": 1}, 2**63, [2**63], [1, "a"], [[1]], None])
def test_value_that_ros_has_no_type_for_is_not_set(value: Any):
    assert OfferedParameter.of_value("x", value).ros_value() == {"type": 0}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"type": 3, "double_value": float("nan")}, "a finite number"),
        ({"type": 8, "double_array_value": [1.0, float("inf")]}, "a finite number"),
        ({"type": 10}, "no type 10"),
    ],
)
def test_value_that_is_none_of_ours_is_refused(value: dict[str, Any], reason: str):
    with pytest.raises(ParameterRefusedError, match=reason):
        json_value(value)


@pytest.mark.parametrize(
    ("prefixes", "depth", "names", "above"),
    [
        ([], 0, ["a", "b.c", "b.d.e", "bc"], ["b", "b.d"]),
        ([], 1, ["a", "bc"], []),
        (["b"], 0, ["b.c", "b.d.e"], ["b", "b.d"]),
        (["b"], 1, ["b.c"], ["b"]),
        (["b.d", "a"], 0, ["a", "b.d.e"], ["b.d"]),
        (["x"], 0, [], []),
    ],
)
def test_names_are_listed_by_prefix_and_depth(
    prefixes: list[str], depth: int, names: list[str], above: list[str]
):
    found = names_under(["a", "b.c", "b.d.e", "bc"], prefixes, depth)

    assert found == (names, above)


def test_limits_choices_and_help_are_described():
    entry = {"has_value": True, "is_declared": True, "items": None, "help": "", "choices": None}
    number = {**entry, "name": "x", "value": 0.4, "kind": "number", "min": 0, "max": None}
    whole = {**entry, "name": "n", "value": 3, "kind": "whole number", "min": 0.5, "max": 9}
    word = {**entry, "name": "w", "value": "a", "kind": "text", "min": None, "max": None}
    numbers = {**number, "value": [0.5], "kind": "list", "items": "number", "max": 1}

    described = [
        OfferedParameter.of_entry(one).descriptor()
        for one in (number, whole, {**word, "choices": ["a", "b"], "help": "which"}, numbers)
    ]

    assert described[0]["floating_point_range"][0]["from_value"] == 0
    assert described[0]["floating_point_range"][0]["to_value"] > 1e308
    assert described[1]["integer_range"] == [{"from_value": 1, "to_value": 9, "step": 0}]
    assert described[2]["additional_constraints"] == "one of a, b"
    assert described[2]["description"] == "which"
    assert described[3]["type"] == RosType.DOUBLE_ARRAY
    assert described[3]["additional_constraints"] == "each from 0 to 1"
    assert all(not one["dynamic_typing"] for one in described)


def test_six_services_answer_for_a_node_with_its_name(
    asker: Asker, offer: Callable[[Values], ParameterServices]
):
    source = Values(threshold=0.5, names=["a"])
    offer(source)
    node = "/robot1/detector"

    listed = asker.asked(node, "list_parameters")["result"]["names"]
    got = asker.asked(node, "get_parameters", names=["names", "nothing"])["values"]
    types = asker.asked(node, "get_parameter_types", names=["threshold", "nothing"])["types"]
    described = asker.asked(node, "describe_parameters", names=["threshold"])["descriptors"]
    parameters = [{"name": "threshold", "value": SET}, {"name": "fixed", "value": SET}]
    done = asker.asked(node, "set_parameters", parameters=parameters)["results"]

    assert listed == ["threshold", "names"]
    assert [json_value(one) for one in got] == [["a"], None]
    assert types.tolist() == [RosType.DOUBLE, RosType.NOT_SET]
    assert described[0]["dynamic_typing"] is True
    assert [(one["successful"], one["reason"]) for one in done] == [
        (True, ""),
        (False, "fixed is fixed"),
    ]
    assert source.values["threshold"] == 0.75


def test_parameters_that_are_set_together_are_all_set_or_none(
    asker: Asker, offer: Callable[[Values], ParameterServices]
):
    source = Values(threshold=0.5)
    offer(source)
    good, bad = {"name": "threshold", "value": SET}, {"name": "fixed", "value": SET}
    gone = {"name": "threshold", "value": {"type": 0}}

    def set_together(*parameters: Any) -> dict[str, Any]:
        answer = asker.asked(
            "/robot1/detector", "set_parameters_atomically", parameters=list(parameters)
        )
        result: dict[str, Any] = answer["result"]
        return result

    refused = set_together(good, bad)
    unchanged = dict(source.values)
    mixed = set_together({"name": "other", "value": SET}, gone)
    done = set_together(good)
    deleted = set_together(gone)

    assert (refused["successful"], refused["reason"]) == (False, "fixed is fixed")
    assert unchanged == {"threshold": 0.5}
    assert not mixed["successful"]
    assert "use set_parameters" in mixed["reason"]
    assert done["successful"]
    assert deleted["successful"]
    assert source.values == {}


def test_changes_are_told_to_who_listens_whoever_made_them(
    asker: Asker, offer: Callable[[Values], ParameterServices]
):
    source = Values(threshold=0.5, gone=1)
    services = offer(source)
    asker.asked("/robot1/detector", "list_parameters")
    events = asker.events()
    # Changes of this one are told once the other end is found, and known.
    steps = iter(range(1000))

    def is_told() -> bool:
        source.values["step"] = next(steps)
        services.look()
        return bool(events)

    eventually(is_told)
    asker.asked(
        "/robot1/detector", "set_parameters", parameters=[{"name": "threshold", "value": SET}]
    )
    del source.values["gone"]
    source.values["new"] = "x"

    def told(kind: str) -> dict[str, Any]:
        return {
            one["name"]: json_value(one["value"])
            for event in list(events)
            for one in event[f"{kind}_parameters"]
        }

    eventually(lambda: "gone" in told("deleted"))
    assert told("changed")["threshold"] == 0.75
    assert told("new")["new"] == "x"
    assert {event["node"] for event in events} == {"/robot1/detector"}
    assert abs(events[0]["stamp"]["sec"] - time.time()) < 3600


def test_source_that_is_gone_leaves_requests_without_an_answer_and_comes_back(
    asker: Asker, offer: Callable[[Values], ParameterServices], caplog: pytest.LogCaptureFixture
):
    source = Values(threshold=0.5)
    offer(source)
    asker.asked("/robot1/detector", "list_parameters")
    source.is_there = False
    asker.timeout_s = 0.5

    gone = asker.ask("/robot1/detector", "get_parameters", names=["threshold"])
    source.is_there = True
    asker.timeout_s = 5.0
    back = asker.asked("/robot1/detector", "get_parameters", names=["threshold"])

    assert gone is None
    assert "/robot1/detector/get_parameters is not answered: nobody is there" in caplog.text
    assert json_value(back["values"][0]) == 0.5


FLOW = """
nodes:
  - id: tuned
    path: tuned.py
    inputs: {{tick: dora/timer/secs/100}}
    parameters:
      threshold: {{value: 0.4, min: 0, max: 1, help: least confidence}}
      mode: {{value: fast, choices: [fast, exact]}}
      classes: [person, dog]
  - id: ros
    module: dora_rt.nodes.ros2
    args: {args} --parameters "{names}"
{more}
"""
TUNED = """
from dora_rt import Node, ParameterChanged
node = Node()
while (event := node.next_event()) is not None:
    if isinstance(event, ParameterChanged):
        with open("notes", "a") as file:
            print(event.name, event.value, node.parameter(event.name), file=file)
"""


def write_flow(flow: Flow, args: str, names: str = "tuned", more: str = "") -> None:
    flow.write("flow.yml", FLOW.format(args=args, names=names, more=more))
    flow.write("tuned.py", TUNED)


@pytest.mark.programs
def test_node_of_ros_sets_a_parameter_of_a_node_that_runs(flow: Flow):
    address = free_address()
    write_flow(flow, f"--start-router --router {address}")
    flow.start()
    asker = connected_asker(address)

    described = asker.asked("/tuned", "describe_parameters", names=["threshold"])["descriptors"]
    wrong = {"name": "mode", "value": {"type": 4, "string_value": "exat"}}
    two = [
        {"name": "threshold", "value": SET},
        {"name": "classes", "value": {"type": 9, "string_array_value": ["cat"]}},
    ]
    refused = asker.asked("/tuned", "set_parameters_atomically", parameters=[*two, wrong])
    before = verb("param", "get", "tuned", "threshold").out
    done = asker.asked("/tuned", "set_parameters_atomically", parameters=two)
    notes = flow.folder / "notes"
    eventually(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2)
    now = verb("param", "get", "tuned", "threshold").out
    asker.asked("/tuned", "set_parameters", parameters=[{"name": "mode", "value": {"type": 0}}])
    asker.transport.close()

    assert described[0]["description"] == "least confidence"
    assert 'expected one of "fast", "exact", got "exat"' in refused["result"]["reason"]
    assert (before, now) == ("0.4\n", "0.75\n")
    assert done["result"]["successful"]
    assert set(notes.read_text().splitlines()) == {
        "threshold 0.75 0.75",
        "classes ['cat'] ['cat']",
    }


def connected_asker(address: str) -> Asker:
    """Give an asker, once the router of the flow is there."""
    from dora_rt.nodes.ros2.ros_entities import NoConnectionError

    found: list[Asker] = []

    def connect() -> bool:
        try:
            found.append(Asker(address, "cli"))
        except NoConnectionError:
            return False
        return True

    eventually(connect)
    return found[0]


@pytest.mark.programs
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("tund", "--parameters tund: there is no node 'tund'; did you mean 'tuned'?"),
        ("tuned tuned", "there is a node /tuned in ROS already"),
    ],
)
def test_parameters_of_a_node_that_cannot_be_offered_fail_with_the_reason(
    flow: Flow, names: str, reason: str
):
    write_flow(flow, f"--start-router --router {free_address()}", names, "    on_exit: stop_all")

    done = flow.run()

    assert done.exit_code == 1
    assert reason in done.out + done.err


@pytest.mark.programs
def test_doras_own_stack_sets_a_parameter(
    address: str, tmp_path: Path, offer: Callable[[Values], ParameterServices]
):
    python = python_with("dora", "pyarrow")
    prefix = ros_prefix(tmp_path / "ros")
    script = str(Path(__file__).with_name("peer_of_dora.py"))
    config = str(zenoh_config(tmp_path, address))
    source = Values(threshold=0.5)
    offer(source)

    with running([python, script, config, "parameters"], {"AMENT_PREFIX_PATH": prefix}) as peer:
        assert peer.stdout is not None
        told = [peer.stdout.readline().strip() for _ in range(2)]

    assert told == ["threshold is 0.5", "set True"]
    assert source.values == {"threshold": 0.75}


@pytest.mark.programs
@pytest.mark.timeout(300)
def test_program_for_rclpy_lists_and_sets_parameters(flow: Flow):
    python = python_with(*("rclpy", "rcl_interfaces.msg", "dora_rt.nodes.ros2", "cv2", "posix_ipc"))
    robot = Path(__file__).with_name("parameters_of_rclpy.py")
    domain = 'env: {ROS_DOMAIN_ID: "79"}'
    client = f"  - {{id: robot, path: {robot}, {domain}, on_exit: stop_all}}"
    write_flow(flow, "--transport rclpy --domain 79", more=client)

    done = subprocess.run(
        [python, "-m", "dora_rt", flow.folder / "flow.yml", "--stop-after", "60s"],
        capture_output=True,
        text=True,
        timeout=100,
        env=flow.environ,
    )

    out = done.stdout + done.stderr
    assert "names ['threshold', 'mode', 'classes']" in out
    assert "set True, False: parameter 'mode' of node 'tuned': expected one of" in out
    assert "threshold is 0.75" in out
    assert "event of /tuned: threshold is 0.75" in out
    assert (flow.folder / "notes").read_text() == "threshold 0.75 0.75\n"
