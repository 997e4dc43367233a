"""Topics over zenoh in the layout of rmw_zenoh, by real sessions and a real router."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dora_rt.nodes.ros2.bridge import Bridge
from dora_rt.nodes.ros2.match_report import Match, MatchReport, describe_match
from dora_rt.nodes.ros2.ros_entities import (
    Endpoint,
    Identity,
    NoConnectionError,
    Qos,
    RemoteEndpoint,
    Role,
)
from dora_rt.nodes.ros2.topic_exchange import Publication, Subscription
from dora_rt.nodes.ros2.zenoh_keys import (
    Attachment,
    data_key,
    endpoint_token,
    node_token,
    read_token,
)

from dora_rt.testing import FakeNode, make_event
from tests.harness.flow import Flow
from tests.harness.waiting import eventually
from tests.nodes.ros2_helpers import (
    Peer,
    free_address,
    message,
    python_with,
    ros_prefix,
    running,
    topic,
    zenoh_config,
)

pytest.importorskip("zenoh", reason="the extra [ros2] is not installed")
from dora_rt.nodes.ros2.zenoh_transport import (
    Router,
    RouterAddressError,
    ZenohTransport,
)

TEXT = "text=/chatter:std_msgs/String"
STRING_HASH = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"


@pytest.fixture
def address() -> Iterator[str]:
    where = free_address()
    router = Router.open(where)
    yield where
    router.close()


@pytest.fixture
def peers(address: str) -> Iterator[Any]:
    made: list[Peer] = []

    def make(name: str) -> Peer:
        made.append(Peer(address, name))
        return made[-1]

    yield make
    for one in made:
        one.transport.close()


def test_keys_are_those_of_rmw_zenoh():
    identity = Identity("talker", "/robot1", 7)
    endpoint = Endpoint(Role.PUBLISHER, "/robot1/chatter", "std_msgs/msg/String", STRING_HASH)

    assert data_key(7, endpoint) == f"7/robot1/chatter/std_msgs::msg::dds_::String_/{STRING_HASH}"
    assert node_token("ab12", identity) == "@ros2_lv/7/ab12/0/0/NN/%/%robot1/talker"
    token = endpoint_token("ab12", 3, identity, endpoint)
    assert token == (
        "@ros2_lv/7/ab12/0/3/MP/%/%robot1/talker/%robot1%chatter/"
        f"std_msgs::msg::dds_::String_/{STRING_HASH}/::,10:,:,:,,"
    )
    assert read_token(token) == (
        "ab12",
        RemoteEndpoint(
            Role.PUBLISHER, "/robot1/chatter", "std_msgs/msg/String", STRING_HASH, "/robot1/talker"
        ),
    )
    assert read_token(node_token("ab12", identity)) is None
    assert read_token("something/else") is None


@pytest.mark.parametrize(
    ("qos", "text"),
    [
        (Qos(), "::,10:,:,:,,"),
        (Qos(is_reliable=False, depth=1), "2::,1:,:,:,,"),
        (Qos(is_latched=True, depth=3), ":1:,3:,:,:,,"),
    ],
)
def test_qos_is_written_as_rmw_zenoh_does(qos: Qos, text: str):
    endpoint = Endpoint(Role.SUBSCRIPTION, "/a", "std_msgs/msg/String", "h", qos)

    assert endpoint_token("s", 1, Identity("n"), endpoint).endswith(f"/{text}")


def test_attachment_is_33_bytes_that_come_back():
    sent = Attachment(7, 1_700_000_000_000_000_000, bytes(range(16)))

    assert len(sent.to_bytes()) == 33
    assert sent.to_bytes()[:8] == b"\x07" + bytes(7)
    assert Attachment.from_bytes(sent.to_bytes()) == sent
    assert Attachment.from_bytes(b"too short") is None


def test_message_goes_from_one_node_to_another(peers: Any):
    found = peers("listener").subscribe(TEXT)
    published = topic(TEXT, Role.PUBLISHER)
    publisher = peers("talker").transport.advertise(published.endpoint)
    eventually(publisher.is_wanted)

    for number in range(20):
        publisher.publish(message(published, f"hello {number}".encode()))

    eventually(lambda: len(found) == 20)
    assert [one.value for one in found] == [f"hello {number}".encode() for number in range(20)]


def test_nodes_see_each_others_ends_until_they_leave(peers: Any):
    talker, listener = peers("talker"), peers("listener")
    publisher = talker.transport.advertise(topic(TEXT, Role.PUBLISHER).endpoint)
    listener.subscribe(TEXT)
    expected = RemoteEndpoint(
        Role.SUBSCRIPTION, "/chatter", "std_msgs/msg/String", STRING_HASH, "/listener"
    )

    eventually(lambda: talker.transport.remote_endpoints() == [expected])
    eventually(publisher.is_wanted)
    listener.transport.close()

    eventually(lambda: talker.transport.remote_endpoints() == [])
    eventually(lambda: not publisher.is_wanted())


def test_latched_message_reaches_who_comes_later(peers: Any):
    published = topic(f"{TEXT},latched,depth=1", Role.PUBLISHER)
    publisher = peers("map_server").transport.advertise(published.endpoint)
    publisher.publish(message(published, b"old"))
    publisher.publish(message(published, b"new"))

    found = peers("late").subscribe(f"{TEXT},latched,depth=1")

    eventually(lambda: [one.value for one in found] == [b"new"])


def test_best_effort_subscriber_that_is_slow_gets_the_newest(address: str, peers: Any):
    published = topic(TEXT, Role.PUBLISHER)
    publisher = peers("talker").transport.advertise(published.endpoint)
    go_on = threading.Event()
    taken: list[bytes] = []

    def take(content: bytes) -> None:
        taken.append(content)
        go_on.wait(100)

    def is_taken() -> bool:
        # A publisher knows that somebody is there, and not who: the slow one may still be missing.
        publisher.publish(message(published, b"0"))
        return bool(taken)

    wanted = topic(f"{TEXT},best_effort,depth=2", Role.SUBSCRIPTION)
    other = peers("fast").subscribe(TEXT)
    eventually(publisher.is_wanted)
    peers("slow").transport.subscribe(wanted.endpoint, take)
    eventually(is_taken)
    for number in range(1, 10):
        publisher.publish(message(published, b"%d" % number))
    eventually(lambda: [one.value for one in other][-9:] == [b"%d" % n for n in range(1, 10)])

    go_on.set()

    eventually(lambda: len(taken) == 3)
    texts = [published.codec.decode(content)["data"] for content in taken]
    assert texts == ["0", "8", "9"]


def test_pictures_pass_through_shared_memory_of_zenoh_if_asked_for():
    before = set(Path("/dev/shm").iterdir())
    address = free_address()
    router = Router.open(address, shares_memory=True)
    ends = [ZenohTransport.open(address, Identity(name), shares_memory=True) for name in ("a", "b")]
    published = topic("x=/image:sensor_msgs/Image", Role.PUBLISHER)
    picture = np.full((1080, 1920, 3), 7, np.uint8)
    found: list[bytes] = []

    ends[0].subscribe(topic("x=/image:sensor_msgs/Image", Role.SUBSCRIPTION).endpoint, found.append)
    publisher = ends[1].advertise(published.endpoint)
    eventually(publisher.is_wanted)
    for _ in range(3):
        publisher.publish(message(published, picture))
    eventually(lambda: len(found) == 3)

    assert np.array_equal(published.codec.decode(found[2])["data"], picture.reshape(-1))
    for one in (*ends, router):
        one.close()
    # zenoh leaves it to the next one that starts.
    made = set(Path("/dev/shm").glob("*.zenoh")) - before
    assert made
    for path in made:
        path.unlink()


def test_router_that_is_not_there_and_address_that_is_none_are_told_apart():
    with pytest.raises(NoConnectionError, match="no router answers at tcp/127"):
        ZenohTransport.open(free_address(), Identity("ours"))
    with pytest.raises(RouterAddressError, match="'nonsense' is no address as tcp/127"):
        ZenohTransport.open("nonsense", Identity("ours"))


def test_second_router_at_one_address_is_refused(address: str):
    with pytest.raises(RouterAddressError, match="perhaps because one does already"):
        Router.open(address)


def bridge(node: FakeNode, address: str, *, publish: str = "", subscribe: str = "") -> Bridge:
    identity = Identity("ours")
    return Bridge(
        node,
        [
            *(Publication(topic(text, Role.PUBLISHER)) for text in publish.split()),
            *(Subscription(topic(text, Role.SUBSCRIPTION)) for text in subscribe.split()),
        ],
        lambda: ZenohTransport.open(address, identity),
    )


def test_bridge_publishes_inputs_and_sends_what_it_receives(address: str, peers: Any):
    robot = peers("robot")
    texts = robot.subscribe("x=/image:sensor_msgs/Image")
    speed = topic("x=/cmd_vel:geometry_msgs/Twist", Role.PUBLISHER)
    publisher = robot.transport.advertise(speed.endpoint)
    picture = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    # Long before it is sent: no pause between two looks at a clock is as long.
    now_ns = time.monotonic_ns() - 100 * 10**9
    event = make_event("image", picture, {"encoding": "bgr8"}, origin_ns=now_ns)
    node = FakeNode(output_ids=("speed",))
    ours = bridge(
        node,
        address,
        publish="image=/image:sensor_msgs/Image",
        subscribe="speed=/cmd_vel:geometry_msgs/Twist",
    )

    with ours:
        eventually(publisher.is_wanted)
        publisher.publish(message(speed, np.arange(6.0)))
        eventually(lambda: len(node.sent) == 1)
        eventually(lambda: ours.take(event) or ours.sent > 0)
        eventually(lambda: len(texts) > 0)

    assert node.sent[0].value.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(texts[0].value, picture)
    assert texts[0].metadata["frame_id"] == "image"
    age_ns = time.time_ns() - texts[0].metadata["stamp_ns"]
    assert abs(age_ns - (time.monotonic_ns() - now_ns)) < 10 * 10**9
    assert ours.received == 1


def test_stamp_of_a_capture_just_now_is_the_origin_of_the_sample(address: str, peers: Any):
    stamped = topic("x=/twist:geometry_msgs/TwistStamped", Role.PUBLISHER)
    publisher = peers("robot").transport.advertise(stamped.endpoint)
    node = FakeNode(output_ids=("twist",))
    now_ns = time.time_ns()

    with bridge(node, address, subscribe="twist=/twist:geometry_msgs/TwistStamped"):
        eventually(publisher.is_wanted)
        for stamp_ns in (now_ns - 20 * 10**9, 5_000_000_000, now_ns + 10**12):
            sec, nanosec = divmod(stamp_ns, 10**9)
            header = {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": "base"}
            values = {"header": header, "twist": {}}
            publisher.publish(stamped.codec.encode(values))
        eventually(lambda: len(node.sent) == 3)

    captured = [one.captured_ns for one in node.sent]
    assert captured[0] is not None
    age_ns = time.monotonic_ns() - captured[0]
    assert abs(age_ns - (time.time_ns() - now_ns) - 20 * 10**9) < 5 * 10**9
    assert captured[1:] == [None, None]
    assert node.sent[1].metadata == {"frame_id": "base", "stamp_ns": 5_000_000_000}


def test_what_fits_no_message_costs_itself_only(address: str, peers: Any, caplog: Any):
    found = peers("robot").subscribe(TEXT)
    other = topic("x=/back:std_msgs/String", Role.PUBLISHER)
    publisher = peers("other").transport.advertise(other.endpoint)
    node = FakeNode(output_ids=("back",))
    good, bad = make_event("text", b"good"), make_event("text", np.zeros(3))
    ours = bridge(node, address, publish=TEXT, subscribe="back=/back:std_msgs/String")

    with ours:
        eventually(lambda: ours.take(good) or ours.sent > 0)
        ours.take(bad)
        ours.take(bad)
        eventually(publisher.is_wanted)
        publisher.publish(b"\0\1\0\0\xff\xff\xff\xff")
        eventually(lambda: "/back: std_msgs" in caplog.text)

    eventually(lambda: [one.value for one in found][:1] == [b"good"])
    assert caplog.text.count("expected text, got float64") == 1
    assert "left out: 2 samples of input 'text'" in ours.summary()
    assert "left out: 1 sample of /back" in ours.summary()


def test_bridge_waits_for_a_router_and_says_so(caplog: Any):
    address = free_address()
    node = FakeNode(output_ids=("text",))
    with caplog.at_level(logging.INFO), bridge(node, address, subscribe=TEXT) as ours:
        eventually(lambda: "no router answers" in caplog.text)
        ours.take(make_event("text", b"early"))
        router = Router.open(address)
        peer = Peer(address)
        published = topic(TEXT, Role.PUBLISHER)
        publisher = peer.transport.advertise(published.endpoint)
        eventually(publisher.is_wanted)
        publisher.publish(message(published, b"there"))
        eventually(lambda: len(node.sent) == 1)
        peer.transport.close()
        router.close()

    assert caplog.text.count("no router answers") == 1


def test_router_that_comes_back_is_used_again(caplog: Any):
    address = free_address()
    router = Router.open(address)
    node = FakeNode(output_ids=("text",))
    published = topic(TEXT, Role.PUBLISHER)
    with caplog.at_level(logging.INFO), bridge(node, address, subscribe=TEXT):
        peer = Peer(address)
        publisher = peer.transport.advertise(published.endpoint)
        eventually(publisher.is_wanted)
        router.close()
        eventually(lambda: "the router is gone" in caplog.text)

        router = Router.open(address)

        eventually(lambda: "the router is there again" in caplog.text)
        eventually(publisher.is_wanted)
        publisher.publish(message(published, b"again"))
        eventually(lambda: [one.value for one in node.sent] == [b"again"])
        peer.transport.close()
        router.close()


OURS = Endpoint(Role.SUBSCRIPTION, "/image", "sensor_msgs/msg/Image", "RIHS01_1234567890abcdef")


def theirs(**changes: Any) -> RemoteEndpoint:
    facts = {
        "role": Role.PUBLISHER,
        "name": "/image",
        "type_name": "sensor_msgs/msg/Image",
        "type_hash": OURS.type_hash,
        "node": "/robot",
    }
    return RemoteEndpoint(**{**facts, **changes})


@pytest.mark.parametrize(
    ("remote", "text", "match"),
    [
        ([], "/image: nobody publishes it so far", Match.NOBODY),
        ([theirs()], "/image: /robot publishes it", Match.FOUND),
        ([theirs(type_hash="other"), theirs()], "/image: /robot publishes it", Match.FOUND),
        ([theirs(role=Role.SUBSCRIPTION)], "nobody publishes it so far", Match.NOBODY),
        ([theirs(type_hash="TypeHashNotSupported")], "write --distro humble", Match.WRONG),
        ([theirs(type_hash="RIHS01_ffff")], "with --interfaces", Match.WRONG),
        ([theirs(type_name="a/msg/B")], "/robot publishes it as a/msg/B", Match.WRONG),
        ([theirs(name="/cam/image")], "; there is /cam/image of its type", Match.NOBODY),
    ],
)
def test_report_says_who_is_there_or_why_nobody_matches(
    remote: list[RemoteEndpoint], text: str, match: Match
):
    found, how = describe_match(OURS, remote)

    assert text in found
    assert how is match


def test_report_says_each_thing_once_and_has_patience_with_problems(caplog: Any):
    report = MatchReport([OURS], 0)
    with caplog.at_level(logging.INFO):
        report.look([], 10**9)
        assert caplog.text == ""
        for second in (6, 7):
            report.look([], second * 10**9)
        report.look([theirs()], 8 * 10**9)
        report.look([], 9 * 10**9)

    words = [record.message for record in caplog.records]
    assert words == [
        "/image: nobody publishes it so far",
        "/image: /robot publishes it",
        "/image: nobody publishes it so far",
    ]


def test_robot_of_humble_is_understood_and_named_by_who_does_not(address: str, peers: Any):
    robot = peers("robot")
    published = topic(TEXT, Role.PUBLISHER, has_hashes=False)
    publisher = robot.transport.advertise(published.endpoint)
    found = peers("ours").subscribe(TEXT, has_hashes=False)
    eventually(publisher.is_wanted)

    publisher.publish(message(published, b"from humble"))

    eventually(lambda: [one.value for one in found] == [b"from humble"])


FLOW = """
nodes:
  - id: talker
    path: talker.py
    outputs: [text, image]
  - id: out
    module: dora_rt.nodes.ros2
    args: >-
      --router {address} --start-router
      --publish "text=/chatter:std_msgs/String image=camera/image:sensor_msgs/Image"
    inputs: {{text: talker/text, image: {{source: talker/image, queue_policy: latest}}}}
  - id: in
    module: dora_rt.nodes.ros2
    args: --router {address}
    env: {{SUBSCRIBE: "text=/chatter:std_msgs/String image=/camera/image:sensor_msgs/Image"}}
    outputs: [text, image]
  - id: listener
    path: listener.py
    inputs: {{text: in/text, image: in/image}}
"""


def test_two_dataflows_meet_in_ros_by_a_router_of_their_own(flow: Flow):
    flow.write("flow.yml", FLOW.format(address=free_address()))
    flow.write(
        "talker.py",
        """
        import time
        import numpy as np
        from dora_rt import Node
        node = Node()
        while not node.is_stopped():
            node.send_output("text", b"hello")
            node.send_output("image", np.full((4, 6, 3), 7, np.uint8), {"frame_id": "lens"})
            time.sleep(0.02)
        """,
    )
    flow.write(
        "listener.py",
        """
        from dora_rt import Node
        node, seen = Node(), set()
        for event in node:
            if event.id == "text":
                seen.add(event.value)
            else:
                seen.add((event.value.shape, int(event.value.max()), event.metadata["frame_id"]))
            if len(seen) == 2:
                print(*sorted(map(str, seen)))
                node.stop_dataflow()
        """,
    )

    done = flow.run("--stop-after", "20s")

    assert done.exit_code == 0, done.out + done.err
    assert "((4, 6, 3), 7, 'lens') b'hello'" in done.lines("listener")


def test_latched_outputs_are_transient_local_in_both_directions(
    flow: Flow, address: str, peers: Any
):
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: maps, path: maps.py, outputs: [text: {{latched: true}}]}}
          - id: ros
            module: dora_rt.nodes.ros2
            args: >-
              --router {address} --publish text=/map:std_msgs/String
              --subscribe lens=/calibration:std_msgs/String,latched
            inputs: {{text: maps/text}}
            outputs: [lens: {{latched: true}}]
          - {{id: reader, path: reader.py, restart: always, inputs: {{lens: ros/lens}}}}
        """,
    )
    flow.write(
        "maps.py",
        """
        import time
        from dora_rt import Node
        node = Node()
        node.send_output("text", b"world")
        while not node.is_stopped():
            time.sleep(0.02)
        """,
    )
    flow.write(
        "reader.py",
        """
        import os, signal
        from dora_rt import Node
        for event in Node():
            with open("seen", "a") as file:
                print(event.value.decode(), event.latched, file=file)
            if not event.latched:
                os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    calibration = topic("x=/calibration:std_msgs/String,latched,depth=1", Role.PUBLISHER)
    publisher = peers("camera").transport.advertise(calibration.endpoint)
    publisher.publish(message(calibration, b"lens"))
    seen = flow.folder / "seen"

    flow.start()

    eventually(lambda: seen.exists() and seen.read_text() == "lens False\nlens True\n")
    for name in ("early", "late"):
        found = peers(name).subscribe("x=/map:std_msgs/String,latched,depth=1")
        eventually(lambda found=found: [one.value for one in found] == [b"world"])
    flow.close()


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ("", "has no routes, and so nothing to do"),
        (
            "--publish image=/a:sensor_msgs/Image",
            "a route needs the input 'image', and the node has none",
        ),
        ("--subscribe x=/a:sensor_msgs/Imag", "did you mean sensor_msgs/msg/Image?"),
        ('--subscribe "x=/a:std_msgs/Bool x=/b:std_msgs/Bool"', "two routes have the output 'x'"),
        ("--subscribe x=/a:std_msgs/Bool --router nonsense", "is no address as tcp/127"),
    ],
)
def test_node_that_cannot_work_says_why_and_fails(flow: Flow, args: str, reason: str):
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - {{id: ros, module: dora_rt.nodes.ros2, args: '{args}', outputs: [x]}}
          - {{id: reader, path: reader.py, inputs: {{x: ros/x}}}}
        """,
    )
    flow.write("reader.py", "from dora_rt import Node\nfor event in Node(): pass\n")

    done = flow.run("--stop-after", "20s")

    assert done.exit_code == 1, done.out + done.err
    assert any(reason in line for line in done.lines("ros")), done.out + done.err


@pytest.mark.programs
def test_doras_own_stack_gets_what_we_send_and_sends_it_back(
    address: str, peers: Any, tmp_path: Path
):
    python = python_with("dora", "pyarrow")
    prefix = ros_prefix(tmp_path / "ros")
    script = str(Path(__file__).with_name("peer_of_dora.py"))
    config = str(zenoh_config(tmp_path, address))
    ours = peers("ours")
    values = {
        "text:std_msgs/String": b"Gr\xc3\xbc\xc3\x9fe",
        "twist:geometry_msgs/Twist": np.arange(6.0),
        "image:sensor_msgs/Image": np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3),
    }
    names = {key: key.split(":") for key in values}
    found = {
        key: ours.subscribe(f"x=/from_dora/{name}:{kind}") for key, (name, kind) in names.items()
    }
    with running([python, script, config], {"AMENT_PREFIX_PATH": prefix}):
        for key, (name, kind) in names.items():
            one = topic(f"x=/to_dora/{name}:{kind}", Role.PUBLISHER)
            publisher = ours.transport.advertise(one.endpoint)
            eventually(publisher.is_wanted)
            for _ in range(20):
                publisher.publish(message(one, values[key]))
            eventually(lambda got=found[key]: len(got) == 20)

    for key, value in values.items():
        assert all(np.array_equal(one.value, value) for one in found[key])
